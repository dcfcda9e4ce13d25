"""Whether images have an above and a below, told by their labels, light and borders."""

import numpy as np
import pytest

from kseg.data import check_data, load_data
from kseg.data.upright import lie_of, told_by_name, upright

SAME = np.arange(256)
NAMES = ("ground", "spot")


def seen(draw, *, count=30, names=NAMES, light=0.0, grain=0.0):
    """Returns what is told of images of noise with the labels that are drawn on them."""
    rng = np.random.default_rng(0)
    lies = []
    for _ in range(count):
        labels = np.zeros((48, 64), "uint8")
        draw(labels, rng)
        shade = np.linspace(light, -light, 48)[:, None, None]
        shade = shade + grain * rng.normal(0, 1, (48, 1, 1))
        pixels = np.clip(rng.normal(120, 10, (48, 64, 3)) + shade, 0, 255).astype("uint8")
        lies.append(lie_of(pixels, labels, SAME, len(names)))
    return upright(lies, names)


def anywhere(labels, rng):
    row, column = rng.integers(0, 40), rng.integers(0, 56)
    labels[row : row + 8, column : column + 8] = 1


def high(labels, rng):
    row, column = rng.integers(0, 28), rng.integers(0, 56)
    labels[row : row + 8, column : column + 8] = 1


def wide(labels, rng):
    row = rng.integers(0, 44)
    labels[row : row + 4, 10:50] = 1


def test_heights_light_and_borders_are_measured():
    labels = np.zeros((8, 4), "uint8")
    labels[:2] = 1  # its rows lie at 7/16 and 5/16 above the middle
    labels[7] = 255
    pixels = np.zeros((8, 4, 3), "uint8")
    pixels[:4] = 100
    lie = lie_of(pixels, labels, SAME, 3)
    assert lie.heights[1] == pytest.approx(6 / 16)
    assert lie.heights[0] == pytest.approx(-1 / 16) and np.isnan(lie.heights[2])
    assert lie.light == pytest.approx(100 / 50)
    assert lie.ratio == pytest.approx(np.log(1 / 9))
    assert lie.grain == pytest.approx(np.log(1 / 401))


def test_spots_anywhere_have_no_above_and_below():
    assert seen(anywhere) is None


@pytest.mark.parametrize(
    ("draw", "options", "reason"),
    [
        (high, {}, "'spot' lies rather above the middle"),
        (wide, {}, "borders rather run across"),
        (anywhere, {"light": 30.0}, "images are brighter above"),
        (anywhere, {"light": -30.0}, "images are brighter below"),
        (anywhere, {"grain": 6.0}, "images have a grain that runs across"),
        (anywhere, {"count": 11}, "fewer than 12 images do not tell"),
        (anywhere, {"names": ("ground", "arrow_up")}, "'arrow_up' would change its meaning"),
        (anywhere, {"names": ("ground", "LeftLung")}, "'LeftLung' would change its meaning"),
    ],
)
def test_any_doubt_speaks_for_them(draw, options, reason):
    assert seen(draw, **options) == reason


def test_a_class_in_few_images_counts_where_it_always_lies_there():
    def rarely(labels, rng):
        anywhere(labels, rng)
        if rng.random() < 0.3:
            labels[:4] = 2

    assert seen(rarely, names=(*NAMES, "lamp")) == "'lamp' lies rather above the middle"


def test_names_are_read_by_their_words():
    assert told_by_name(("road", "left lane")) == "left lane"
    assert told_by_name(("upholstery", "copyright", "stop")) is None


@pytest.mark.data
@pytest.mark.slow
def test_streets_have_an_above_and_cells_have_none(camvid, nuclei, tmp_path):
    streets = "[sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]"
    for folder, names, reason in (
        (camvid, f"{streets}\nignore: 11", "'road' lies rather below the middle"),
        (nuclei, "{0: background, 1-65535: nucleus}", None),
    ):
        source = tmp_path / f"{folder.name}.yaml"
        source.write_text(f"path: {folder}\ntrain: val.txt\nnames: {names}\n")
        assert check_data(load_data(source), ["train"]).upright["train"] == reason
