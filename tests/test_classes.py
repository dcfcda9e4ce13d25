import itertools

import pytest

from kseg.classes import IGNORE_CLASS, Classes


def test_number_of_classes_is_the_number_of_names():
    assert Classes(("a", "b", "c")).num_classes == 3
    assert IGNORE_CLASS == 255


def test_given_colors_are_kept():
    colors = ((1, 2, 3), (4, 5, 6))
    assert Classes(("a", "b"), colors).colors == colors


@pytest.mark.parametrize("count", [2, 21, 255])
def test_made_up_colors_are_bytes_and_differ(count):
    colors = Classes(tuple(map(str, range(count)))).colors
    assert len(colors) == count
    assert all(0 <= value <= 255 for color in colors for value in color)
    neighbours = itertools.pairwise(colors)
    assert all(sum(abs(x - y) for x, y in zip(a, b, strict=True)) > 30 for a, b in neighbours)
    assert (0, 0, 0) not in colors  # the ignored class


def test_made_up_colors_are_the_same_every_time():
    assert Classes(("a", "b")).colors == Classes(("c", "d", "e")).colors[:2]


def test_palette_has_256_colors_and_black_beyond_the_classes():
    palette = Classes(("a", "b"), ((1, 2, 3), (4, 5, 6))).palette()
    assert palette == [1, 2, 3, 4, 5, 6, *[0] * (254 * 3)]


@pytest.mark.parametrize("count", [0, 1, 256])
def test_too_few_or_many_names_are_refused(count):
    with pytest.raises(ValueError, match=rf"names must have 2 to 255 classes; got {count}\."):
        Classes(tuple(map(str, range(count))))


@pytest.mark.parametrize("name", ["", "two\nlines", "nul\x00", "del\x7f", 5, None])
def test_names_that_are_no_line_of_text_are_refused(name):
    with pytest.raises(ValueError, match="names must be lines of text; got"):
        Classes(("a", name))


def test_a_name_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match=r"names must differ; car comes twice\."):
        Classes(("car", "road", "car"))


def test_colors_must_be_as_many_as_names():
    with pytest.raises(ValueError, match=r"colors must be as many as names: 2; got 1\."):
        Classes(("a", "b"), ((1, 2, 3),))


@pytest.mark.parametrize("color", [(1, 2), (1, 2, 256), (-1, 2, 3), (1.0, 2, 3), (1, 2, 3, 4)])
def test_colors_must_be_three_bytes(color):
    with pytest.raises(ValueError, match="colors must be three numbers from 0 to 255; got"):
        Classes(("a", "b"), ((1, 2, 3), color))


@pytest.mark.parametrize("names", [("background", "cat"), ("a", "b", "c")])
def test_the_first_made_up_color_is_gray_and_the_others_are_not(names):
    background, *others = Classes(names).colors
    assert len(set(background)) == 1
    assert all(max(color) - min(color) > 60 for color in others)
