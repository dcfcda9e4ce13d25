"""What makes a network an FCN: which strides are scored, and that scores are added."""

import keras
import numpy as np
import pytest

from kseg.models import MODELS

SCORED = {
    "fcn32s": {"score_c5": 32},
    "fcn16s": {"score_c5": 32, "score_c4": 16},
    "fcn8s": {"score_c5": 32, "score_c4": 16, "score_c3": 8},
}


def network(name, upsampling="bilinear"):
    model = MODELS[name](
        4, backbone="separable", input_shape=(64, 96, 3), weights=None, upsampling=upsampling
    )
    model.jit_compile = False
    return model


def bilinear(x, scale):
    """Enlarges (N, H, W, C) by the half-pixel formula, one axis at a time."""
    for axis in (1, 2):
        length = x.shape[axis]
        centre = np.clip((np.arange(length * scale) + 0.5) / scale - 0.5, 0, length - 1)
        left = np.floor(centre).astype(int)
        right = np.minimum(left + 1, length - 1)
        share = (centre - left).reshape(-1, *[1] * (3 - axis))
        x = (1 - share) * x.take(left, axis) + share * x.take(right, axis)
    return x


@pytest.mark.parametrize("name", SCORED)
def test_the_strides_of_its_name_are_scored_by_1x1_convolutions(name):
    model = network(name)
    scores = {layer.name: layer for layer in model.layers if layer.name.startswith("score")}
    assert {key: 64 // layer.output.shape[1] for key, layer in scores.items()} == SCORED[name]
    for key, layer in scores.items():
        assert layer.kernel_size == (1, 1) and layer.filters == 4
        level = key.removeprefix("score_")
        assert layer.input is model.get_layer(model.kseg_endpoints[level]).output


@pytest.mark.parametrize("name", SCORED)
def test_scores_are_upsampled_and_added(name, enliven):
    model = enliven(network(name), (64, 96))
    x = np.random.default_rng(1).uniform(0, 255, (2, 64, 96, 3)).astype("float32")
    wanted = {key: model.get_layer(key).output for key in SCORED[name]}
    scores = {key: value.numpy() for key, value in keras.Model(model.input, wanted)(x).items()}
    total, stride = scores["score_c5"], 32
    for key in ("score_c4", "score_c3"):
        if key in scores:
            total, stride = bilinear(total, 2) + scores[key], stride // 2
    expected = bilinear(total, stride)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(model.predict_on_batch(x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("upsampling", "learnt"),
    [
        ("transposed", {"upsample_c4": 2, "upsample_c3": 2}),
        ("bilinear", {}),
        ("all_transposed", {"upsample_c4": 2, "upsample_c3": 2, "upsample_image": 8}),
    ],
)
def test_upsampling_is_learnt_where_asked(upsampling, learnt):
    transposed = {
        layer.name: layer
        for layer in network("fcn8s", upsampling).layers
        if isinstance(layer, keras.layers.Conv2DTranspose)
    }
    assert {name: layer.strides[0] for name, layer in transposed.items()} == learnt
    for layer in transposed.values():
        assert layer.kernel_size == (2 * layer.strides[0],) * 2 and not layer.use_bias


def test_learnt_upsampling_starts_as_bilinear_away_from_the_border(enliven):
    fixed = enliven(network("fcn8s"), (64, 96))
    learnt = network("fcn8s", "all_transposed")
    for layer in fixed.layers:
        if layer.weights:
            learnt.get_layer(layer.name).set_weights(layer.get_weights())
    x = np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    fixed, learnt = fixed.predict_on_batch(x), learnt.predict_on_batch(x)
    # Half of a coarse pixel per step: 16 + 8 + 4.
    inside = slice(28, -28)
    np.testing.assert_allclose(learnt[:, inside, inside], fixed[:, inside, inside], atol=1e-4)


def test_score_layers_start_near_even_odds_but_not_at_zero():
    model = network("fcn8s")
    for name in ("score_c5", "score_c4", "score_c3"):
        kernel, bias = model.get_layer(name).get_weights()
        assert 0.005 < kernel.std() < 0.015
        assert not bias.any()
