import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.inference import check_image, predict_logits

IMAGE = np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype("uint8")


def by_brightness(images):
    """Logits of three classes: dark, middle, bright, from the red channel."""
    red = images[..., :1]
    return np.concatenate([-red, np.zeros_like(red) - 127, red - 254], -1)


@pytest.fixture(scope="module")
def model(enliven):
    return enliven(kseg.build_fcn8s(4, backbone="separable", weights=None), (64, 64))


def test_label_map_has_the_size_of_the_image(model):
    for size in ((33, 47), (1, 1), (64, 64)):
        labels = kseg.predict(model, np.resize(IMAGE, (*size, 3)))
        assert labels.shape == size and labels.dtype == np.uint8


def test_it_is_the_argmax_of_the_model(model):
    logits = model(IMAGE[None].astype("float32")).numpy()
    np.testing.assert_allclose(predict_logits(model, IMAGE), logits[0], atol=1e-4)
    labels = kseg.predict(model, IMAGE)
    np.testing.assert_array_equal(labels, logits[0].argmax(-1))
    assert len(np.unique(labels)) > 1


def test_bytes_and_floats_are_the_same(model):
    expected = kseg.predict(model, IMAGE)
    np.testing.assert_array_equal(kseg.predict(model, IMAGE.astype("float32")), expected)
    np.testing.assert_array_equal(kseg.predict(model, IMAGE.astype("float64")), expected)


