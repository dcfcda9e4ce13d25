"""16-bit TIFFs in colour, and of many channels, which Pillow cannot read as they are."""

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from kseg.data import load_data
from kseg.data.files import read_image
from kseg.training.images import largest_of


@pytest.mark.parametrize("channels", [3, 5])
def test_all_images_are_scaled_alike(tmp_path, channels):
    for folder in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / folder / kind).mkdir(parents=True)
        for number, brightest in enumerate((1000, 4000)):
            pixels = np.full((40, 48, channels), 900, "uint16")
            pixels[0, 0] = brightest
            kind = "rgb" if channels == 3 else "minisblack"
            path = tmp_path / folder / "images" / f"{number}.tif"
            tifffile.imwrite(path, pixels, photometric=kind, planarconfig="contig")
            labels = np.repeat(np.uint8([[0], [1]]), 20, 0).repeat(48, 1)
            Image.fromarray(labels).save(tmp_path / folder / "labels" / f"{number}.png")
    content = {"names": ["a", "b"], "channels": channels}
    for folder in ("train", "val"):
        content[folder] = {"images": f"{folder}/images", "labels": f"{folder}/labels"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    with pytest.warns(UserWarning, match="16-bit images use 12 bits, so white is 4095"):
        data = load_data(tmp_path / "data.yaml")
    assert data.bits == 12
    for pair in (*data.files("train"), *data.files("val")):
        assert data.read(pair)[0][20, 20].tolist() == [round(900 * 255 / 4095)] * channels
    assert largest_of(data, None) == (40, 48)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("channels", "kind"), [(3, "rgb"), (5, "minisblack")])
@pytest.mark.parametrize("tag", [1, 3, 6, 8])
def test_tiffs_are_turned_as_they_say(tmp_path, tag, channels, kind, dtype):
    largest = np.iinfo(dtype).max
    stored = np.zeros((40, 60, channels), dtype)
    stored[:10, :20] = largest  # a bright corner
    path = tmp_path / "a.tif"
    orientation = [(274, "H", 1, tag, True)]
    tifffile.imwrite(path, stored, photometric=kind, planarconfig="contig", extratags=orientation)
    shown = {1: stored, 3: stored[::-1, ::-1], 6: np.rot90(stored, -1), 8: np.rot90(stored)}[tag]
    image = read_image(path, channels)
    np.testing.assert_array_equal(image, np.where(shown == largest, 255, 0))
    if tag == 3:  # nothing says whether labels of the same shape are turned too: it is refused
        return
    Image.fromarray(np.zeros(image.shape[:2], "uint8")).save(tmp_path / "label.png")
    (tmp_path / "data.yaml").write_text(
        f"train: list.txt\nval: list.txt\nnames: [a, b]\nchannels: {channels}\nbits: 16\n"
    )
    (tmp_path / "list.txt").write_text("a.tif label.png\n")
    data = load_data(tmp_path / "data.yaml")
    (pair,) = data.files("val")
    assert largest_of(data, None) == image.shape[:2]
    np.testing.assert_array_equal(data.read(pair)[0], image)


def test_three_pages_are_colours_and_that_is_said(tmp_path):
    pages = np.arange(3 * 8 * 8, dtype="uint8").reshape(3, 8, 8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    with pytest.warns(UserWarning, match="its 3 pages are taken as red, green and blue"):
        image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, np.moveaxis(pages, 0, -1))
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="it has 3 pages, and all but the first are left out"):
        assert (read_image(tmp_path / "a.gif") == [255, 0, 0]).all()


def test_16_bit_tiffs_whose_0_is_white_look_like_those_of_8_bits(tmp_path):
    stored = np.arange(64, dtype="uint16").reshape(8, 8) * 1040
    for name, pixels in (("deep", stored), ("flat", (stored // 257).astype("uint8"))):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="miniswhite")
    deep, flat = (read_image(tmp_path / f"{name}.tif").astype(int) for name in ("deep", "flat"))
    assert deep[0, 0].tolist() == [255] * 3 and abs(deep - flat).max() <= 1


def test_16_bit_tiffs_of_inks_are_refused(tmp_path):
    inks = np.full((8, 8, 4), 60000, "uint16")
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    with pytest.raises(ValueError, match=r"colours cannot be read \(they are SEPARATED, not RGB"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("channels", [3, 5])
def test_16_bit_tiffs_that_are_stored_plane_after_plane(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 65536, (24, 40, channels), "uint16")
    kind = "rgb" if channels == 3 else "minisblack"
    planes = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric=kind, planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels), pixels // 257)


@pytest.mark.parametrize(("base", "span"), [(0, 65535), (0, 4095), (1000, 60)])
@pytest.mark.parametrize(
    ("ending", "channels"), [("png", 1), ("png", 3), ("tif", 1), ("tif", 3), ("tif", 5)]
)
def test_frames_of_16_bits_stay_on_one_side(base, span, ending, channels, tmp_path):
    """Four videos of three frames each; only whole videos are taken for val."""
    rng = np.random.default_rng(0)
    for video in range(4):
        light = Image.fromarray(rng.integers(0, 256, (12, 16), "uint8")).resize((160, 120), 2)
        frame = (base + np.asarray(light) / 255 * span).astype("uint16")
        for number in range(3):
            pixels = frame[number : 100 + number, number : 140 + number]
            path = tmp_path / f"images/{video}{number}.{ending}"
            path.parent.mkdir(exist_ok=True)
            if ending == "png" or channels == 1:
                Image.fromarray(pixels).save(path)
            else:
                kind = "rgb" if channels == 3 else "minisblack"
                stored = np.repeat(pixels[..., None], channels, -1)
                tifffile.imwrite(path, stored, photometric=kind, planarconfig="contig")
            (tmp_path / "masks").mkdir(exist_ok=True)
            labels = np.zeros((100, 140), "uint8")
            labels[number:50] = 1
            Image.fromarray(labels).save(tmp_path / f"masks/{path.stem}.png")
    (tmp_path / "data.yaml").write_text(
        "train: {images: images, labels: masks}\nval: 0.5\nnames: [a, b]\n"
        f"channels: {channels}\nbits: 16\n"
    )
    data = load_data(tmp_path / "data.yaml")
    sides = [{pair.image.stem[0] for pair in data.files(split)} for split in ("train", "val")]
    assert not sides[0] & sides[1] and len(data.files("val")) == 6
