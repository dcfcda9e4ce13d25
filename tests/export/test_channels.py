"""Models of gray and of multispectral images: converted like those of RGB."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import kseg
from export import (
    ExportOptions,
    convert,
    dynamic_range,
    float16,
    float32,
    full_integer,
    int16x8,
    load_tflite,
)
from export.graph.calibration import calibration, stand_ins

SIZE = (32, 48)
LEVELS = np.array([30, 120, 220], "float32")
WITH_IMAGES = {"int8": full_integer, "int16x8": int16x8}
WITHOUT = {"none": float32, "float16": float16, "dynamic_range": dynamic_range}


def _by_level(channels):
    """A network that labels a pixel by the level nearest to its last channel."""
    image = keras.Input((None, None, channels))
    x = layers.Rescaling(1 / 255)(image)
    model = keras.Model(image, layers.Conv2D(3, 1)(x))
    levels = LEVELS / 255
    kernel = np.zeros((1, 1, channels, 3), "float32")
    kernel[0, 0, -1] = 2 * levels
    model.layers[-1].set_weights([kernel, -(levels**2)])
    return model


def _images(channels, count=8, size=(20, 24)):
    rng = np.random.default_rng(channels)
    blocks = rng.integers(0, 256, (count, size[0] // 4, size[1] // 4, channels), "uint8")
    return list(blocks.repeat(4, 1).repeat(4, 2))


@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize("word", [*WITH_IMAGES, *WITHOUT])
def test_a_file_of_any_number_of_channels_labels_like_its_model(channels, word, tmp_path):
    model, images = _by_level(channels), _images(channels)
    recipe = WITH_IMAGES[word](images) if word in WITH_IMAGES else WITHOUT[word]()
    recipe = replace(recipe, images=tuple(images))  # which a float file is compared on
    path = tmp_path / "x.tflite"
    result = convert(model, recipe, input_size=SIZE, path=path)
    assert result.agreement >= 0.97
    assert result.report["input"]["shape"] == (1, *SIZE, channels)
    with load_tflite(path) as file:
        assert file.channels == channels
        got = kseg.predict(file, images[0])
    near = np.abs(images[0][..., -1:] - LEVELS).argmin(-1)
    assert (got == near).mean() > 0.97
    assert path.with_suffix(".html").read_text().count("<figure>") >= 4


def test_gray_images_may_come_without_an_axis_of_channels(tmp_path):
    images = _images(1)
    flat = full_integer([image[..., 0] for image in images])
    assert all(np.array_equal(a, b) for a, b in zip(flat.images, images, strict=True))
    path = tmp_path / "x.tflite"
    convert(_by_level(1), flat, target="edgetpu", input_size=SIZE, path=path)
    with load_tflite(path) as file:
        same = kseg.predict(file, images[0])
        np.testing.assert_array_equal(kseg.predict(file, images[0][..., 0]), same)


def test_images_of_other_channels_are_refused_before_anything_is_done(tmp_path):
    path = tmp_path / "x.tflite"
    with pytest.raises(ValueError, match=r"channels that the model takes, 4; they have 3"):
        convert(_by_level(4), full_integer(_images(3)), input_size=SIZE, path=path)
    with pytest.raises(ValueError, match="images of one number of channels"):
        full_integer([*_images(3), *_images(4)])
    with pytest.raises(ValueError, match=r"images of 4 channel\(s\), and there is none to compare"):
        convert(_by_level(4), float32(), input_size=SIZE, path=path)
    convert(_by_level(4), full_integer(_images(4)), input_size=SIZE, path=path)
    with load_tflite(path) as file, pytest.raises(ValueError, match=r"of shape \(H, W, 4\)"):
        kseg.predict(file, _images(3)[0])
    assert not list(tmp_path.glob(".export-*"))


def test_metadata_say_what_the_image_is(tmp_path):
    told = {1: b"gray image", 3: b"RGB image", 4: b"image of 4 channels"}
    for channels, words in told.items():
        path = tmp_path / f"{channels}.tflite"
        recipe = replace(float32(), images=tuple(_images(channels)))
        convert(_by_level(channels), recipe, input_size=SIZE, path=path)
        assert words in path.read_bytes()


def test_calibration_resizes_every_channel_by_itself():
    image = _images(5, 1, (64, 96))[0]
    ((whole,),) = calibration([image], SIZE, (1.0, 0.0), None)
    for channel in range(5):
        one = Image.fromarray(image[..., channel]).resize(SIZE[::-1], Image.Resampling.BILINEAR)
        expected = np.asarray(one, "float32").copy()
        expected[0, 0], expected[-1, -1] = 0, 255  # the range of bytes
        np.testing.assert_array_equal(whole[0, ..., channel], expected)


def test_stand_ins_are_those_that_pillow_makes_of_rgb():
    small = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), "uint8")
    for made, source in zip(stand_ins(SIZE, 3), small, strict=True):
        expected = Image.fromarray(source).resize(SIZE[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(made, np.asarray(expected))


@pytest.fixture
def gray_data(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "val"):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        for number, image in enumerate(_images(1, 10, SIZE)):
            labels = np.abs(image - LEVELS).argmin(-1).astype("uint8")
            Image.fromarray(image[..., 0]).save(folder / split / "images" / f"{number}.png")
            Image.fromarray(labels).save(folder / split / "labels" / f"{number}.png")
    text = "".join(
        f"{split}: {{images: {split}/images, labels: {split}/labels}}\n"
        for split in ("train", "val")
    )
    path = folder / "data.yaml"
    path.write_text(f"{text}channels: 1\nnames: [dark, middle, light]\n")
    return kseg.load_data(path)


def test_gray_data_certify_a_file_with_every_option(gray_data, tmp_path):
    path = tmp_path / "x.tflite"
    recipe = full_integer(gray_data.images("train", 10))
    options = ExportOptions(explain=True, working_size=SIZE, rescue=True)
    result = convert(
        _by_level(1), recipe, input_size=SIZE, path=path, validation=gray_data, options=options
    )
    assert result.certified and result.mean_iou > 0.97
    assert json.loads(path.with_suffix(".json").read_text())["choices"]


def test_data_of_other_channels_are_refused(gray_data, tmp_path):
    with pytest.raises(ValueError, match=r"takes images of 3 channels and those of .* have 1"):
        convert(
            _by_level(3), float32(), input_size=SIZE, path=tmp_path / "x.tflite",
            validation=gray_data,
        )  # fmt: skip


def test_subclassed_models_of_gray_images_are_converted(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = _by_level(1)

        def call(self, image):
            return self.inner(image)

    model = Own()
    model(np.zeros((1, 8, 8, 1), "float32"))
    recipe = replace(float32(), images=tuple(_images(1)))
    result = convert(model, recipe, input_size=SIZE, path=tmp_path / "x.tflite")
    assert result.report["input"]["shape"] == (1, *SIZE, 1) and result.agreement == 1
