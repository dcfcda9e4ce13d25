"""Trainings that end with a sentence, and what they leave behind."""

import fcntl
import os
import re
import resource
from dataclasses import replace

import keras
import numpy as np
import pytest

import kseg
from kseg.cli import main
from kseg.training.callbacks import TrainingDivergedError, WeightAverage
from kseg.training.checkpoints import read_checkpoint
from kseg.training.run import open_run

QUICK = kseg.Recipe(epochs=1, batch_size=4)


def test_norm_of_one_number_is_warned_of(tmp_path, training_data):
    model = kseg.build_deeplab_v3(3, backbone="separable", weights=None)
    recipe = kseg.Recipe(epochs=1, batch_size=1, validate_every=1)
    with pytest.warns(UserWarning, match="image_pool_norm is the norm of a single number"):
        kseg.fit(model, training_data, recipe, run_dir=tmp_path)


def test_loss_that_is_no_number_ends_the_training(tmp_path, training_data, own_model):
    model = own_model()
    model.layers[-1].bias.assign([np.nan] * 3)
    match = r"The loss is nan after 1 steps; try a smaller .* The last batch was .*\.png, "
    with pytest.raises(TrainingDivergedError, match=match):
        kseg.fit(model, training_data, QUICK, run_dir=tmp_path)
    with pytest.raises(ValueError, match="has no whole checkpoint"):
        read_checkpoint(tmp_path)


def test_checkpoint_before_the_divergence_stays_good(
    tmp_path, training_data, own_model, monkeypatch
):
    original = WeightAverage.on_train_batch_end

    def spoil(self, batch, logs=None):
        original(self, batch, logs)
        if self.steps == 3:  # the first of the second epoch
            self.model.layers[-1].bias.assign([np.nan] * 3)

    monkeypatch.setattr(WeightAverage, "on_train_batch_end", spoil)
    with pytest.raises(TrainingDivergedError, match="The loss is nan after 4 steps"):
        kseg.fit(own_model(), training_data, replace(QUICK, epochs=2), run_dir=tmp_path)
    loaded = kseg.load(tmp_path, model=own_model())
    assert all(np.isfinite(weight).all() for weight in loaded.get_weights())


@pytest.mark.parametrize("resume", [False, True])
def test_folder_that_is_not_empty_is_refused(tmp_path, training_data, own_model, resume):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty; resume the run in it, or name another"):
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, resume=resume)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_model_of_other_classes_is_refused(tmp_path, training_data, own_model):
    with pytest.raises(ValueError, match=r"The model has 4 classes .* 3 names"):
        kseg.fit(own_model(num_classes=4), training_data, QUICK, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["RandomFlip", "RandomRotation", "RandomZoom"])
def test_layers_that_move_images_and_not_labels_are_refused(tmp_path, training_data, name):
    image = keras.Input((None, None, 3))
    moved = getattr(keras.layers, name)(*([] if name == "RandomFlip" else [0.5]))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(moved(image)))
    with pytest.raises(ValueError, match=rf"\({name}\), which moves images in training"):
        kseg.fit(model, training_data, kseg.Recipe(epochs=1), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_without_validation_is_refused(tmp_path, training_data, own_model):
    data = replace(training_data, pairs={"train": training_data.files("train")})
    with pytest.raises(ValueError, match="has no split 'val'"):
        kseg.fit(own_model(), data, QUICK, run_dir=tmp_path / "run")


def test_unusable_file_is_found_before_the_training(tmp_path, own_model, write_rectangles):
    yaml = write_rectangles(tmp_path / "data", [(64, 64)] * 8)
    (yaml.parent / "images/4.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 file cannot be used:\n.*images/4\.png"):
        kseg.fit(own_model(), kseg.load_data(yaml), QUICK, run_dir=tmp_path / "run")


def test_freezing_needs_known_stages(tmp_path, training_data, own_model):
    with pytest.raises(ValueError, match="needs a model that kseg built with such a stage"):
        kseg.fit(own_model(), training_data, replace(QUICK, freeze="c1"), run_dir=tmp_path / "run")


def test_training_that_never_began_does_not_block_its_folder(tmp_path, training_data, own_model):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="needs a model that kseg built"):
        kseg.fit(own_model(), training_data, replace(QUICK, freeze="c1"), run_dir=run)
    kseg.fit(own_model(), training_data, QUICK, run_dir=run)
    assert open_run(run).record["recipe"]["epochs"] == 1


def test_second_training_in_one_folder_is_refused(tmp_path, training_data, own_model):
    lock = tmp_path / "run.lock"
    lock.write_text("12345\n")
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        match = r"Another training writes to .* \(process 12345\); name another folder"
        with pytest.raises(ValueError, match=match):
            kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, resume=True)
        assert lock.read_text() == "12345\n"  # the refused one leaves it as it is
    leftover = tmp_path / "checkpoints/.00000007.tmp"  # of a process that was killed
    leftover.mkdir(parents=True)
    (leftover / "weights.h5").write_bytes(b"half")
    (tmp_path / ".run.json.tmp").write_text("{")
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path)
    assert int(lock.read_text()) == os.getpid()
    assert not leftover.exists() and not (tmp_path / ".run.json.tmp").exists()


def test_resuming_where_every_checkpoint_is_damaged_is_refused(tmp_path, training_data, own_model):
    kseg.fit(own_model(), training_data, replace(QUICK, epochs=2), run_dir=tmp_path)
    for folder in (tmp_path / "checkpoints").iterdir():
        (folder / "weights.h5").write_bytes(b"gone")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match="has no whole checkpoint: all 2 are damaged"),
    ):
        kseg.fit(
            own_model(), training_data, replace(QUICK, epochs=2), run_dir=tmp_path, resume=True
        )


def test_weights_that_are_not_finite_are_never_saved(
    tmp_path, training_data, own_model, monkeypatch
):
    original = WeightAverage.on_train_batch_end

    def spoil(self, batch, logs=None):  # weights that the loss does not show yet
        self.model.layers[-1].bias.assign([np.inf] * 3)
        original(self, batch, logs)

    monkeypatch.setattr(WeightAverage, "on_train_batch_end", spoil)
    match = r"A weight is no longer finite after 1 steps; .* The last batch was .*images/\d\.png, "
    with pytest.raises(TrainingDivergedError, match=match):
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("limit", [100, 3000])
def test_a_full_disk_ends_with_5_and_the_bytes_that_are_needed(
    tmp_path, rectangles_yaml, capsys, limit
):
    """The limit on the size of a file stands in for a disk without room: run.json, a checkpoint."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = [
        str(rectangles_yaml), "--model", "fcn32s", "--backbone", "separable", "--weights", "none",
        "--epochs", "1", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        assert main(["train", *options]) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    *_, sentence = [x for x in capsys.readouterr().err.splitlines() if x.startswith("kseg: ")]
    assert re.search(r"could not be written \(File too large\): it needs [\d,]+ bytes", sentence)
    assert "Errno" not in sentence
    assert not (tmp_path / "run/run.json").exists() or limit == 3000
    if limit == 3000:  # with room again, the folder is free
        assert main(["train", *options]) == 0
