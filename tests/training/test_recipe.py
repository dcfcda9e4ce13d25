import dataclasses

import pytest

from kseg import Recipe


def test_defaults_are_valid():
    assert Recipe().epochs == 30


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3


def test_lists_become_tuples():
    """As JSON gives them back."""
    recipe = Recipe(size=[360, 480], crop=[288, 384], scale=[1, 2])
    assert recipe == Recipe(size=(360, 480), crop=(288, 384), scale=(1, 2))
    assert recipe.scale == (1, 2) and recipe.crop == (288, 384)


@pytest.mark.parametrize(
    ("argument", "value", "match"),
    [
        ("optimizer", "adam", "optimizer must be one of adamw, sgd; got 'adam'"),
        ("schedule", "step", "schedule must be one of cosine, poly; got 'step'"),
        ("freeze", "c6", "freeze must be one of c1, c2, c3, c4, c5; got 'c6'"),
        ("class_weights", "balanced", "class_weights must be one of auto; got 'balanced'"),
        ("epochs", 0, "epochs must be a whole number from 1; got 0"),
        ("batch_size", 0, "batch_size must be a whole number from 1; got 0"),
        ("validate_every", -1, "validate_every must be a whole number from 1; got -1"),
        ("workers", 0, "workers must be a whole number from 1; got 0"),
        ("average", 1, "average must be from 0 to under 1; got 1"),
        ("norm_momentum", -0.1, r"norm_momentum must be from 0 to under 1; got -0\.1"),
        ("warmup", 1.0, r"warmup must be from 0 to under 1; got 1\.0"),
        ("warmup", float("nan"), "warmup must be from 0 to under 1; got nan"),
        ("color", 1.5, r"color must be from 0 to under 1; got 1\.5"),
        ("minutes", 0, "minutes must be a number above 0; got 0"),
        ("learning_rate", 0.0, r"learning_rate must be a number above 0; got 0\.0"),
        ("learning_rate", float("nan"), "learning_rate must be a number above 0; got nan"),
        ("clip_norm", 0, "clip_norm must be a number above 0; got 0"),
        ("backbone_rate", -1, "backbone_rate must be 0 or more; got -1"),
        ("weight_decay", -1, "weight_decay must be 0 or more; got -1"),
        ("dice", -0.5, r"dice must be 0 or more; got -0\.5"),
        ("size", (0, 64), r"size must be \(height, width\) in pixels; got \(0, 64\)"),
        ("size", (64,), r"size must be \(height, width\) in pixels; got \(64,\)"),
        ("crop", (64, -32), r"crop must be \(height, width\) in pixels; got \(64, -32\)"),
        ("crop", (360, 480), r"crop must be multiples of 32, .*got 360 x 480\. Take 384 x 480\."),
        ("scale", (0, 1), r"scale must be \(smallest, largest\), above 0; got \(0, 1\)"),
        ("epochs", 2.5, r"epochs must be a whole number from 1; got 2\.5"),
        ("epochs", "3", "epochs must be a whole number from 1; got '3'"),
        ("seed", -1, "seed must be a whole number from 0; got -1"),
        ("minutes", float("inf"), "minutes must be a number above 0; got inf"),
        ("size", 360, r"size must be \(height, width\) in pixels; got 360"),
        (
            "scale",
            (1, float("inf")),
            r"scale must be \(smallest, largest\), above 0; got \(1, inf\)",
        ),
        ("scale", 1.0, r"scale must be \(smallest, largest\), above 0; got 1\.0"),
        ("scale", (1, 2, 3), r"scale must be \(smallest, largest\), above 0; got \(1, 2, 3\)"),
        ("scale", (2, 1), r"scale must be \(smallest, largest\), above 0; got \(2, 1\)"),
    ],
)
def test_value_out_of_range_is_refused(argument, value, match):
    with pytest.raises(ValueError, match=match):
        Recipe(**{argument: value})


@pytest.mark.parametrize(
    "argument", ["epochs", "batch_size", "learning_rate", "optimizer", "schedule", "scale"]
)
def test_what_cannot_be_left_out_is_not_none(argument):
    with pytest.raises(ValueError, match=f"{argument} must be"):
        Recipe(**{argument: None})


@pytest.mark.parametrize(
    ("limit", "steps", "expected"),
    [(0.99, 10_000, 0.99), (0.99, 1000, 0.98), (0.99, 100, 0.8), (0.99, 12, 0.5), (0.3, 100, 0.3)],
)
def test_short_runs_forget_within_a_twentieth_of_their_steps(limit, steps, expected):
    assert Recipe().suited(limit, steps) == pytest.approx(expected)