def test_path_of_a_image_will_do(model, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    expected = kseg.predict(model, IMAGE)
    np.testing.assert_array_equal(kseg.predict(model, tmp_path / "image.png"), expected)
    np.testing.assert_array_equal(kseg.predict(model, str(tmp_path / "image.png")), expected)


def test_a_callable_is_given_floats_0_to_255():
    seen = []

    def model(images):
        seen.append(images)
        return by_brightness(images)

    red = IMAGE[..., 0].astype(int)
    expected = np.stack([-red, 0 * red - 127, red - 254], -1).argmax(-1)
    np.testing.assert_array_equal(kseg.predict(model, IMAGE), expected)
    assert seen[0].shape == (1, 33, 47, 3) and seen[0].dtype == np.float32
    np.testing.assert_array_equal(seen[0][0], IMAGE)


def test_coarser_logits_are_brought_to_the_size_of_the_image():
    step = np.zeros((1, 8, 8, 2), "float32")
    step[:, :, :4, 0] = 1
    step[:, :, 4:, 1] = 1
    labels = kseg.predict(lambda images: step, np.zeros((32, 48, 3), "uint8"))
    assert labels.shape == (32, 48)
    assert not labels[:, :24].any() and labels[:, 24:].all()


def test_logits_are_resized_not_labels():
    coarse = np.array([0, 0, 4, 0], "float32").reshape(1, 1, 4, 1)
    logits = np.concatenate([coarse, np.full_like(coarse, 1.0)], -1)
    # Between 0 and 4 the half-pixel line is 0.5, 1.5, 2.5, 3.5, so class 0 wins from 1.5 on.
    labels = kseg.predict(lambda images: logits, np.zeros((1, 16, 3), "uint8"))
    assert labels[0].tolist() == [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_working_size_is_what_the_model_sees():
    sizes = []

    def model(images):
        sizes.append(images.shape[1:3])
        return by_brightness(images)

    image = np.full((60, 80, 3), 250, "uint8")
    for size in ((30, 80), (120, 160), (60, 80)):
        labels = kseg.predict(model, image, size=size)
        assert labels.shape == (60, 80) and (labels == 2).all()
    assert sizes == [(30, 40), (120, 160), (60, 80)]


def test_image_larger_than_a_fixed_input_is_fitted_into_it_and_a_smaller_one_left():
    sizes = []

    class File:
        input_size = (48, 64)

        def __call__(self, images):
            sizes.append(images.shape[1:3])
            return by_brightness(images)

    for size in ((96, 96), (40, 80), (48, 64), (20, 30)):
        assert kseg.predict(File(), np.zeros((*size, 3), "uint8")).shape == size
    kseg.predict(File(), np.zeros((96, 96, 3), "uint8"), size=(24, 24))
    assert sizes == [(48, 48), (32, 64), (48, 64), (20, 30), (24, 24)]


def test_a_keras_model_of_one_size_takes_smaller_images_and_larger_ones_in_tiles():
    def network(size):
        image = keras.Input((*size, 3))
        scaled = keras.layers.Rescaling(1 / 127, -1)(image)
        layer = keras.layers.Conv2D(4, 3, padding="same", name="score")
        return keras.Model(image, layer(scaled)), layer

    (free, one), (fixed, other) = network((None, None)), network((64, 96))
    other.set_weights(one.get_weights())
    below, right = 64 - IMAGE.shape[0], 96 - IMAGE.shape[1]
    mirrored = np.pad(IMAGE, ((0, below), (0, right), (0, 0)), mode="symmetric")
    seen = predict_logits(free, mirrored)[: IMAGE.shape[0], : IMAGE.shape[1]]
    np.testing.assert_allclose(predict_logits(fixed, IMAGE), seen, atol=1e-5)
    image = np.random.default_rng(2).integers(0, 256, (100, 150, 3)).astype("uint8")
    assert kseg.predict(fixed, image).shape == (100, 150)
    expected = kseg.predict(free, image)
    in_tiles = kseg.predict(fixed, image, native=True)
    assert (in_tiles == expected)[:-1, :-1].mean() > 0.9999  # beyond, tiles see the mirror image
    with pytest.raises(ValueError, match="takes images up to 64 x 96; got 100 x 150"):
        kseg.predict(fixed, image, size=(100, 150))


def test_flip_is_the_mean_with_the_mirror_image():
    def model(images):  # the further right, the more of class 1
        ramp = np.broadcast_to(np.arange(images.shape[2], dtype="float32"), images.shape[:3])
        return np.stack([np.full_like(ramp, 20), ramp], -1)

    logits = predict_logits(model, IMAGE, flip=True)
    np.testing.assert_allclose(logits[..., 1], 23)  # of 47 columns
    assert kseg.predict(model, IMAGE).any(0).tolist() == [False] * 21 + [True] * 26
    assert (kseg.predict(model, IMAGE, flip=True) == 1).all()


def test_flip_mirrors_the_image_and_the_logits(model):
    plain, mirrored = (predict_logits(model, image) for image in (IMAGE, IMAGE[:, ::-1]))
    expected = (plain + mirrored[:, ::-1]) / 2
    np.testing.assert_allclose(predict_logits(model, IMAGE, flip=True), expected, atol=1e-5)


def test_of_several_scales_the_mean_counts():
    sizes = []

    def model(images):  # the logits say how large the image was
        sizes.append(images.shape[1:3])
        return np.full((*images.shape[:3], 2), images.shape[1], "float32")

    image = np.zeros((40, 80, 3), "uint8")
    logits = predict_logits(model, image, (20, 40), scales=(0.75, 1, 1.25))
    assert sizes == [(15, 30), (20, 40), (25, 50)] and logits.shape == (40, 80, 2)
    np.testing.assert_allclose(logits, 20)
    np.testing.assert_allclose(predict_logits(model, image, scales=(0.5,)), 20)


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ((), "scales must be one number or more, such as 0.75 1 1.25; got none"),
        ((1, 0), "scales must be from 0.25 to 4; got 0"),
        ((float("nan"),), "scales must be from 0.25 to 4; got nan"),
        ((1, 1.5), "scales must be at most 1.21 for a model that takes images up to 40 x 96, at a"),
    ],
)
def test_scales_that_cannot_be_are_refused(scales, said):
    class File:
        input_size = (40, 96)

        def __call__(self, images):
            return by_brightness(images)

    with pytest.raises(ValueError, match=said):
        kseg.predict(File(), IMAGE, scales=scales)
    assert kseg.predict(File(), IMAGE, scales=(0.5, 1.2)).shape == (33, 47)


def test_native_labels_tiles_of_a_files_size():
    seen = []

    class File:
        input_size = (64, 96)
        kseg_size = (20, 20)

        def __call__(self, images):
            seen.append(images.shape[1:3])
            return by_brightness(images)

    image = np.random.default_rng(2).integers(0, 256, (150, 300, 3)).astype("uint8")
    expected = kseg.predict(by_brightness, image)
    np.testing.assert_array_equal(kseg.predict(File(), image, native=True), expected)
    assert max(seen) == (64, 96) and len(seen) == 5 * 4
    assert kseg.predict(File(), image[:9, :9], native=True, flip=True).shape == (9, 9)


def test_native_is_the_whole_image_where_the_tile_holds_it(model):
    labels = kseg.predict(model, IMAGE, native=True, flip=True, scales=(1, 2))
    np.testing.assert_array_equal(labels, kseg.predict(model, IMAGE, flip=True, scales=(1, 2)))
    with pytest.raises(ValueError, match="native labels an image at its own size; leave size out"):
        kseg.predict(model, IMAGE, native=True, size=(8, 8))


