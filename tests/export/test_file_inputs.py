"""What files want in place of bytes: by their metadata, by the user's word, by their type."""

import numpy as np
import pytest

import kseg
from export import load_tflite
from export.tflite.metadata import add_metadata
from export.tflite.normalization import Normalization, encode, parse_normalization
from export.tflite.process import Endpoint
from export.tflite.runtime import TFLiteModel

IMAGE = (1, 8, 8, 3)
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (8, 8, 3), "uint8")


def test_gray_and_other_channels(made):
    with load_tflite(made(lambda x: x - 100.5, (1, 8, 8, 1)), normalization="0..255") as file:
        gray = PHOTO @ [0.299, 0.587, 0.114]
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), gray > 100.5)
    with (
        load_tflite(made(lambda x: x * 2, (1, 8, 8, 4)), normalization="0..255") as file,
        pytest.raises(ValueError, match=r"must be of shape \(H, W, 4\), .* got shape \(8, 8, 3\)"),
    ):
        kseg.predict(file, PHOTO)
    with (
        load_tflite(made(lambda x: x * 2, (1, 8, 8, 4)), normalization="0..255") as file,
        pytest.raises(ValueError, match="takes images of 4 channels; got 3"),
    ):
        file(PHOTO[None])


NORMALIZED = {
    "0..1": PHOTO / 255,
    "-1..1": PHOTO / 127.5 - 1,
    "imagenet": (PHOTO / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "0..255": PHOTO,
}


@pytest.mark.parametrize(("name", "wanted"), NORMALIZED.items())
def test_the_named_normalizations(made, name, wanted):
    for given in (name, [name]):
        with load_tflite(made(lambda x: x * 1.0), normalization=given) as file:
            np.testing.assert_allclose(file(np.float32(PHOTO[None]))[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    "given", [(100, 2), ("100", "2"), ("100,100,100", "2"), ([100, 100, 100], [2, 2, 2])]
)
def test_a_mean_and_a_standard_deviation(made, given):
    with load_tflite(made(lambda x: x * 1.0), normalization=given) as file:
        scores = file(np.float32(PHOTO[None]))[0]
    np.testing.assert_allclose(scores, (np.float32(PHOTO) - 100) / 2)


@pytest.mark.parametrize(
    "given", ["0..2", (1, 0), (1,), (1, 2, 3), ("a", 2), (float("nan"), 1), ([], 1), 5, ("", "")]
)
def test_what_is_no_normalization_is_refused(given):
    with pytest.raises(ValueError, match=r"normalization must be one of 0\.\.255, 0\.\.1"):
        parse_normalization(given)


def test_numbers_for_other_channels_are_refused(made):
    with pytest.raises(ValueError, match="the mean has 2 numbers, and the file's images 3 chan"):
        load_tflite(made(lambda x: x * 1.0), normalization=((1, 2), 1))


def test_a_float_file_takes_it_from_its_metadata_or_warns(made):
    path = made(lambda x: x * 1.0)
    with load_tflite(path) as file:
        with pytest.warns(UserWarning, match="does not say what numbers.*--normalization"):
            first = file(np.float32(PHOTO[None]))
        np.testing.assert_array_equal(file(np.float32(PHOTO[None])), first)  # once is enough
    np.testing.assert_array_equal(first[0], PHOTO)
    path.write_bytes(add_metadata(path.read_bytes(), None, head="logits", scaling=(1 / 255, 0)))
    with load_tflite(path) as file:
        np.testing.assert_allclose(file(np.float32(PHOTO[None]))[0], PHOTO / 255, atol=1e-6)
    with load_tflite(path, normalization="-1..1") as file:  # the user's word goes before
        np.testing.assert_allclose(file(np.float32(PHOTO[None]))[0], PHOTO / 127.5 - 1, atol=1e-6)


IMAGES = np.float32(PHOTO[None])


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "normalization", "expected"),
    [
        ("uint8", 1 / 128, 127, None, IMAGES),  # raw bytes are the convention
        ("uint8", 1 / 255, 0, Normalization((127.5,), (127.5,)), IMAGES),  # MediaPipe's, too
        ("uint8", 1 / 128, 128, parse_normalization("-1..1"), IMAGES / 127.5 * 128),
        ("int8", 1 / 255, -128, None, IMAGES - 128),
        ("int8", 1 / 255, -128, Normalization((0.0,), (255.0,)), IMAGES - 128),
        ("int8", 1 / 128, -1, Normalization((127.0,), (128.0,)), IMAGES - 128),
        ("int8", 0.02, 0, Normalization((120.0,), (60.0,)), (IMAGES - 120) / 60 / 0.02),
        ("int8", 0.0, 0, Normalization((120.0,), (60.0,)), IMAGES - 128),  # no scale: bytes
        ("int16", 255 / 32767, 0, None, IMAGES / 255 * 32767),
        ("int16", 1 / 32767, 0, Normalization((0.0,), (255.0,)), IMAGES / 255 * 32767),
        ("float16", 0.0, 0, Normalization((0.0,), (255.0,)), np.float16(IMAGES / 255)),
    ],
)
def test_what_bytes_stand_for(dtype, scale, zero_point, normalization, expected):
    encoded = encode(IMAGES, Endpoint("x", IMAGE, dtype, scale, zero_point), normalization)
    assert encoded.dtype == dtype
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        expected = np.clip(np.rint(expected), info.min, info.max)
    assert np.abs(encoded.astype("float64") - expected).max() <= (1 if dtype == "int16" else 1e-6)


def test_a_small_int16_range_is_asked_about(made):
    tensor = Endpoint("x", IMAGE, "int16", 1 / 32767, 0)
    file = TFLiteModel.__new__(TFLiteModel)
    file.path, file.input, file.normalization, file.channels = "x.tflite", tensor, None, 3
    file.run = None  # never reached
    with pytest.warns(UserWarning, match="does not say"), pytest.raises(TypeError):
        file.logits(IMAGES)
