"""TIFFs with an EXIF orientation, which Pillow turns itself, are read as other files with one."""

import numpy as np
import pytest
from PIL import Image

from kseg.data import load_data
from kseg.data.files import decode_image
from kseg.data.label_files import read_ids
from kseg.data.opening import ORIENTATION

LABELS = np.zeros((24, 32), "uint8")
LABELS[:8, :8] = 1


def _saved(path, array, tag):
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    Image.fromarray(array).save(
        path, exif=exif, **({"compression": "tiff_lzw"} if tag == 5 else {})
    )
    return path


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_pixels_are_those_of_the_file_and_the_tag_says_how_to_turn_them(kind, tag, tmp_path):
    stored = np.arange(24 * 32, dtype=kind).reshape(24, 32)
    stored = stored if kind == "uint8" else stored * 85
    decoded = decode_image(_saved(tmp_path / "a.tif", stored, tag), 1)
    expected = stored if kind == "uint8" else (stored // 257).astype("uint8")
    assert decoded.tag == tag
    np.testing.assert_array_equal(decoded.pixels[..., 0], expected)
    labels = read_ids(_saved(tmp_path / "b.tif", LABELS, tag), {})
    assert labels.tag == tag
    np.testing.assert_array_equal(labels.ids, LABELS)


def _read(folder, image_tag, label_tag, ending="tif"):
    image = np.repeat(200 * LABELS[..., None], 3, -1)
    _saved(folder / "a.tif", image, image_tag)
    _saved(folder / f"b.{ending}", LABELS, label_tag)
    (folder / "list.txt").write_text(f"a.tif b.{ending}\n")
    (folder / "data.yaml").write_text("train: list.txt\nnames: [road, car]\n")
    data = load_data(folder / "data.yaml")
    return data.read(data.files("train")[0])


@pytest.mark.parametrize(("image_tag", "label_tag"), [(6, 6), (8, 1), (3, 3), (1, 1)])
@pytest.mark.parametrize("ending", ["tif", "png"])
def test_labels_drawn_on_the_stored_pixels_are_turned_too(image_tag, label_tag, ending, tmp_path):
    image, labels = _read(tmp_path, image_tag, label_tag, ending)
    np.testing.assert_array_equal(image[..., 0] > 0, labels == 1)


@pytest.mark.parametrize(("image_tag", "label_tag"), [(3, 1), (1, 2)])
def test_where_nothing_says_whether_labels_are_turned_it_is_refused(image_tag, label_tag, tmp_path):
    with pytest.raises(ValueError, match="turns or mirrors it, and nothing says whether"):
        _read(tmp_path, image_tag, label_tag)
