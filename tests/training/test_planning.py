"""What is chosen where nobody said it, and trainings by minutes, on real files."""

import json
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

import kseg
from kseg.data import check_data
from kseg.losses import LOSSES
from kseg.training import fitting, timing
from kseg.training.callbacks import Keeper
from kseg.training.checkpoints import read_checkpoint
from kseg.training.facts import facts_of
from kseg.training.images import validated
from kseg.training.pace import Speed
from kseg.training.planning import Wishes, make_plan

PLAN = sys.modules[make_plan.__module__]  # `kseg.training.planning` is the function


@pytest.fixture
def quick(monkeypatch):
    """Steps of 0.1 s and images of 0.01 s, so that choices do not depend on the machine."""
    monkeypatch.setattr(PLAN, "measure", lambda *_: Speed(0.1, 0.01))


def test_facts_are_those_of_the_images(training_data):
    facts = facts_of(training_data)
    assert (facts.counts, facts.size, facts.largest) == ((8, 3), (64, 64), 4096)
    assert (facts.thickness > 10).all() and (facts.thickness < 40).all()


def test_what_is_not_given_is_chosen_and_said(training_data, build_small, quick):
    model = build_small()
    chosen = make_plan(model, training_data, check_data(training_data), Wishes())
    recipe = chosen.recipe
    assert (recipe.size, recipe.crop, recipe.batch_size) == (None, (64, 64), 4)
    assert (recipe.epochs, recipe.validate_every, recipe.patience) == (600, 30, 10)
    assert (recipe.freeze, recipe.backbone_rate) == (None, 1.0)  # its weights are random
    assert kseg.plan(training_data, model) == recipe
    text = "\n".join(chosen.lines)
    for part in (
        "images: 8 to train on, 3 to validate on, usually 64 x 64",
        "classes: ground ",
        "network: fcn16s on separable from random weights",
        "turned: never, as fewer than 12 images do not tell (--recipe turn=true)",
        "working size: as the images are (--size H W)",
        "a step: 4 crops of 64 x 64 (--batch-size, --crop H W)",
        "length: 600 epochs, which are 1200 steps (--epochs, or --minutes)",
        "validation: every 30 epochs; 10 without a better score end the training",
        "expected: about 3 minutes and",
    ):
        assert part in text


def test_crops_are_turned_where_nothing_tells_above_from_below(training_data, own_model, quick):
    report = replace(check_data(training_data), upright={"train": None})

    def planned(data, **given):
        chosen = make_plan(own_model(), data, report, Wishes(given))
        (line,) = (line for line in chosen.lines if line.startswith("turned"))
        return chosen.recipe.turn, chosen.recipe.flip, line

    why = "nothing tells above from below"
    assert planned(training_data) == (
        True, True, f"turned: to any side, as {why} (--recipe turn=false)"
    )  # fmt: skip
    turned, _, line = planned(training_data, turn=False)
    assert not turned and line == "turned: never (--recipe turn=true)"
    turned, _, line = planned(training_data, epochs=49)
    assert not turned and "as no image is seen 50 times" in line
    handed = replace(training_data.classes, names=("ground", "leftLane", "rightLane"))
    _, flip, line = planned(replace(training_data, classes=handed))
    assert not flip and line.endswith("; nor mirrored (--recipe flip=true)")


def test_small_crops_are_put_around_classes(training_data, own_model, quick):
    report = replace(check_data(training_data), pixels={"train": np.array([980, 5, 15])})
    given = {"crop": (32, 32)}
    chosen = make_plan(own_model(), training_data, report, Wishes(given))
    assert chosen.recipe.focus == 1.0
    text = "crops of 32 x 32, around each class alike (--batch-size, --crop H W, --recipe focus=0)"
    assert text in "\n".join(chosen.lines)
    chosen = make_plan(own_model(), training_data, report, Wishes({**given, "focus": 0.0}))
    assert chosen.recipe.focus == 0.0 and "around" not in "\n".join(chosen.lines)


