"""What a model is shown, and what is made of scores that are no ordinary numbers."""

import keras
import numpy as np
import pytest

import kseg

IMAGE = np.full((40, 50, 3), 255, "uint8")


def by_brightness(images):
    bright = images.mean(-1, keepdims=True)
    return np.concatenate([255 - bright, bright], axis=-1)


@pytest.mark.parametrize("native", [False, True])
def test_an_image_scaled_to_0_to_1_is_refused_in_tiles_too(native):
    with pytest.raises(ValueError, match="as if it had been scaled"):
        kseg.predict(by_brightness, IMAGE.astype("float32") / 255, native=native)


@pytest.mark.parametrize("size", [(0, 0), (-3, 5), (8.0, 8), 480, (8,), (True, 8)])
def test_a_size_that_is_none_is_refused(size, rectangles_yaml):
    with pytest.raises(ValueError, match=r"size must be \(height, width\), two whole numbers"):
        kseg.predict(by_brightness, IMAGE, size=size)
    data = kseg.load_data(rectangles_yaml)
    for name in ("crop_to", "pad_to"):
        with pytest.raises(ValueError, match=rf"{name} must be \(height, width\)"):
            kseg.evaluate(by_brightness, data, **{name: size})


@pytest.mark.parametrize("size", [None, (31, 37)])
def test_a_class_that_a_model_rules_out_is_nowhere(size):
    """With -inf; between two of them no mean can be taken."""

    def ruled_out(images):
        scores = by_brightness(images)
        return np.concatenate([np.full_like(scores[..., :1], -np.inf), scores], axis=-1)

    assert set(np.unique(kseg.predict(ruled_out, IMAGE, size=size))) == {2}


def test_tiles_take_networks_of_several_outputs_and_those_that_do_not_say():
    panoptic = kseg.build_panoptic_deeplab(3, backbone="separable", weights=None)
    assert kseg.predict(panoptic, IMAGE, native=True).shape == (40, 50)

    class Subclassed(keras.Model):
        def call(self, images):
            return keras.ops.concatenate([images, images], axis=-1)

    assert kseg.predict(Subclassed(), IMAGE, native=True).shape == (40, 50)


def test_layers_that_do_not_compile_for_sizes_that_vary_run_one_by_one():
    """From the second size on, TensorFlow compiles for any, which this layer does not take."""
    image = keras.Input((None, None, 3))
    coarse = keras.layers.Conv2D(3, 3, strides=2, padding="same")(image)
    model = keras.Model(image, keras.layers.UpSampling2D(2, interpolation="bilinear")(coarse))
    for height, width in ((40, 50), (64, 48), (40, 50)):
        seen = np.resize(IMAGE, (height, width, 3))
        expected = np.asarray(model(seen[None].astype("float32")))[0]
        np.testing.assert_array_equal(kseg.predict(model, seen), expected.argmax(-1))


def test_an_image_that_a_network_cannot_take_is_a_sentence():
    """One that halves and doubles without padding; its backend has an error of its own."""
    image = keras.Input((None, None, 3))
    x = keras.layers.UpSampling2D(2)(keras.layers.MaxPooling2D(2)(image))
    x = keras.layers.Concatenate()([x, image])
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(x))
    assert kseg.predict(model, IMAGE).shape == (40, 50)
    for shape in ((37, 51, 3), (39, 40, 3)):
        with pytest.raises(ValueError, match=r"cannot take an image of 3[79] x") as caught:
            kseg.predict(model, np.zeros(shape, "uint8"))
        assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert kseg.predict(model, IMAGE).shape == (40, 50)
