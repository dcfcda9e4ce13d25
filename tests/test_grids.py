"""Where the outputs of networks of one's own lie on the image."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.grids import extent, sizes_around
from kseg.inference import predict_logits

IMAGE = np.random.default_rng(0).integers(0, 256, (45, 75, 3)).astype("uint8")


def strided(up=3, padding="same"):
    """A network that halves three times, rounding up, and doubles without cutting anything off."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(image)
    for _ in range(3):
        x = layers.Conv2D(4, 3, 2, padding, activation="relu")(x)
    for _ in range(up):
        x = layers.Conv2D(4, 3, padding="same")(layers.UpSampling2D()(x))
    return keras.Model(image, layers.Conv2D(3, 1)(x))


def _on(model, size):
    more = [(0, to - own) for to, own in zip(size, IMAGE.shape[:2], strict=True)]
    batch = np.pad(IMAGE, [*more, (0, 0)], mode="symmetric")[None].astype("float32")
    return model.predict_on_batch(batch)[0]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_map_that_is_no_grid_of_the_image_is_not_stretched_to_it(padding):
    model = strided(padding=padding)
    if padding == "valid":  # 64 x 96 becomes 56 x 88: no grid of it, nor of any other size
        with pytest.raises(ValueError, match=r"of an image of 45 x 75, which are no whole grid"):
            predict_logits(model, IMAGE)
        return
    assert model.predict_on_batch(IMAGE[None].astype("float32")).shape[1:3] == (48, 80)
    expected = _on(model, (64, 96))[:45, :75]
    for _ in range(2):  # the second time, it is known
        np.testing.assert_allclose(predict_logits(model, IMAGE), expected, atol=1e-6)
    labels = kseg.predict(model, IMAGE, flip=True, scales=(1, 0.9))
    assert labels.shape == (45, 75)


def test_a_coarse_map_covers_whole_strides():
    model = strided(up=0)
    coarse = _on(model, (45, 75))
    assert coarse.shape[:2] == (6, 10)
    whole = keras.ops.convert_to_numpy(keras.ops.image.resize(coarse, (48, 80)))
    np.testing.assert_allclose(predict_logits(model, IMAGE), whole[:45, :75], atol=1e-6)


def test_a_network_that_resizes_to_one_size_gives_a_map_of_the_whole_image():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(3, 1)(layers.Resizing(56, 56)(image)))
    labels = kseg.predict(model, np.repeat(IMAGE[:, :1], 75, 1))
    assert (labels == labels[:, :1]).all()


def test_a_network_of_one_size_that_cuts_borders_off_is_warned_of():
    image = keras.Input((64, 80, 3))
    model = keras.Model(image, layers.Conv2D(3, 5)(image))
    with pytest.warns(UserWarning, match="makes 60 x 76 scores of an image of 64 x 80, which are"):
        assert kseg.predict(model, IMAGE).shape == (45, 75)


def test_a_subclassed_network_of_no_grid_is_mirrored_out_too():
    inner = strided()

    class Subclassed(keras.Model):
        def call(self, images):
            return inner(images)

    expected = _on(inner, (64, 96))[:45, :75]
    np.testing.assert_allclose(predict_logits(Subclassed(), IMAGE), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "given", "expected"),
    [
        ((45, 75), (45, 75), (45, 75)),
        ((45, 75), (6, 10), (48, 80)),
        ((45, 75), (48, 80), None),
        ((45, 75), (40, 72), None),
        ((45, 75), (90, 150), None),  # or a network that pads 45 to 90
        ((64, 96), (128, 192), (64, 96)),
        ((64, 96), (32, 96), (64, 96)),
    ],
)
def test_extent(size, given, expected):
    assert extent(size, given) == expected


def test_sizes_around():
    assert sizes_around((45, 75)) == [(45, 75), (64, 96), (128, 128)]
    assert sizes_around((64, 128)) == [(64, 128), (128, 128)]
    assert sizes_around((48, 75), (48, None)) == [(48, 75), (48, 96), (48, 128)]