def test_a_network_knows_where_its_weights_are_from(training_data, quick):
    model = kseg.build_fcn8s(3)
    chosen = make_plan(model, training_data, check_data(training_data), Wishes())
    assert (chosen.recipe.freeze, chosen.recipe.backbone_rate) == ("c2", 0.2)
    assert "network: fcn8s on efficientnet_lite0 from ImageNet weights" in "\n".join(chosen.lines)


def test_what_is_given_stays(training_data, own_model, quick):
    given = {
        "epochs": 7,
        "batch_size": 3,
        "size": (48, 48),
        "crop": (32, 32),
        "validate_every": 2,
        "patience": 1,
        "backbone_rate": 0.3,
        "color": 0.0,
        "class_weights": None,
    }
    chosen = make_plan(own_model(), training_data, check_data(training_data), Wishes(given))
    assert chosen.recipe == kseg.Recipe(**given)
    assert "class weights: all alike" in "\n".join(chosen.lines)
    given = {"loss": "dice"}
    chosen = make_plan(own_model(), training_data, check_data(training_data), Wishes(given))
    assert "class weights: dice has none (--recipe loss)" in chosen.lines


def test_measuring_leaves_the_model_as_it_was(training_data, own_model):
    model = own_model()
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Model(model.inputs, norm(model.output))
    before = model.get_weights()
    loss = LOSSES["cross_entropy"](None, 0.0, 0.0)
    speed = timing.measure(model, training_data, kseg.Recipe(batch_size=4), loss)
    assert 0 < speed.step < 5 and 0 < speed.image < 5
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert norm.momentum == 0.99


def test_validation_images_are_spread_evenly(training_data):
    files = training_data.files("val")
    assert validated(training_data, 2).files("val") == (files[0], files[2])
    assert validated(training_data, None) is validated(training_data, 3) is training_data


def test_training_without_a_recipe_resumes_with_what_was_chosen(
    tmp_path, training_data, own_model, quick, monkeypatch
):
    monkeypatch.setattr(PLAN.choices, "epochs_for", lambda *_: 3)
    original = Keeper.on_train_batch_end

    def stop(self, batch, logs=None):
        original(self, batch, logs)
        if self.steps_done == 3:
            raise KeyboardInterrupt

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            kseg.fit(own_model(), training_data, Wishes(tell=said.append), run_dir=tmp_path)
    assert said[0].startswith("images: 8")
    monkeypatch.setattr(PLAN, "measure", None)  # nothing is chosen a second time
    run = kseg.fit(own_model(), training_data, run_dir=tmp_path, resume=True)
    assert run.record["recipe"]["epochs"] == run.record["asked"]["epochs"] == 3
    assert read_checkpoint(tmp_path)[1]["epoch"] == 3


def test_patience_ends_a_training_for_good(tmp_path, training_data, own_model):
    recipe = kseg.Recipe(epochs=9, batch_size=8, learning_rate=1e-9, patience=2)
    for resume in (False, True):
        run = kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path, resume=resume)
        assert len((run.path / "history.csv").read_text().splitlines()) == 1 + 3


def test_training_by_minutes_ends_in_time_and_resumes_to_itself(
    tmp_path, training_data, own_model, monkeypatch
):
    recipe = kseg.Recipe(minutes=0.2, batch_size=4)
    model = own_model()
    run = kseg.fit(model, training_data, recipe, run_dir=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["recipe"]["minutes"] == 0.2 and record["pace"]["parts"] >= 1
    _, manifest, _ = read_checkpoint(tmp_path)
    assert manifest["pace"]["left"] == 0 and 0.9 <= manifest["pace"]["progress"] <= 1
    monkeypatch.setattr(fitting, "measure", None)
    again = kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path, resume=True)
    assert again.record == run.record
    assert read_checkpoint(tmp_path)[1] == manifest
    with pytest.raises(ValueError, match=r"begun with another recipe \(minutes\)"):
        other = replace(recipe, minutes=0.3)
        kseg.fit(own_model(), training_data, other, run_dir=tmp_path, resume=True)


def test_a_plan_for_all_images_says_so(training_data, own_model, quick):
    chosen = make_plan(
        own_model(), training_data, check_data(training_data), Wishes({"with_val": True})
    )
    assert "images: 11 to train on, usually 64 x 64" in chosen.lines