def test_working_size_works_with_floats(model):
    labels = kseg.predict(model, IMAGE.astype("float32"), size=(20, 20))
    np.testing.assert_array_equal(labels, kseg.predict(model, IMAGE, size=(20, 20)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda x: x[..., :1], "one channel.*concatenate"),
        (lambda x: x.argmax(-1), r"shape \(1, 8, 8\)"),
        (lambda x: x.reshape(1, 64, 3), r"shape \(1, 64, 3\)"),
        (lambda x: x[0], r"shape \(8, 8, 3\)"),
        (lambda x: [x, x], "2 outputs"),
        (lambda x: {"a": x, "b": x}, "2 outputs"),
        (lambda x: None, "nothing"),
        (lambda x: np.repeat(x, 100, -1), "it gives 300"),
        (lambda x: x * np.float32("nan"), "no numbers"),
    ],
)
def test_what_is_no_map_of_scores_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        kseg.predict(given, np.ones((8, 8, 3), "uint8"))


def test_one_output_in_a_list_or_a_dict_is_taken():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    for given in (lambda x: [x], lambda x: {"scores": x}):
        assert (kseg.predict(given, image) == image.argmax(-1)).all()


def test_254_is_a_class_like_any_other():
    logits = np.zeros((1, 2, 2, 255), "float32")
    logits[..., 254] = 1
    assert (kseg.predict(lambda images: logits, np.zeros((2, 2, 3), "uint8")) == 254).all()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
def test_image_of_another_shape_is_refused(shape):
    match = r"image must be RGB of shape \(H, W, 3\); got shape \("
    with pytest.raises(ValueError, match=match):
        kseg.predict(by_brightness, np.zeros(shape, "uint8"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_image_scaled_to_0_to_1_is_refused(model, dtype):
    match = r"must have values 0\.\.255; its largest is .*pass the image as it is, or image \* 255"
    with pytest.raises(ValueError, match=match):
        kseg.predict(model, (IMAGE / 255.0).astype(dtype))
    kseg.predict(model, np.zeros((8, 8, 3), dtype))  # black is black
    kseg.predict(model, np.ones((8, 8, 3), "uint8"))  # and bytes are what they are


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_channels_are_those_of_the_model(channels):
    image = keras.Input((None, None, channels))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels)).astype("uint8")
    expected = model(pixels[None].astype("float32")).numpy()[0].argmax(-1)
    np.testing.assert_array_equal(kseg.predict(model, pixels), expected)
    assert kseg.predict(model, pixels, size=(10, 15)).shape == (20, 30)
    match = rf"must be of shape \(H, W, {channels}\), the channels that the model takes; got"
    with pytest.raises(ValueError, match=match):
        kseg.predict(model, IMAGE)


def test_a_gray_image_needs_no_axis_for_its_channel(tmp_path):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    gray = IMAGE[..., 0]
    expected = kseg.predict(model, gray[..., None])
    np.testing.assert_array_equal(kseg.predict(model, gray), expected)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(kseg.predict(model, tmp_path / "gray.png"), expected)


def test_other_channels_are_resized_each_as_an_image_is(model):
    four = np.concatenate([IMAGE, IMAGE[..., :1]], -1)
    seen = []

    def network(images):
        seen.append(images[0])
        return by_brightness(images)

    kseg.predict(network, IMAGE, size=(20, 20))
    network.channels = 4
    kseg.predict(network, four, size=(20, 20))
    np.testing.assert_array_equal(seen[0], seen[1][..., :3])
    np.testing.assert_array_equal(seen[1][..., 3], seen[1][..., 0])


def test_the_working_size_that_a_model_carries_is_used_and_another_one_wins():
    sizes = []

    def model(images):
        sizes.append(images.shape[1:3])
        return by_brightness(images)

    model.kseg_size = (30, 40)
    image = np.full((60, 80, 3), 250, "uint8")
    for size in (None, (15, 20), image.shape[:2]):
        assert (kseg.predict(model, image, size=size) == 2).all()
    assert sizes == [(30, 40), (15, 20), (60, 80)]


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan, np.inf])
def test_image_out_of_range_is_refused(value):
    image = np.full((4, 4, 3), 7.0)
    image[1, 2, 0] = value
    match = r"image must have values 0\.\.255 \(the scaling is in the model\); got values from"
    with pytest.raises(ValueError, match=match):
        check_image(image)


def test_image_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.png cannot be read: No such file"):
        kseg.predict(by_brightness, tmp_path / "gone.png")


def test_compiled_model_is_left_as_it_is():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    model.compile("sgd", "mse", jit_compile=False)
    optimizer = model.optimizer
    kseg.predict(model, IMAGE)
    assert model.compiled and model.optimizer is optimizer
