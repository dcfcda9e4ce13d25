import keras
import numpy as np
import pytest

from kseg.layers import convolution_matrix

# Of a kernel of 1 to 9 on a 4x4 input: the kernel's rows, each at its place, in four positions.
BY_HAND = [
    [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0],
    [0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0],
    [0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0],
    [0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9],
]


def run(layer, x, kernel):
    """Runs a convolution layer of one channel and returns (height, width)."""
    x = np.float32(x)[None, ..., None]
    layer.build(x.shape)
    layer.set_weights([np.float32(kernel)[..., None, None]])
    return keras.ops.convert_to_numpy(layer(x))[0, ..., 0]


def test_matrix_of_a_3x3_kernel_on_a_4x4_input():
    matrix = convolution_matrix(np.arange(1, 10).reshape(3, 3), (4, 4))
    assert matrix.tolist() == BY_HAND


def test_transposed_convolution_by_hand_multiplies_by_the_transpose():
    kernel, y = np.arange(1, 10).reshape(3, 3), np.array([[1, 0], [0, 10]])
    # One kernel at the top left, and ten at the bottom right.
    grown = [[1, 2, 3, 0], [4, 5 + 10, 6 + 20, 30], [7, 8 + 40, 9 + 50, 60], [0, 70, 80, 90]]
    assert (np.transpose(BY_HAND) @ y.ravel()).reshape(4, 4).tolist() == grown
    layer = keras.layers.Conv2DTranspose(1, 3, use_bias=False)
    np.testing.assert_array_equal(run(layer, y, kernel), grown)


@pytest.mark.parametrize(
    ("kernel_size", "strides", "input_size"),
    [((3, 3), 1, (4, 4)), ((2, 2), 2, (6, 8)), ((3, 3), 2, (7, 5)), ((4, 3), 3, (7, 9))],
)
def test_matrix_and_its_transpose_are_the_two_layers(kernel_size, strides, input_size):
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=kernel_size), rng.normal(size=input_size)
    matrix = convolution_matrix(kernel, input_size, strides=strides)
    y = run(keras.layers.Conv2D(1, kernel_size, strides, use_bias=False), x, kernel)
    np.testing.assert_allclose((matrix @ x.ravel()).reshape(y.shape), y, atol=1e-5)
    transposed = keras.layers.Conv2DTranspose(1, kernel_size, strides, use_bias=False)
    back = run(transposed, y, kernel)
    assert back.shape == input_size
    np.testing.assert_allclose((matrix.T @ y.ravel()).reshape(input_size), back, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (3, 3, 1), (5, 3), (3, 5)])
def test_kernel_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"kernel must be .* fit into the input of 4 x 4; got"):
        convolution_matrix(np.ones(shape), (4, 4))


def test_strides_below_1_are_refused():
    with pytest.raises(ValueError, match=r"strides must be at least 1; got 0\."):
        convolution_matrix(np.ones((3, 3)), (4, 4), strides=0)
