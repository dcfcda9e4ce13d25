"""Trainings that end with a sentence, and what they leave behind."""

import fcntl
from dataclasses import replace

import numpy as np
import pytest

import kseg
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


def test_folder_that_is_not_empty_is_refused(tmp_path, training_data, own_model):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty; resume the run in it, or name another"):
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_model_of_other_classes_is_refused(tmp_path, training_data, own_model):
    with pytest.raises(ValueError, match=r"The model has 4 classes .* 3 names"):
        kseg.fit(own_model(num_classes=4), training_data, QUICK, run_dir=tmp_path / "run")
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
    with (tmp_path / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"Another training writes to .*; name another"):
            kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, resume=True)
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, resume=True)
