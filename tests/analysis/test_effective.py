import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.analysis import describe, effective_side, influence_map, summary


def _stack(kernels, dilation_rate=1):
    """Returns a network of one-channel convolutions with known kernels."""
    image = x = keras.Input((None, None, 1))
    for index, kernel in enumerate(kernels):
        layer = layers.Conv2D(
            1, len(kernel), padding="same", dilation_rate=dilation_rate, name=f"conv{index}"
        )
        x = layer(x)
        layer.kernel.assign(np.outer(kernel, kernel)[:, :, None, None])
    return keras.Model(image, x)


def test_influence_of_linear_convolutions_is_the_product_of_their_kernels():
    model = _stack([[1, 2, 1], [1, -3, 2]])
    influence = influence_map(model, (9, 11))
    # Backwards through both: the kernels, convolved with each other and flipped by the gradient.
    line = np.abs(np.convolve([1, 2, 1], [1, -3, 2]))
    expected = np.zeros((9, 11))
    expected[2:7, 3:8] = np.outer(line, line)
    np.testing.assert_allclose(influence, expected / expected.max(), atol=1e-6)
    assert influence.dtype == np.float32


def test_a_layer_can_be_asked_for_by_name_and_the_model_stays_as_it_is():
    model = _stack([[1, 1, 1], [1, 1, 1]])
    before = [np.asarray(weight).copy() for weight in model.weights]
    assert effective_side(influence_map(model, (16, 16), "conv0")) == 3
    assert effective_side(influence_map(model, (16, 16))) == 5
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), old)
    assert all(layer.trainable for layer in model.layers) and not model.compiled


def test_effective_side_by_hand():
    influence = np.zeros((20, 20))
    influence[4:8, 5:14] = 0.05
    influence[5, 6] = 1.0
    influence[0] = 0.04  # below 4.55 %
    assert effective_side(influence) == 6


def test_many_layers_are_felt_as_a_normal_distribution():
    """20 layers of 3 x 3 see 41 pixels, but with a standard deviation of sqrt(20 * 2 / 3)."""
    side = effective_side(influence_map(_stack([[1, 1, 1]] * 20), (64, 64)))
    sigma = np.sqrt(20 * 2 / 3)
    # A disc in which exp(-r**2 / (2 * sigma**2)) is above 4.55 %.
    assert side == pytest.approx(np.sqrt(np.pi * -2 * np.log(1 - 0.9545)) * sigma, rel=0.05)
    assert side < 41


def test_support_of_the_gradient_is_the_theoretical_field():
    model = kseg.build_fcn8s(2, backbone="separable", weights=None)
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name == "kernel":  # averages: nothing saturates, nothing is negative
                weight.assign(keras.ops.full_like(weight, 1 / np.prod(weight.shape[:-1])))
    images = [np.full((192, 160, 3), 128, "float32")]
    fields = describe(model, (192, 160)).receptive_field
    for level in ("c1", "c2", "c3", "c4"):
        name = model.kseg_endpoints[level]
        influence = influence_map(model, (192, 160), name, images=images)
        seen = np.argwhere(influence > 0)
        assert tuple(np.ptp(seen, axis=0) + 1) == fields[level]
        assert influence.min() >= 0 and influence.max() == 1


def test_describe_measures_them_on_request():
    model = _stack([[1, 1, 1], [1, 10, 1]])
    model.kseg_endpoints = {"c1": "conv0"}
    description = describe(model, (12, 16), effective=True)
    assert description.receptive_field == {"c1": (3, 3), "logits": (5, 5)}
    # The outer product of 1 11 12 11 1 has 3 * 3 + 3 * 4 values above 4.55 % of 144.
    assert description.effective == {"c1": 3, "logits": pytest.approx(21**0.5)}
    assert description.to_json()["effective_receptive_field"] == description.effective
    assert "effective 5" in summary(description)
    assert "effective_receptive_field" not in describe(model, (12, 16)).to_json()


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images must be of size \(16, 16\); resize them first"):
        influence_map(_stack([[1, 1, 1]]), (16, 16), images=[np.zeros((8, 16, 1))])


def test_a_dead_network_is_refused():
    model = _stack([[0, 0, 0]])
    with pytest.raises(ValueError, match="No pixel moves the output on these images"):
        influence_map(model, (16, 16))


@pytest.mark.slow
def test_jax_measures_the_same():
    code = """
import keras, numpy as np
assert keras.backend.backend() == "jax"
from kseg.analysis import influence_map
image = keras.Input((None, None, 1))
model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
model.layers[1].kernel.assign(np.outer([1, 2, 4], [1, 2, 4])[:, :, None, None])
influence = influence_map(model, (7, 7))
expected = np.zeros((7, 7))
expected[2:5, 2:5] = np.outer([1, 2, 4], [1, 2, 4]) / 16
np.testing.assert_allclose(influence, expected, atol=1e-6)
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
