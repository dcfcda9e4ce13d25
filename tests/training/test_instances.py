"""Training of networks that tell objects apart."""

import csv
import json
import os
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import kseg
from kseg.cli import main
from kseg.data import check_data
from kseg.data.targets import targets_of
from kseg.hub import load_hub_weights
from kseg.losses import HeatmapError, OffsetError
from kseg.training.checkpoints import read_checkpoint
from kseg.training.checks import check_graph
from kseg.training.pace import Speed
from kseg.training.planning import Wishes, make_plan
from kseg.training.run import open_run
from kseg.training.run_schema import _RunRecord
from kseg.training.scoring import score_of

RECIPE = kseg.Recipe(
    epochs=2,
    batch_size=2,
    learning_rate=0.02,
    average=0.5,
    norm_momentum=0.8,
    offset=0.1,
    scale=(0.9, 1.1),
    crop=(32, 32),
    deterministic=True,
)


def write_discs(folder, images, val, size=48):
    """Writes images of discs of one class, many of which touch, and their ids."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    lines = []
    for name in ("images", "ids"):
        (folder / name).mkdir(parents=True)
    for number in range(images):
        ids = np.zeros((size, size), "uint16")
        place = rng.uniform(10, size - 18, 2)
        for value, (down, right) in enumerate(((0, 0), (0, 11), (11, 5)), start=1):
            radius = rng.uniform(4.5, 6)
            ids[(y - place[0] - down) ** 2 + (x - place[1] - right) ** 2 < radius**2] = value
        image = np.where(ids[..., None] > 0, (200, 60, 60), (40, 90, 60))
        image = (image + rng.integers(-20, 20, image.shape)).clip(0, 255).astype("uint8")
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(ids).save(folder / "ids" / f"{number}.png")
        lines.append(f"images/{number}.png ids/{number}.png\n")
    (folder / "train.txt").write_text("".join(lines[:-val]))
    (folder / "val.txt").write_text("".join(lines[-val:]))
    (folder / "data.yaml").write_text(
        "train: train.txt\nval: val.txt\nnames: {0: ground, 1-65535: disc}\ninstances: [disc]\n"
    )
    return folder / "data.yaml"


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return kseg.load_data(write_discs(tmp_path_factory.mktemp("discs"), 9, 3))


def small_network(num_classes=2, offsets=2):
    """A network of kseg's three outputs that kseg did not build."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(image)
    for rate in (1, 2, 4):
        x = keras.layers.Conv2D(8, 3, padding="same", dilation_rate=rate, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    channels = {"semantic": num_classes, "center": 1, "offset": offsets}
    outputs = {name: keras.layers.Conv2D(n, 1, name=name)(x) for name, n in channels.items()}
    return keras.Model(image, outputs)


@pytest.fixture(scope="module")
def told(discs, tmp_path_factory):
    """(the fitted model, its run)."""
    model = small_network()
    return model, kseg.fit(model, discs, RECIPE, run_dir=tmp_path_factory.mktemp("run") / "run")


def test_losses_by_hand():
    truth = np.zeros((1, 1, 3, 2), "float32")
    truth[0, 0, :, 0], truth[0, 0, :, 1] = (1, 0.5, 0), (1, 1, 0)
    given = np.array([0.5, 0.5, 9], "float32").reshape(1, 1, 3, 1)
    assert float(HeatmapError()(truth, given)) == pytest.approx((0.25 + 0) / 2)
    truth = np.array([[3, -2, 1], [0, 0, 0], [1, 1, 1]], "float32").reshape(1, 1, 3, 3)
    given = np.array([[1, -2], [50, 50], [2, 4]], "float32").reshape(1, 1, 3, 2)
    assert float(OffsetError()(truth, given)) == pytest.approx((2 + 0 + 1 + 3) / 4)
    assert float(OffsetError()(truth * 0, given)) == 0
    assert float(HeatmapError()(np.zeros((1, 1, 3, 2)), np.ones((1, 1, 3, 1)))) == 0


@pytest.mark.parametrize("loss", [HeatmapError, OffsetError])
def test_losses_come_back_from_their_config(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss(name="mine")))
    assert type(again) is loss and again.name == "mine"


def test_a_perfect_network_has_no_loss_of_centres_and_offsets():
    labels = np.zeros((1, 16, 16, 2), "int32")
    labels[0, 2:9, 3:12] = 1, 7
    targets = targets_of(labels, (1,))
    assert float(HeatmapError()(targets["center"], targets["center"][..., :1])) == 0
    assert float(OffsetError()(targets["offset"], targets["offset"][..., :2])) == 0


