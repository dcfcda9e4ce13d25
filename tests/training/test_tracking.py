"""What a tracker is told is what the run folder holds."""

import csv
import importlib.util

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.training.tracking import TRACKERS, Log, Tracking

pytestmark = pytest.mark.filterwarnings("ignore:backbone_rate is for networks")


def _rows(path):
    return list(csv.DictReader((path / "history.csv").read_text().splitlines()))


def _scalars(folder):
    """Reads TensorBoard's event files by their framing: length, its checksum, content, checksum."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    found, pictures = {}, []
    for file in sorted(folder.glob("events.*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            length = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag, event.step] = value.simple_value
                elif value.HasField("image"):
                    pictures.append((value.tag, event.step, value.image.width))
    return found, pictures


def _train(path, model, data, recipe, name, resume=False):
    tracking = Tracking(name, path)
    try:
        return kseg.fit(model, data, recipe, run_dir=path, resume=resume, callbacks=[tracking])
    finally:
        tracking.close()


def test_tensorboard_has_what_the_history_has(tmp_path, training_data, recipe, build_small):
    path = tmp_path / "run"
    _train(path, build_small(), training_data, recipe, "tensorboard")
    found, pictures = _scalars(path / "tensorboard")
    rows = _rows(path)
    assert [int(row["step"]) for row in rows] == [4, 8, 12]
    for row in rows:
        step = int(row["step"])
        assert found["loss", step] == pytest.approx(float(row["loss"]), rel=1e-6)
        assert found["val/mean_IoU", step] == pytest.approx(float(row["mean_iou"]), rel=1e-6)
        for name in training_data.classes.names:
            assert found[f"val/iou_{name}", step] == pytest.approx(
                float(row[f"iou {name}"]), rel=1e-6
            )
    rates = [found["learning_rate", step] for step in (4, 8, 12)]
    assert recipe.learning_rate >= rates[0] > rates[1] > rates[2] >= 0
    with Image.open(path / "preview.png") as preview:
        assert pictures == [("preview", step, preview.width) for step in (4, 8, 12)]


def test_scores_of_objects_are_logged(tmp_path):
    row = {"epoch": 1.0, "step": 4.0, "loss": 0.5, "pq": 0.5, "mean_iou": 0.75, "ap": 0.25}
    row |= {"pixel_accuracy": None, "seconds": 1.0, "pq cell": 0.125, "pq other": None}
    found = {}
    log = Log(lambda step, name, value: found.update({name: value}), None, None)
    Tracking("tensorboard", tmp_path)._add(log, row)
    expected = {"val/pq": 0.5, "val/ap": 0.25, "val/pq cell": 0.125, "val/mean IoU": 0.75}
    assert found == {"loss": 0.5, **expected}


def test_resumed_training_logs_each_row_once(tmp_path, training_data, recipe, own_model):
    import keras

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    path, tracking = tmp_path / "run", Tracking("tensorboard", tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        kseg.fit(own_model(), training_data, recipe, run_dir=path, callbacks=[tracking, Stop()])
    tracking.close()
    again = Tracking("tensorboard", path)
    assert again.logged == 2
    told = []
    again._add = lambda log, row: told.append(row["epoch"])
    kseg.fit(own_model(), training_data, recipe, run_dir=path, resume=True, callbacks=[again])
    again.close()
    assert told == [3]
    found, _ = _scalars(path / "tensorboard")
    assert sorted(step for name, step in found if name == "loss") == [4, 8]


def test_mlflow_has_what_the_history_has(
    tmp_path, training_data, recipe, own_model, monkeypatch, capsys
):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    path = tmp_path / "street"
    _train(path, own_model(), training_data, recipe, "mlflow")
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("kseg").experiment_id])
    assert run.info.run_name == "street" and run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "2"
    history = client.get_metric_history(run.info.run_id, "val/mean IoU")
    assert [(m.step, m.value) for m in history] == [
        (int(row["step"]), float(row["mean_iou"])) for row in _rows(path)
    ]
    images = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert len([name for name in images if name.endswith(".png")]) == 3


def test_wandb_writes_offline(tmp_path, training_data, recipe, own_model, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    path = tmp_path / "run"
    _train(path, own_model(), training_data, recipe, "wandb")
    wandb.teardown()  # its other process writes the last of it when it ends
    (folder,) = (path / "wandb").glob("offline-run-*")
    (log,) = folder.glob("*.wandb")
    content = log.read_bytes()
    for name in (b"learning rate", b"val/mean IoU", b"val/iou "):
        assert content.count(name) >= 3
    assert len(list(folder.glob("files/media/images/*.png"))) == 3


def test_wandb_without_a_key_is_one_sentence(
    tmp_path, training_data, recipe, own_model, monkeypatch
):
    wandb = pytest.importorskip("wandb")

    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ValueError, match=r"^--track wandb: No API key.*set WANDB_MODE=offline\.$"):
        _train(tmp_path / "run", own_model(), training_data, recipe, "wandb")


@pytest.mark.parametrize("name", TRACKERS)
def test_missing_library_is_named_with_its_extra(name, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ImportError, match=rf"--track {name} needs .*pip install 'kseg\[{name}\]'"):
        Tracking(name, tmp_path)


def test_failing_tracker_does_not_end_the_training(tmp_path, training_data, recipe, own_model):
    path, tracking = tmp_path / "run", Tracking("tensorboard", tmp_path / "run")

    def fail(log, row):
        raise OSError("the server is gone")

    tracking._add = fail
    with pytest.warns(UserWarning, match="the training goes on: the server is gone"):
        kseg.fit(own_model(), training_data, recipe, run_dir=path, callbacks=[tracking])
    assert np.isfinite(float(_rows(path)[-1]["loss"])) and len(_rows(path)) == 3
