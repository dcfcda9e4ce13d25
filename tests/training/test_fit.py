import csv
import hashlib
import json
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.inference import predict_logits
from kseg.training import fitting, timing
from kseg.training.callbacks import Keeper
from kseg.training.checkpoints import read_checkpoint
from kseg.training.images import crop_of
from kseg.training.run import open_run

QUICK = kseg.Recipe(epochs=1, batch_size=4)


def history(run):
    with (run.path / "history.csv").open() as file:
        return list(csv.DictReader(file))


def picture(data, index=0):
    return data.read(data.files("val")[index])[0]


def test_loss_falls_and_the_score_rises(trained):
    rows = history(trained[1])
    losses = [float(row["loss"]) for row in rows]
    assert losses[0] > losses[1] > losses[2]
    scores = [float(row["mean_iou"]) for row in rows]
    assert max(scores) > scores[0] + 0.03


def test_run_folder_holds_what_was_promised(trained, recipe):
    path = trained[1].path
    assert {entry.name for entry in path.iterdir()} == {
        "run.json",
        "run.lock",
        "checkpoints",
        "history.csv",
        "curves.png",
        "preview.png",
    }
    assert len(list((path / "checkpoints").iterdir())) in (2, 3)
    for name, size in (("curves.png", (770, 440)), ("preview.png", (984, 1026))):
        with Image.open(path / name) as picture:
            assert picture.size == size


def test_history_has_a_row_for_each_epoch(trained):
    rows = history(trained[1])
    names = ["epoch", "step", "loss", "mean_iou", "pixel_accuracy", "seconds"]
    assert list(rows[0]) == [*names, "iou ground", "iou red", "iou blue"]
    for row in rows:
        ious = [float(row[f"iou {name}"]) for name in ("ground", "red", "blue")]
        assert float(row["mean_iou"]) == pytest.approx(np.mean(ious))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "4"), ("2", "8"), ("3", "12")]
    assert all(0 <= float(row["mean_iou"]) <= 1 for row in rows)


def test_record_says_what_was_trained_and_how(trained, recipe, training_data):
    model, run, _ = trained
    record = json.loads((run.path / "run.json").read_text())
    assert record["format"] == 1
    assert record["spec"] == model.kseg_spec
    assert record["classes"]["names"] == ["ground", "red", "blue"]
    assert record["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert record["size"] is None and record["backend"] == "tensorflow"
    assert {"kseg", "keras", "numpy", "python", "tensorflow"} <= set(record["versions"])
    assert len(record["data"]["fingerprint"]) == 64
    assert open_run(run.path).classes == training_data.classes


def test_manifests_hold_the_sha256_of_their_weights(trained):
    folders = list((trained[1].path / "checkpoints").iterdir())
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        digest = hashlib.sha256((folder / "weights.h5").read_bytes()).hexdigest()
        assert manifest["sha256"]["weights.h5"] == digest


def test_loaded_model_predicts_as_the_fitted_one(trained, training_data):
    model, run, _ = trained
    for source in (run, run.path, str(run.path)):
        loaded = kseg.load(source)
        assert loaded is not model
        for fitted, weight in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, fitted)
    logits = predict_logits(model, picture(training_data))
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(predict_logits(loaded, picture(training_data)), logits, atol=1e-5)


def test_fitted_model_has_the_best_score_of_the_history(trained, training_data):
    model, run, _ = trained
    rows = history(run)
    best = max(float(row["mean_iou"]) for row in rows)
    assert kseg.evaluate(model, training_data).mean_iou == pytest.approx(best, abs=1e-6)


def test_last_checkpoint_can_be_asked_for(trained):
    _, manifest, groups = read_checkpoint(trained[1].path, "last")
    assert manifest["epoch"] == 3
    last = kseg.load(trained[1], checkpoint="last")
    for variable, value in zip(last.variables, groups["average"], strict=True):
        np.testing.assert_array_equal(variable, value)


