import keras
import numpy as np
import pytest
from keras import ops

from kseg.layers import CropLike, PadToStride, Resize

SIZES = [(64, 64), (33, 47), (1, 1), (5, 96), (32, 31)]


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def one_layer_model(layer, shape=(None, None, 2)):
    image = keras.Input(shape)
    return keras.Model(image, layer(image))


def crop_model(shape=(None, None, 2)):
    """Pads to a multiple of 8 and cuts back: the identity at every size."""
    image = keras.Input(shape)
    return keras.Model(image, CropLike()([PadToStride(8)(image), image]))


def half_pixel_bilinear(x, scale):
    """Resizes (N, H, W, C) by the textbook formula, pixel by pixel."""
    _, height, width, _ = x.shape
    out = np.zeros((x.shape[0], height * scale, width * scale, x.shape[3]))
    for i in range(height * scale):
        for j in range(width * scale):
            y = min(max((i + 0.5) / scale - 0.5, 0), height - 1)
            z = min(max((j + 0.5) / scale - 0.5, 0), width - 1)
            top, left = int(y), int(z)
            low, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = y - top, z - left
            out[:, i, j] = (1 - a) * ((1 - b) * x[:, top, left] + b * x[:, top, right]) + a * (
                (1 - b) * x[:, low, left] + b * x[:, low, right]
            )
    return out


@pytest.mark.parametrize(
    ("size", "padded"), [((5, 7), (8, 8)), ((8, 16), (8, 16)), ((9, 1), (16, 8))]
)
def test_pad_adds_zeros_at_the_bottom_and_right_only(size, padded):
    x = noise(2, *size, 3)
    y = ops.convert_to_numpy(PadToStride(8)(x))
    expected = np.zeros((2, *padded, 3), "float32")
    expected[:, : size[0], : size[1]] = x
    np.testing.assert_array_equal(y, expected)


def test_pad_and_crop_do_nothing_where_nothing_is_to_do():
    x = ops.convert_to_tensor(noise(1, 16, 8, 2))
    assert PadToStride(8).call(x) is x
    assert CropLike().call([x, x]) is x


def test_crop_keeps_the_top_left():
    x, reference = noise(2, 8, 8, 4), noise(2, 5, 3, 1)
    np.testing.assert_array_equal(CropLike()([x, reference]), x[:, :5, :3])


def test_resize_bilinear_is_the_half_pixel_formula():
    x = noise(2, 4, 3, 2)
    for scale in (2, 3, 8):
        np.testing.assert_allclose(Resize(scale)(x), half_pixel_bilinear(x, scale), atol=1e-5)


def test_resize_nearest_repeats_pixels():
    x = noise(2, 4, 3, 2)
    y = Resize(3, "nearest")(x)
    np.testing.assert_array_equal(y, x.repeat(3, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize(
    ("make", "out_size"),
    [
        (lambda shape: one_layer_model(PadToStride(32), shape), lambda s: s + -s % 32),
        (crop_model, lambda s: s),
        (lambda shape: one_layer_model(Resize(2), shape), lambda s: 2 * s),
        (lambda shape: one_layer_model(Resize(2, "nearest"), shape), lambda s: 2 * s),
    ],
    ids=["pad", "crop", "bilinear", "nearest"],
)
def test_five_sizes_in_a_row_equal_models_of_fixed_size(make, out_size):
    dynamic = make((None, None, 2))
    for size in SIZES:
        x = noise(2, *size, 2)
        y = dynamic.predict(x, verbose=0)
        assert y.shape == (2, *map(out_size, size), 2)
        np.testing.assert_allclose(y, make((*size, 2)).predict_on_batch(x), atol=1e-6)


@pytest.mark.parametrize("layer", [PadToStride(8), Resize(2), Resize(2, "nearest")])
def test_one_known_side_is_enough(layer):
    model = one_layer_model(layer, (None, 12, 2))
    for height in (5, 6, 12):
        x = noise(1, height, 12, 2)
        np.testing.assert_allclose(model.predict(x, verbose=0), layer(x), atol=1e-6)


class MixedSizes(keras.utils.PyDataset):
    def __len__(self):
        return len(SIZES)

    def __getitem__(self, index):
        return noise(1, *SIZES[index], 3), noise(1, *SIZES[index], 1)


def test_fit_takes_images_of_mixed_sizes():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 3, 4, "same")(PadToStride(4)(image))
    x = Resize(2, "nearest")(Resize(2)(x))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(CropLike()([x, image])))
    model.compile("sgd", "mse", jit_compile=False)
    before = model.get_weights()
    history = model.fit(MixedSizes(), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert all((w != b).any() for w, b in zip(model.get_weights(), before, strict=True))


@pytest.mark.parametrize("shape", [(2, 33, 47, 3), (None, None, 47, 3), (None, None, None, 3)])
def test_output_shape_is_known_without_running(shape):
    _, height, width, _ = shape
    padded = [s and s + -s % 32 for s in (height, width)]
    grown = [s and 4 * s for s in (height, width)]
    assert PadToStride(32).compute_output_shape(shape) == (shape[0], *padded, 3)
    assert Resize(4).compute_output_shape(shape) == (shape[0], *grown, 3)
    cut = CropLike().compute_output_shape([(shape[0], 64, 64, 9), shape])
    assert cut == (shape[0], height, width, 9)


@pytest.mark.parametrize(
    "layer",
    [
        PadToStride(16, name="pad"),
        Resize(4, "nearest", name="grow"),
        CropLike(name="cut", dtype="float32"),
    ],
)
def test_layer_survives_its_config(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    assert (copy.name, copy.dtype) == (layer.name, layer.dtype)


def test_config_holds_the_arguments():
    assert PadToStride(16).get_config()["stride"] == 16
    config = Resize(4, "nearest").get_config()
    assert (config["scale"], config["interpolation"]) == (4, "nearest")


def test_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match=r"interpolation must be one of .*'bilinear'.*'cubic'"):
        Resize(2, "cubic")
