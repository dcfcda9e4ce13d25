import numpy as np
import pytest

from kseg.classes import Classes
from kseg.visualize import STRONG, colorize, comparison, difference, legend, overlay, panel

LABEL_MAP = Classes(("a", "b"), ((10, 20, 30), (200, 100, 0)))
LABELS = np.array([[0, 1, 255]])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_colorize_gives_each_class_its_color_and_black_to_the_rest(dtype):
    picture = colorize(LABELS.astype(dtype), LABEL_MAP)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[10, 20, 30], [200, 100, 0], [0, 0, 0]]]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_overlay_is_the_mean_of_image_and_color(dtype):
    image = np.array([[[100, 100, 100], [0, 255, 255], [255, 255, 255]]], dtype)
    mixed = overlay(image, LABELS, LABEL_MAP)
    assert mixed.dtype == np.uint8
    # Halves are rounded to even.
    assert mixed.tolist() == [[[55, 60, 65], [100, 178, 128], [128, 128, 128]]]


def test_opacity_of_0_is_the_image_and_of_1_the_colors():
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 3)).astype("uint8")
    np.testing.assert_array_equal(overlay(image, LABELS, LABEL_MAP, 0), image)
    expected = colorize(LABELS, LABEL_MAP)
    np.testing.assert_array_equal(overlay(image, LABELS, LABEL_MAP, 1), expected)
    quarter = overlay(np.full((1, 3, 3), 80, "uint8"), LABELS, LABEL_MAP, 0.25)
    assert quarter[0, 1].tolist() == [110, 85, 60]


def test_panel_sets_pictures_in_rows_and_columns_on_white():
    red, green = (np.full((20, 40, 3), color, "uint8") for color in ((255, 0, 0), (0, 255, 0)))
    blue = np.full((40, 40, 3), (0, 0, 255), "uint8")
    sheet = panel([[red, green], [blue, blue]], ("left", "right"), 60)
    # Columns of 60 and rows of 30 and 60, gaps of 6, titles of 18.
    assert sheet.mode == "RGB" and sheet.size == (2 * 66 + 6, 18 + 6 + 36 + 66)
    pixels = np.asarray(sheet)
    for top, left, height, color in (
        (24, 6, 30, (255, 0, 0)),
        (24, 72, 30, (0, 255, 0)),
        (60, 6, 60, (0, 0, 255)),
        (60, 72, 60, (0, 0, 255)),
    ):
        assert (pixels[top : top + height, left : left + 60] == color).all()
        assert (pixels[top - 1, left : left + 60] == 255).all()
        assert (pixels[top + height, left : left + 60] == 255).all()
    titles = pixels[:24]
    assert (titles[:, :72].min(2) < 128).any() and (titles[:, 72:].min(2) < 128).any()


def test_gray_and_multispectral_images_are_drawn():
    gray = np.array([[[100], [0], [255]]], "uint8")
    rgb = np.repeat(gray, 3, axis=2)
    expected = overlay(rgb, LABELS, LABEL_MAP)
    np.testing.assert_array_equal(overlay(gray, LABELS, LABEL_MAP), expected)
    four = np.concatenate([rgb, 255 - gray], axis=2)
    np.testing.assert_array_equal(overlay(four, LABELS, LABEL_MAP), expected)
    sheets = [np.asarray(panel([[image]], ("image",), 30)) for image in (rgb, gray, four)]
    np.testing.assert_array_equal(sheets[1], sheets[0])
    np.testing.assert_array_equal(sheets[2], sheets[0])


def test_ignored_pixels_are_hatched_in_overlays_and_are_no_difference():
    image = np.full((16, 16, 3), 100, "uint8")
    truth = np.zeros((16, 16), int)
    truth[:, 8:] = 255
    labels = truth.copy()
    labels[:, 8:], labels[3, 2] = 1, 1
    laid = overlay(image, truth, LABEL_MAP)
    assert {tuple(p) for p in laid[:, 8:].reshape(-1, 3).tolist()} == {(50,) * 3, (178,) * 3}
    drawn = difference(image, truth, labels)
    assert {tuple(p) for p in drawn[:, 8:].reshape(-1, 3).tolist()} == {(50,) * 3, (177,) * 3}
    red = np.argwhere(drawn[:, :8, 0] != drawn[:, :8, 1])
    assert red.tolist() == [[3, 2]] and drawn[3, 2].tolist() == [230, 30, 60]
    assert (drawn[0, :8] == 100).all()


def test_legend_names_the_classes_that_are_there_beside_their_colors():
    pixels = np.asarray(legend(LABEL_MAP, 200))
    assert pixels.shape == (24, 200, 3)
    assert pixels[12, 12].tolist() == [10, 20, 30]
    assert (pixels == (200, 100, 0)).all(-1).any()
    only = np.asarray(legend(LABEL_MAP, 200, {1, 255}))
    assert only[12, 12].tolist() == [200, 100, 0]
    assert not (only == (10, 20, 30)).all(-1).any()
    many = legend(Classes(tuple(f"class {i}" for i in range(30))), 200)
    assert many.width == 200 and many.height > 24 + 9 * 18  # two or three names in a line


def test_comparison_draws_truth_and_prediction_alike_above_a_legend():
    image = np.full((20, 40, 3), 80, "uint8")
    labels = np.ones((20, 40), int)
    sheet = np.asarray(comparison([[image, labels, labels]], ("a", "b", "c"), LABEL_MAP, 40))
    first, second = sheet[24:44, 52:92], sheet[24:44, 98:138]
    np.testing.assert_array_equal(first, overlay(image, labels, LABEL_MAP, STRONG))
    np.testing.assert_array_equal(first, second)
    assert sheet.shape[0] == 18 + 6 + 26 + 24
    assert sheet[-12, 12].tolist() == [200, 100, 0]  # of the legend