def test_weights_are_averaged_statistics_included(trained):
    model, run, _ = trained
    _, _, groups = read_checkpoint(run.path, "last")
    paths = [variable.path for variable in model.variables]
    for kind in ("kernel", "moving_mean"):
        index = next(i for i, path in enumerate(paths) if path.endswith(kind))
        assert (groups["average"][index] != groups["model"][index]).any()


def test_batches_run_on_over_the_epochs(trained):
    """Keras counts a data set with an end from 0 in each epoch: the same variations again."""
    numbers = sorted(set(trained[2]))
    assert numbers[:12] == list(range(12))


def test_backbone_is_trained_at_its_own_rate(tmp_path, training_data, build_small):
    model = build_small()
    before = {variable.path: np.asarray(variable).copy() for variable in model.variables}
    recipe = replace(QUICK, backbone_rate=1e-6, average=0.0, weight_decay=0.0)
    kseg.fit(model, training_data, recipe, run_dir=tmp_path)
    moved = {
        variable.path: np.abs(np.asarray(variable) - before[variable.path]).max()
        for variable in model.trainable_variables
    }
    decoder = {
        path for path in moved if path.startswith(("score_", "upsample_", "fuse_", "logits"))
    }
    assert {"score_c5/kernel", "upsample_c4/kernel"} <= decoder
    slow = max(moved[path] for path in moved.keys() - decoder)
    fast = min(moved[path] for path in decoder)
    assert 0 < slow < 1e-7 and fast > 1e-4


def test_frozen_stages_keep_weights_and_statistics_and_are_thawed(
    tmp_path, training_data, build_small
):
    model = build_small()
    stage = [layer for layer in model.layers if layer.name.startswith(("stem", "stage2", "stage3"))]
    stage[1].trainable = False  # by the user: stays so
    before = {layer.name: layer.get_weights() for layer in model.layers}
    kseg.fit(model, training_data, replace(QUICK, freeze="c3"), run_dir=tmp_path)
    for layer in model.layers:
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True):
            if layer in stage:
                np.testing.assert_array_equal(old, new)
            else:
                assert (old != new).any(), layer.name
    assert [layer.name for layer in model.layers if not layer.trainable] == [stage[1].name]


def test_whole_backbone_can_be_frozen(tmp_path, training_data, build_small):
    model = build_small(name="fcn32s")
    before = {layer.name: layer.get_weights() for layer in model.layers}
    kseg.fit(model, training_data, replace(QUICK, freeze="c5"), run_dir=tmp_path)
    changed = {
        layer.name
        for layer in model.layers
        if any((a != b).any() for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
    }
    assert changed == {"score_c5"}
    assert all(layer.trainable for layer in model.layers)


def test_frozen_norms_keep_all_their_weights_and_are_thawed(tmp_path, training_data, build_small):
    small = build_small()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, small(image))  # also those of a network within a network
    norms = [x for x in small.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms
    before = {layer.name: layer.get_weights() for layer in small.layers}
    kseg.fit(model, training_data, replace(QUICK, freeze_norms=True), run_dir=tmp_path)
    for layer in small.layers:
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True):
            assert (old == new).all() == (layer in norms), layer.name
    assert all(layer.trainable for layer in small.layers)


def test_frozen_norms_normalize_in_training_as_they_do_afterwards(
    tmp_path, training_data, build_small
):
    model = build_small()
    outputs = []

    def record(*unused):
        images = np.full((2, 32, 32, 3), 60.0, np.float32)
        images[1] += 90
        outputs.append([np.asarray(model(images, training=x)) for x in (True, False)])

    watch = keras.callbacks.LambdaCallback(on_train_begin=record)
    recipe = replace(QUICK, freeze_norms=True)
    kseg.fit(model, training_data, recipe, run_dir=tmp_path, callbacks=[watch])
    np.testing.assert_allclose(*outputs[0], atol=1e-4)


def test_norm_momentum_is_that_of_the_recipe(tmp_path, training_data, own_model):
    model = own_model()
    kseg.fit(model, training_data, replace(QUICK, norm_momentum=0.5), run_dir=tmp_path)
    (norm,) = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norm.momentum == 0.5