def test_the_loss_is_the_sum_by_the_weights_of_the_recipe(discs, tmp_path, monkeypatch):
    seen = []

    class Noted(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(dict(logs))

    recipe = replace(RECIPE, epochs=1, center=30.0, offset=0.5)
    kseg.fit(small_network(), discs, recipe, run_dir=tmp_path / "run", callbacks=[Noted()])
    for logs in seen:
        parts = logs["semantic_loss"] + 30 * logs["center_loss"] + 0.5 * logs["offset_loss"]
        assert logs["loss"] == pytest.approx(parts, rel=1e-4)


def test_history_has_panoptic_quality_and_the_best_is_the_highest(told, discs):
    model, run = told
    with open(run.path / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"pq", "ap", "mean_iou", "pq ground", "pq disc"} <= rows[0].keys()
    _, manifest, _ = read_checkpoint(run.path, "best")
    assert manifest["pq"] == max(float(row["pq"]) for row in rows)
    with pytest.raises(ValueError, match=r"objects of the classes 2 apart, and .* those of 1"):
        kseg.evaluate_instances(SimpleNamespace(kseg_things=(2,)), discs)
    scores = kseg.evaluate_instances(model, discs)
    assert scores.pq == pytest.approx(manifest["pq"]) and scores.images == 3
    assert scores.mean_iou == pytest.approx(manifest["mean_iou"])
    with Image.open(run.path / "preview.png") as picture:
        assert picture.width > 900
    assert (run.path / "curves.png").stat().st_size > 5000


def test_the_best_checkpoint_is_by_panoptic_quality_not_by_mean_iou():
    assert score_of({"mean_iou": 0.9, "pq": 0.3}) == 0.3
    assert score_of({"mean_iou": 0.9, "pq": 0.0}) == 0.0
    assert score_of({"mean_iou": 0.9}) == 0.9
    assert score_of({"mean_iou": None}) is None


def test_run_says_which_classes_are_things(told):
    model, run = told
    assert model.kseg_things == (1,) and run.record["things"] == [1]
    loaded = kseg.load(run.path, model=small_network())
    assert loaded.kseg_things == (1,)
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    record = json.loads((run.path / "run.json").read_text())
    assert record["things"] == [1]


def test_resumed_run_is_bit_for_bit_the_uninterrupted_one(told, discs, tmp_path):
    class Stop(keras.callbacks.Callback):
        def __init__(self, step):
            super().__init__()
            self.step, self.steps = step, 0

        def on_train_batch_begin(self, batch, logs=None):
            self.steps += 1
            if self.steps == self.step:
                os.kill(os.getpid(), signal.SIGTERM)

    path, model = tmp_path / "run", small_network()
    with pytest.raises(KeyboardInterrupt):  # in the middle of the first epoch
        kseg.fit(model, discs, RECIPE, run_dir=path, callbacks=[Stop(2)])
    assert read_checkpoint(path)[0] == 2
    kseg.fit(small_network(), discs, RECIPE, run_dir=path, resume=True)
    for which in ("last", "best"):
        step, manifest, groups = read_checkpoint(path, which)
        other_step, other, others = read_checkpoint(told[1].path, which)
        assert step == other_step
        for name in ("model", "average", "optimizer"):
            for one, two in zip(groups[name], others[name], strict=True):
                np.testing.assert_array_equal(one, two, err_msg=name)
        for row, twin in zip(manifest["history"], other["history"], strict=True):
            assert {**row, "seconds": 0} == {**twin, "seconds": 0}


def test_other_things_are_other_data(told, discs, tmp_path):
    path = tmp_path / "run"
    recipe = replace(RECIPE, epochs=1)
    kseg.fit(small_network(), discs, recipe, run_dir=path)
    others = kseg.load_data(write_discs(tmp_path / "data", 9, 3))
    first = others.files("train")[0].label_file
    ids = np.asarray(Image.open(first))
    Image.fromarray(np.where(ids == 2, 1, ids).astype("uint16")).save(first)  # classes as before
    with pytest.raises(ValueError, match=r"begun with another data set \(fingerprint\)"):
        kseg.fit(small_network(), others, recipe, run_dir=path, resume=True)


def test_a_semantic_network_trains_on_the_label_maps(discs, own_model, tmp_path):
    model = own_model(2)
    run = kseg.fit(model, discs, replace(RECIPE, epochs=1), run_dir=tmp_path / "run")
    assert run.record["things"] == [] and not hasattr(model, "kseg_things")
    _, manifest, _ = read_checkpoint(run.path)
    assert manifest["pq"] is None and "pq" not in manifest["history"][0]


def test_data_without_instances_are_refused(training_data, tmp_path):
    with pytest.raises(ValueError, match=r"does not tell objects apart; .*`instances: \[car\]`"):
        kseg.fit(small_network(3), training_data, RECIPE, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_teachers_are_refused(discs, own_model, tmp_path):
    with pytest.raises(ValueError, match="only logits can be learnt from a teacher"):
        kseg.fit(small_network(), discs, RECIPE, run_dir=tmp_path / "run", teacher=small_network())
    with pytest.raises(ValueError, match="teacher tells objects apart; take a network that gives"):
        kseg.fit(own_model(2), discs, RECIPE, run_dir=tmp_path / "run", teacher=small_network())


def test_other_networks_of_several_outputs_are_refused_as_before(discs, tmp_path):
    image = keras.Input((None, None, 3))
    two = {name: keras.layers.Conv2D(2, 1, name=name)(image) for name in ("semantic", "depth")}
    listed = small_network()
    for model in (
        keras.Model(image, two),
        keras.Model(listed.inputs, list(listed.output.values())),
    ):
        with pytest.raises(ValueError, match=r"model must have one output; it has [23] \("):
            kseg.fit(model, discs, RECIPE, run_dir=tmp_path / "run")


def test_outputs_of_other_shapes_are_refused(discs, tmp_path):
    with pytest.raises(ValueError, match="model must have 1 channel in center and 2 in offset"):
        check_graph("model", small_network(offsets=3))
    with pytest.raises(ValueError, match=r"The model has 3 classes and .* has 2 names"):
        kseg.fit(small_network(3), discs, RECIPE, run_dir=tmp_path / "run")
    whole = small_network()
    outputs = dict(whole.output)
    outputs["center"] = keras.layers.MaxPooling2D(name="half")(outputs["center"])
    with pytest.raises(ValueError, match="model must give center of the image's size; for 32 x 32"):
        kseg.fit(keras.Model(whole.inputs, outputs), discs, RECIPE, run_dir=tmp_path / "run")
    outputs = dict(whole.output)
    outputs["semantic"] = keras.layers.Softmax(name="scores")(outputs["semantic"])
    with pytest.raises(ValueError, match=r"model must end in logits, .* it ends in softmax"):
        kseg.fit(keras.Model(whole.inputs, outputs), discs, RECIPE, run_dir=tmp_path / "run")


@pytest.mark.parametrize("name", ["center", "offset"])
def test_weights_of_losses_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be 0 or more; got -1"):
        kseg.Recipe(**{name: -1})


def test_a_run_with_things_that_are_no_classes_is_refused(told, tmp_path):
    record = json.loads((told[1].path / "run.json").read_text())
    with pytest.raises(ValidationError):
        _RunRecord.model_validate(record | {"things": [-1]})
    assert open_run(told[1].path).record["things"] == [1]


def test_classes_are_not_weighted_unless_it_is_asked_for(discs, monkeypatch):
    monkeypatch.setattr(sys.modules[make_plan.__module__], "measure", lambda *_: Speed(0.1, 0.01))
    report = check_data(discs)
    for settings, wanted in (({}, None), ({"class_weights": "auto"}, "auto")):
        wishes = Wishes({"crop": (32, 32), "epochs": 2, **settings})
        chosen = make_plan(small_network(), discs, report, wishes)
        assert chosen.recipe.class_weights == wanted
    assert "class weights: the rarer the higher (--class-weights)" in chosen.lines


def test_command_line_trains_and_prints_panoptic_quality(discs, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    words = ["train", str(discs.source), "--model", "panoptic_deeplab", "--backbone", "separable"]
    words += ["--weights", "none", "--set", "output_stride=16", "--epochs", "1"]
    words += ["--crop", "32", "32", "--out", str(out)]
    assert main([*words, "--recipe", "offset=0.1"]) == 0
    printed = capsys.readouterr()
    assert "RQ" in printed.out and "TP / (TP + FP + FN), IoU 0.5" in printed.out
    assert "val PQ" in printed.err
    page = (out / "report.html").read_text()
    assert "panoptic quality" in page and "TP / (TP + FP + FN) at IoU 0.5" in page
    loaded = kseg.load(out)
    assert loaded.kseg_things == (1,) and loaded.kseg_spec["builder"] == "panoptic_deeplab"
    scores = kseg.evaluate_instances(loaded, discs)
    assert scores.pq == read_checkpoint(out, "best")[1]["pq"]
    loaded.kseg_things = None
    monkeypatch.setattr("kseg.hub.fetch", lambda address: out)
    load_hub_weights(loaded, "hf://someone/discs")
    assert loaded.kseg_things == (1,)
