import keras
import numpy as np
import pytest

from kseg.layers import BilinearKernel, IdentityKernel


def numbers(size, channels=1):
    return keras.ops.convert_to_numpy(BilinearKernel()((size, size, channels, channels)))


@pytest.mark.parametrize(
    ("size", "triangle"),
    [
        (2, [1 / 2, 1 / 2]),
        (3, [1 / 2, 1, 1 / 2]),
        (4, [1 / 4, 3 / 4, 3 / 4, 1 / 4]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
    ],
)
def test_kernel_is_the_outer_product_of_a_triangle(size, triangle):
    np.testing.assert_allclose(numbers(size)[:, :, 0, 0], np.outer(triangle, triangle), rtol=1e-6)


def test_each_channel_is_upsampled_by_itself():
    kernel = numbers(4, channels=3)
    for i in range(3):
        for j in range(3):
            assert kernel[:, :, i, j].any() == (i == j)


def test_kernel_has_the_asked_dtype():
    kernel = BilinearKernel()((4, 4, 1, 1), dtype="float16")
    assert keras.backend.standardize_dtype(kernel.dtype) == "float16"


@pytest.mark.parametrize("shape", [(4, 2, 1, 1), (4, 4, 2, 3)])
def test_kernel_that_cannot_interpolate_is_refused(shape):
    with pytest.raises(ValueError, match=r"needs a square kernel .* got shape \(4, .*Use it in"):
        BilinearKernel()(shape)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_transposed_convolution_starts_as_half_pixel_bilinear_resize(scale):
    x = np.random.default_rng(0).normal(size=(1, 6, 5, 2)).astype("float32")
    layer = keras.layers.Conv2DTranspose(
        2, 2 * scale, scale, "same", use_bias=False, kernel_initializer=BilinearKernel()
    )
    grown = keras.ops.convert_to_numpy(layer(x))
    # Written out: a pixel centre at (i + 1/2) / scale - 1/2 of the coarse grid, per axis.
    rows, columns = (_bilinear(length, scale) for length in x.shape[1:3])
    expected = np.einsum("ih,jw,nhwc->nijc", rows, columns, x)
    # At the border the convolution mixes in zeros where the resize repeats the edge.
    inside = slice(scale // 2, -scale // 2)
    np.testing.assert_allclose(grown[:, inside, inside], expected[:, inside, inside], atol=1e-5)
    assert not np.allclose(grown, expected, atol=1e-2)


def _bilinear(length, scale):
    """Returns the matrix of half-pixel linear interpolation along one axis."""
    matrix = np.zeros((length * scale, length))
    for target in range(length * scale):
        centre = np.clip((target + 0.5) / scale - 0.5, 0, length - 1)
        left = min(int(centre), length - 2)
        matrix[target, left : left + 2] = 1 - (centre - left), centre - left
    return matrix


@pytest.mark.parametrize("make", [BilinearKernel, IdentityKernel])
def test_initializer_survives_its_config(make):
    config = keras.initializers.serialize(make())
    assert isinstance(keras.initializers.deserialize(config), make)


def test_identity_kernel_passes_each_channel_through_its_middle_tap():
    kernel = keras.ops.convert_to_numpy(IdentityKernel()((3, 5, 2, 2)))
    assert kernel[1, 2].tolist() == [[1, 0], [0, 1]]
    assert kernel.sum() == 2


@pytest.mark.parametrize("dilation_rate", [1, 2, 4])
def test_convolution_starts_as_the_identity(dilation_rate):
    x = np.random.default_rng(0).normal(size=(2, 9, 6, 4)).astype("float32")
    layer = keras.layers.Conv2D(
        4, 3, padding="same", dilation_rate=dilation_rate, kernel_initializer=IdentityKernel()
    )
    np.testing.assert_array_equal(layer(x), x)


def test_identity_kernel_has_the_asked_dtype():
    kernel = IdentityKernel()((1, 1, 3, 3), dtype="float16")
    assert keras.backend.standardize_dtype(kernel.dtype) == "float16"


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (3, 4, 1, 1), (3, 3, 2, 3)])
def test_kernel_that_cannot_be_the_identity_is_refused(shape):
    with pytest.raises(ValueError, match=r"needs odd sides and as many .* got shape \("):
        IdentityKernel()(shape)
