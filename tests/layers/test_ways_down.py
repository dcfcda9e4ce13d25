"""Ways down and kinds of convolution by hand: stock Keras layers, as the networks use them."""

import keras
import numpy as np
from keras import layers

from kseg.layers import separable_norm_act

X = [[1, 5, 2, 0], [3, 4, 8, 6], [7, 0, 1, 2], [9, 6, 3, 4]]


def run(layer, x, *weights):
    """Runs a layer on (height, width) or (height, width, channels) and returns the like."""
    x = np.float32(x)
    flat = x.ndim == 2
    x = x[None, ..., None] if flat else x[None]
    layer.build(x.shape)
    layer.set_weights([np.float32(w) for w in weights])
    y = keras.ops.convert_to_numpy(layer(x))[0]
    return y[..., 0] if flat else y


def spot(size=7):
    x = np.zeros((size, size))
    x[size // 2, size // 2] = 1
    return x


def test_max_pooling_keeps_the_largest_of_a_cell():
    assert run(layers.MaxPooling2D(2), X).tolist() == [[5, 8], [9, 4]]


def test_average_pooling_keeps_the_mean_of_a_cell():
    assert run(layers.AveragePooling2D(2), X).tolist() == [[13 / 4, 16 / 4], [22 / 4, 10 / 4]]


def test_strided_convolution_looks_at_every_second_pixel():
    # "same" pads an even size at the bottom and right only, so cells start at the pixels 0 and 2.
    ones = np.ones((3, 3, 1, 1))
    y = run(layers.Conv2D(1, 3, 2, "same", use_bias=False), X, ones)
    assert y.tolist() == [[31, 19], [26, 10]]
    middle = np.zeros((3, 3, 1, 1))
    middle[1, 1] = 1
    y = run(layers.Conv2D(1, 3, 2, "same", use_bias=False), X, middle)
    assert y.tolist() == [[4, 6], [6, 4]]


def test_dilated_convolution_looks_past_its_neighbours():
    kernel = np.arange(1, 10).reshape(3, 3, 1, 1)
    layer = layers.Conv2D(1, 3, padding="same", dilation_rate=2, use_bias=False)
    y = run(layer, spot(), kernel)
    # What is seen two pixels up and left of the spot is weighed by the last tap, and so on.
    expected = np.zeros((7, 7))
    expected[1:6:2, 1:6:2] = [[9, 8, 7], [6, 5, 4], [3, 2, 1]]
    np.testing.assert_array_equal(y, expected)
    assert layer.count_params() == 9  # as without dilation


def test_depthwise_convolution_filters_each_channel_by_itself():
    x = np.stack([X, np.zeros((4, 4)), np.ones((4, 4))], -1)
    kernel = np.ones((3, 3, 3, 1)) * np.reshape([1, 10, 100], (3, 1))
    layer = layers.DepthwiseConv2D(3, 2, "same", use_bias=False)
    y = run(layer, x, kernel)
    assert layer.count_params() == 3 * 3 * 3
    assert y[..., 0].tolist() == [[31, 19], [26, 10]]
    assert y[..., 1].tolist() == [[0, 0], [0, 0]]
    assert y[..., 2].tolist() == [[900, 600], [600, 400]]


def test_dilated_depthwise_convolution():
    kernel = np.arange(1, 10).reshape(3, 3, 1, 1)
    layer = layers.DepthwiseConv2D(3, padding="same", dilation_rate=3, use_bias=False)
    y = run(layer, spot(), kernel)
    expected = np.zeros((7, 7))
    expected[::3, ::3] = [[9, 8, 7], [6, 5, 4], [3, 2, 1]]
    np.testing.assert_array_equal(y, expected)


def test_separable_convolution_filters_channels_and_then_mixes_them():
    x = np.stack([X, np.ones((4, 4))], -1)
    sums = np.ones((3, 3, 2, 1))
    mix = np.reshape([[1, 1, 0], [-1, 0, 2]], (1, 1, 2, 3))
    layer = layers.SeparableConv2D(3, 3, strides=2, padding="same", use_bias=False)
    y = run(layer, x, sums, mix)
    assert layer.count_params() == 3 * 3 * 2 + 2 * 3
    first, second = np.array([[31, 19], [26, 10]]), np.array([[9, 6], [6, 4]])
    np.testing.assert_array_equal(y, np.stack([first - second, first, 2 * second], -1))


def test_dilated_separable_convolution():
    layer = layers.SeparableConv2D(1, 3, padding="same", dilation_rate=2, use_bias=False)
    y = run(layer, spot(), np.ones((3, 3, 1, 1)), [[[[5]]]])
    rows, columns = np.nonzero(y)
    assert set(rows) == set(columns) == {1, 3, 5} and set(y[y != 0]) == {5}


def test_separable_block_is_the_separable_layer_but_for_norms_and_activations():
    """Where the features lie within ReLU6's bounds and the norms do nothing."""
    x = keras.Input((8, 8, 2))
    block = keras.Model(x, separable_norm_act(x, 3, strides=2, name="block"))
    rng = np.random.default_rng(0)
    depthwise, pointwise = rng.uniform(0, 0.1, (3, 3, 2, 1)), rng.uniform(0, 0.9, (1, 1, 2, 3))
    for name, kernel in (("depthwise", depthwise), ("pointwise", pointwise)):
        block.get_layer(f"block_{name}_conv").set_weights([kernel])
        norm = block.get_layer(f"block_{name}_norm")
        norm.moving_variance.assign(np.full(norm.moving_variance.shape, 1 - norm.epsilon))
    image = rng.uniform(0, 1, (8, 8, 2)).astype("float32")
    layer = layers.SeparableConv2D(3, 3, strides=2, padding="same", use_bias=False)
    expected = run(layer, image, depthwise, pointwise)
    assert 0 < expected.min() and expected.max() < 6
    np.testing.assert_allclose(block(image[None])[0], expected, atol=1e-5)
