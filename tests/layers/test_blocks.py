import keras
import numpy as np
import pytest

from kseg.layers import conv_norm_act, depthwise_norm_act, inverted_residual, separable_norm_act


def block_model(block, *args, shape=(8, 10, 4), **kwargs):
    x = keras.Input(shape)
    return keras.Model(x, block(x, *args, name="block", **kwargs))


def layer_names(model):
    return [layer.name for layer in model.layers[1:]]


def test_convolution_block_names_its_layers():
    assert layer_names(block_model(conv_norm_act, 6)) == ["block_conv", "block_norm", "block_relu"]


def test_linear_block_has_no_activation():
    names = layer_names(block_model(conv_norm_act, 6, activation=False))
    assert names == ["block_conv", "block_norm"]


def test_separable_block_is_depthwise_then_pointwise():
    model = block_model(separable_norm_act, 6, 5, strides=2)
    assert layer_names(model) == [
        *(f"block_depthwise_{part}" for part in ("conv", "norm", "relu")),
        *(f"block_pointwise_{part}" for part in ("conv", "norm", "relu")),
    ]
    assert model.get_layer("block_depthwise_conv").kernel.shape == (5, 5, 4, 1)
    assert model.get_layer("block_pointwise_conv").kernel.shape == (1, 1, 4, 6)
    assert model.output_shape == (None, 4, 5, 6)


def test_block_is_a_clipped_normalised_convolution():
    model = block_model(conv_norm_act, 3, 1)
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(1, 1, 4, 3)) * 5
    gamma, beta, mean = rng.normal(size=(3, 3))
    variance = rng.uniform(0.5, 2, 3)
    model.set_weights([kernel, gamma, beta, mean, variance])
    x = rng.normal(size=(2, 8, 10, 4)).astype("float32")
    expected = np.clip((x @ kernel[0, 0] - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0, 6)
    assert expected.min() == 0 and expected.max() == 6
    np.testing.assert_allclose(model.predict_on_batch(x), expected, atol=1e-4)


@pytest.mark.parametrize("block", [conv_norm_act, separable_norm_act])
def test_dilated_block_keeps_the_size_and_reaches_farther(block):
    model = block_model(block, 1, dilation_rate=3, shape=(15, 15, 1))
    x = np.zeros((2, 15, 15, 1), "float32")
    x[1, 7, 7] = 1
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    blank, spot = model.predict_on_batch(x)
    rows = np.flatnonzero((blank != spot).any((1, 2)))
    assert rows.tolist() == [4, 7, 10]


def test_depthwise_block_keeps_channels_apart():
    model = block_model(depthwise_norm_act, shape=(6, 6, 2))
    weights = model.get_weights()
    weights[0] = np.ones_like(weights[0])
    model.set_weights(weights)
    x = np.zeros((2, 6, 6, 2), "float32")
    x[1, :, :, 0] = 1
    blank, lit = model.predict_on_batch(x)
    changed = (blank != lit).any((0, 1))
    assert changed.tolist() == [True, False]


def inverted(filters, channels=2, **arguments):
    """Returns a model of the result and the wide features."""
    x = keras.Input((8, 10, channels))
    return keras.Model(x, inverted_residual(x, filters, name="block", **arguments))


def test_inverted_residual_widens_filters_and_narrows():
    model = inverted(4, 2, expansion=3, strides=2)
    assert [layer.name for layer in model.layers[1:]] == [
        *(f"block_expand_{part}" for part in ("conv", "norm", "relu")),
        *(f"block_depthwise_{part}" for part in ("conv", "norm", "relu")),
        *(f"block_project_{part}" for part in ("conv", "norm")),  # the result is linear
    ]
    shapes = {layer.name: layer.kernel.shape for layer in model.layers if "_conv" in layer.name}
    assert shapes == {
        "block_expand_conv": (1, 1, 2, 6),
        "block_depthwise_conv": (3, 3, 6, 1),
        "block_project_conv": (1, 1, 6, 4),
    }
    assert [output.shape for output in model.outputs] == [(None, 4, 5, 4), (None, 8, 10, 6)]
    assert model.outputs[1] is model.get_layer("block_expand_relu").output


def test_inverted_residual_by_hand():
    """One channel, made two (x and -x, clipped), summed over 3x3, and x is added again."""
    model = inverted(1, 1, expansion=2)
    for name, kernel in (
        ("expand", np.reshape([1, -1], (1, 1, 1, 2))),
        ("depthwise", np.ones((3, 3, 2, 1))),
        ("project", np.reshape([1, -10], (1, 1, 2, 1))),
    ):
        model.get_layer(f"block_{name}_conv").set_weights([kernel])
        norm = model.get_layer(f"block_{name}_norm")
        norm.moving_variance.assign(np.full(norm.moving_variance.shape, 1 - norm.epsilon))
    x = np.zeros((1, 8, 10, 1), "float32")
    x[0, 2, 2], x[0, 5, 7] = 1, -2
    y, wide = model.predict_on_batch(x)
    expected = np.zeros((8, 10))
    expected[1:4, 1:4] = 1
    expected[4:7, 6:9] = -10 * 2
    np.testing.assert_allclose(y[0, ..., 0], expected + x[0, ..., 0], atol=1e-5)
    np.testing.assert_allclose(wide[0, 5, 7], [0, 2], atol=1e-6)


@pytest.mark.parametrize(
    ("filters", "strides", "adds"), [(2, 1, True), (3, 1, False), (2, 2, False), (3, 2, False)]
)
def test_inverted_residual_adds_its_input_where_shapes_agree(filters, strides, adds):
    names = [layer.name for layer in inverted(filters, strides=strides).layers]
    assert ("block_add" in names) == adds


def test_inverted_residual_without_expansion_is_a_separable_block():
    model = inverted(2, expansion=1)
    assert "block_expand_conv" not in [layer.name for layer in model.layers]
    assert model.outputs[1] is model.inputs[0]


def test_dilated_inverted_residual_reaches_farther_at_equal_parameters():
    near, far = (inverted(2, dilation_rate=rate) for rate in (1, 2))
    assert near.count_params() == far.count_params()
    x = np.zeros((2, 8, 10, 2), "float32")
    x[1, 4, 4] = 1
    for model, rows in ((near, [3, 4, 5]), (far, [2, 4, 6])):
        model.set_weights([np.ones_like(w) for w in model.get_weights()])
        blank, lit = model.predict_on_batch(x)[0]
        assert np.flatnonzero((blank != lit).any((1, 2))).tolist() == rows
