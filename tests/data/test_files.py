import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile

from kseg.data import opening
from kseg.data.files import read_image
from kseg.data.label_files import default_lookup, read_label_map

IDS = np.array([[0, 1, 2, 1], [2, 2, 0, 0], [1, 0, 255, 2]], "uint8")
COLORS = {0: (10, 20, 30), 1: (200, 0, 0), 2: (0, 0, 255), 255: (0, 0, 0)}
COLOR_IDS = {r << 16 | g << 8 | b: class_id for class_id, (r, g, b) in COLORS.items()}
RGB = np.array([[COLORS[i] for i in row] for row in IDS.tolist()], "uint8")


def label_map(path, num_classes=3, colors=None):
    return read_label_map(path, default_lookup(num_classes), colors or {})


def palette_image():
    image = Image.fromarray(IDS)
    image.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    assert image.mode == "P"
    return image


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(IDS),
        palette_image(),
        Image.fromarray(IDS.astype("uint16")),
        Image.fromarray(IDS.astype("int32")),
        Image.fromarray(RGB),
        Image.fromarray(np.dstack([RGB, np.full_like(IDS, 9)])),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_gives_the_same_labels(tmp_path, image):
    path = tmp_path / ("labels.tif" if image.mode == "I" else "labels.png")
    image.save(path)
    labels = label_map(path, colors=COLOR_IDS)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, IDS)


def test_two_valued_label_map_is_0_and_1(tmp_path):
    two = np.array([[True, False], [False, True], [True, True]])
    image = Image.fromarray(two)
    assert image.mode == "1"
    image.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(label_map(tmp_path / "labels.png", 2), two)


def test_ids_are_looked_up(tmp_path):
    lookup = np.full(256, -1)
    lookup[[3, 7, 9]] = 0, 1, 255
    Image.fromarray(np.array([[3, 7, 9, 3]], "uint8")).save(tmp_path / "labels.png")
    labels = read_label_map(tmp_path / "labels.png", lookup, {})
    assert labels.tolist() == [[0, 1, 255, 0]]


@pytest.mark.parametrize(
    ("ending", "name"), [("jpg", "JPEG"), ("webp", "lossy WebP"), ("gif", "GIF")]
)
def test_lossy_label_map_is_refused(tmp_path, ending, name):
    path = tmp_path / f"labels.{ending}"
    Image.fromarray(IDS).save(path)
    with pytest.raises(ValueError, match=f"it is a {name} file, which changes ids.*such as PNG"):
        label_map(path)


def test_lossy_label_map_is_refused_whatever_its_name(tmp_path):
    Image.fromarray(IDS).save(tmp_path / "labels.png", "JPEG")
    with pytest.raises(ValueError, match="it is a JPEG file"):
        label_map(tmp_path / "labels.png")


def test_tiff_label_map_with_lossy_compression_is_refused(tmp_path):
    Image.fromarray(IDS).save(tmp_path / "labels.tif", compression="jpeg")
    with pytest.raises(ValueError, match=r"it is a TIFF \(jpeg\) file, which changes ids"):
        label_map(tmp_path / "labels.tif")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_label_map_with_lossless_compression_is_read(tmp_path, compression):
    Image.fromarray(IDS).save(tmp_path / "labels.tif", compression=compression)
    assert (label_map(tmp_path / "labels.tif") == IDS).all()


def test_id_without_a_class_is_named_with_its_pixels(tmp_path):
    Image.fromarray(np.array([[0, 5, 1], [5, 9, 0]], "uint8")).save(tmp_path / "labels.png")
    match = r"ids that names does not list: 5 \(2 pixels\), 9 \(1 pixels\); add them to names or"
    with pytest.raises(ValueError, match=match):
        label_map(tmp_path / "labels.png", 2)


@pytest.mark.parametrize(("dtype", "value"), [("int32", 65536), ("int32", 70000)])
def test_id_beyond_two_bytes_is_refused(tmp_path, dtype, value):
    Image.fromarray(np.array([[0, value]], dtype)).save(tmp_path / "labels.tif")
    with pytest.raises(ValueError, match=rf"it holds the id {value}; ids must be from 0 to 65535"):
        label_map(tmp_path / "labels.tif")


def test_id_below_0_is_refused_by_its_own_name(tmp_path):
    Image.fromarray(np.array([[0, -4]], "int32")).save(tmp_path / "labels.tif")
    with pytest.raises(ValueError, match=r"it holds the id -4; ids must be from 0 to 65535"):
        label_map(tmp_path / "labels.tif")