def test_own_model_trains_and_loads_with_itself(tmp_path, training_data, own_model):
    model = own_model()
    run = kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "run")
    assert run.record["spec"] is None
    with pytest.raises(ValueError, match="a model that kseg did not build; pass it to kseg"):
        kseg.load(run)
    loaded = kseg.load(run, model=own_model())
    image = picture(training_data)
    np.testing.assert_allclose(
        predict_logits(loaded, image), predict_logits(model, image), atol=1e-5
    )
    with pytest.raises(ValueError, match="holds the weights of another network"):
        kseg.load(run, model=own_model(num_classes=4))


def test_epochs_without_evaluation_have_empty_cells(tmp_path, training_data, own_model):
    recipe = replace(QUICK, epochs=3, validate_every=2)
    run = kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)
    cells = [row["mean_iou"] for row in history(run)]
    assert [bool(cell) for cell in cells] == [False, True, True]  # the last one always


def test_sgd_poly_and_fixed_crops_train_too(tmp_path, training_data, own_model, recorded):
    recipe = replace(
        QUICK,
        optimizer="sgd",
        schedule="poly",
        size=(32, 32),
        crop=(32, 64),
        class_weights=None,
        dice=0.0,
        clip_norm=None,
        workers=2,
    )
    run = kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)
    assert run.size == (32, 32)
    assert open_run(tmp_path).size == (32, 32)
    assert {0, 1} <= set(recorded.numbers)


def test_crop_is_the_first_pictures_size_rounded_up_to_32(tmp_path, write_rectangles):
    data = kseg.load_data(write_rectangles(tmp_path / "data", [(33, 64)] * 8))
    crop = crop_of
    assert crop(QUICK, data) == (64, 64)
    assert crop(replace(QUICK, size=(65, 32)), data) == (96, 32)
    assert crop(replace(QUICK, size=(65, 32), crop=(32, 32)), data) == (32, 32)


def test_clock_passes_over_the_first_steps():
    clock = timing.Clock()
    clock.times = [0, 100, 101, 103, 104, 105]
    assert clock.step_seconds() == 1


def test_progress_goes_to_standard_error_only(tmp_path, training_data, own_model, capfd):
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "loss" in err and "step" in err


def test_keeper_scores_the_average_and_trains_on_with_the_weights(
    tmp_path, training_data, own_model
):
    """After an epoch's evaluation the model must hold its own weights again, not the average."""
    seen = {}
    original = Keeper.on_epoch_end

    def watch(self, epoch, logs=None):
        seen["before"] = self.model.get_weights()
        original(self, epoch, logs)
        seen["after"] = self.model.get_weights()
        seen["average"] = [value.copy() for value in self.average.values]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Keeper, "on_epoch_end", watch)
        kseg.fit(own_model(), training_data, replace(QUICK, average=0.9), run_dir=tmp_path)
    for before, after in zip(seen["before"], seen["after"], strict=True):
        np.testing.assert_array_equal(before, after)
    assert any((a != b).any() for a, b in zip(seen["after"], seen["average"], strict=True))


def test_preview_is_drawn_after_every_validation(training_data, own_model, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(fitting, "write_preview", lambda path, *_: drawn.append(path))
    recipe = replace(QUICK, epochs=3, validate_every=2)
    kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)
    # After the second and the last epoch; at the end of the best weights.
    assert drawn == [tmp_path / "preview.png"] * 3


def test_time_of_parts_that_are_added_at_the_end_counts_on(tmp_path):
    keeper = Keeper(tmp_path, None, None, (1, 3), 1, str, None)
    keeper.on_train_begin()
    first = keeper.bar
    keeper.on_train_end()
    keeper.length = (2, 3)  # as by minutes, where steps were quicker than expected
    keeper.on_train_begin()
    keeper.on_train_end()
    assert keeper.bar is not first and keeper.bar.total == 6
    assert (keeper.bar.start_t, keeper.bar.initial) == (first.start_t, first.initial)