def test_color_without_a_name_is_refused(tmp_path):
    rgb = RGB.copy()
    rgb[0, 0] = 1, 2, 3
    Image.fromarray(rgb).save(tmp_path / "labels.png")
    match = r"an RGB file with colours that colors does not list: \(1, 2, 3\); add them"
    with pytest.raises(ValueError, match=match):
        label_map(tmp_path / "labels.png", colors=COLOR_IDS)


@pytest.mark.parametrize("mode", ["F", "CMYK"])
def test_mode_that_holds_no_ids_is_refused(tmp_path, mode):
    Image.fromarray(IDS).convert(mode).save(tmp_path / "labels.tif")
    with pytest.raises(ValueError, match=rf"its mode {mode} is none that holds class ids"):
        label_map(tmp_path / "labels.tif")


@pytest.mark.parametrize("read", [read_image, label_map])
def test_missing_file_is_refused_by_its_name(tmp_path, read):
    with pytest.raises(ValueError, match=r"gone\.png cannot be read: No such file or directory\.$"):
        read(tmp_path / "gone.png")


@pytest.mark.parametrize("read", [read_image, label_map])
def test_file_that_is_no_image_is_refused(tmp_path, read):
    (tmp_path / "labels.png").write_text("no image")
    with pytest.raises(ValueError, match="it cannot be read as an image"):
        read(tmp_path / "labels.png")


@pytest.mark.parametrize("read", [read_image, label_map])
def test_folder_is_refused(tmp_path, read):
    with pytest.raises(ValueError, match="cannot be read: it is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("read", [read_image, label_map])
def test_image_cut_short_is_refused(tmp_path, read):
    noise = np.random.default_rng(0).integers(0, 3, (64, 64)).astype("uint8")
    path = tmp_path / "labels.png"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    for length in (20, len(content) // 2, len(content) * 3 // 4):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"it cannot be read as an image|it ends early"):
            read(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp"])
def test_damaged_image_is_read_or_refused_but_nothing_else(tmp_path, ending):
    rng = np.random.default_rng(0)
    path = tmp_path / f"image.{ending}"
    Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype("uint8")).save(path)
    content = path.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of some damage Pillow warns and reads on
            try:
                read_image(path)
            except ValueError:
                refused += 1
    assert refused


@pytest.mark.parametrize("read", [read_image, label_map])
def test_image_too_large_is_refused_before_its_pixels_are_read(tmp_path, monkeypatch, read):
    monkeypatch.setattr(opening, "MAX_PIXELS", 11)
    Image.fromarray(IDS).save(tmp_path / "labels.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(ValueError, match="it has 4 x 3 pixels, over 11; make it smaller"):
        read(tmp_path / "labels.png")


def test_image_is_turned_as_its_exif_tag_says(tmp_path):
    image = np.zeros((16, 32, 3), "uint8")
    image[:, :16] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(image).save(tmp_path / "image.jpg", exif=exif, quality=95)
    turned = np.asarray(read_image(tmp_path / "image.jpg"))
    assert turned.shape == (32, 16, 3)
    assert turned[:12].min() > 200 and turned[20:].max() < 55


@pytest.mark.parametrize("kind", ["png", "pgm", "tif"])
def test_16_bit_image_is_scaled_not_cut(tmp_path, kind):
    values = np.array([[0, 257, 128 * 257, 65535]], "uint16")
    Image.fromarray(values).save(tmp_path / f"image.{kind}")
    image = np.asarray(read_image(tmp_path / f"image.{kind}"))
    assert image[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_image_of_numbers_without_a_range_is_refused(tmp_path, dtype):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "image.tif")
    with pytest.raises(ValueError, match=r"image\.tif: its numbers \(mode .\) have no fixed range"):
        read_image(tmp_path / "image.tif")


def test_image_with_damaged_exif_data_is_refused(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "image.png", exif=b"Exif\x00\x00no TIFF header")
    with pytest.raises(ValueError, match=r"image\.png: its EXIF data cannot be read"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "1"])
def test_image_is_rgb_whatever_its_mode(tmp_path, mode):
    Image.fromarray(RGB).convert(mode).save(tmp_path / "image.tif")
    image = read_image(tmp_path / "image.tif")
    assert image.dtype == np.uint8 and image.shape == (3, 4, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_image_is_read_in_parts_to_the_same(tmp_path, monkeypatch, channels):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (23, 7, 3), "uint8"))
    image.save(tmp_path / "image.png")
    whole = read_image(tmp_path / "image.png", channels)
    monkeypatch.setattr("kseg.data.files._PART", 40)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", channels), whole)


def test_default_lookup_keeps_ids_and_255():
    lookup = default_lookup(3)
    assert lookup[[0, 1, 2, 255]].tolist() == [0, 1, 2, 255]
    assert (lookup[3:255] == -1).all() and lookup.shape == (256,)
