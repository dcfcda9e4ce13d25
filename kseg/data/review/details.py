"""What is odd about one image and its labels, as numbers: taken down when they are read."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from kseg.classes import IGNORE_CLASS
from kseg.data.duplicates import looks
from kseg.data.lists import Pair

# The seven ways to lay an image on itself, beside leaving it as it is.
TURNS = {
    "mirrored left to right": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "turned by 90 degrees": lambda a: np.rot90(a),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
    "transposed": lambda a: a.swapaxes(0, 1),
    "transposed and turned": lambda a: a[::-1, ::-1].swapaxes(0, 1),
}
_LOOKED_AT = 256  # rows and columns of an image whose colours are counted
_LARGEST = 1024  # rows and columns of a label map in which specks are counted
_LEAST_AREA = 0.5  # pixels
_LEAST_SHARE = 0.003  # of an image, in which a class can be told by its looks


@dataclass(frozen=True)
class Details:
    """Numbers by which an image is told from the others of its data set.

    Attributes:
        turned: The perceptual hashes of the image turned in the ways of TURNS, uint64 (7, 4).
        small: The image, gray and shrunk, uint8 (64, 64).
        colors: How many colours a part of its pixels has.
        gray: Whether all its channels are equal.
        tail: Share of the rows at its bottom that are all of one colour.
        specks: Share of its labels' pixels that have no neighbour of their class.
        rim: Share of class 1 in the outermost pixels of its labels.
        looks: From each class that is not too rare to five numbers by which it may be told from
            others: how much brighter it is than the image, how its channels differ likewise (two
            numbers), how much lower it lies, and the logarithm of its share.
        lost: Names of its shapes that lie outside the image or have no area.
    """

    turned: np.ndarray
    small: np.ndarray
    colors: int
    gray: bool
    tail: float
    specks: float
    rim: float
    looks: dict[int, np.ndarray]
    lost: tuple[str, ...]


def details_of(pair: Pair, pixels: np.ndarray, classes: np.ndarray) -> Details:
    """Returns the numbers of an image, uint8 (H, W, channels), and its label map, uint8 (H, W)."""
    small = Image.fromarray(pixels[..., 0] if pixels.shape[-1] != 3 else pixels).convert("L")
    square = np.asarray(small.resize((64, 64), Image.Resampling.BOX))
    turned = [looks(Image.fromarray(np.ascontiguousarray(way(square)))) for way in TURNS.values()]
    rows, columns = (-(-side // _LOOKED_AT) for side in classes.shape)
    part = pixels[::rows, ::columns].reshape(-1, pixels.shape[-1])
    rim = np.concatenate([classes[0], classes[-1], classes[:, 0], classes[:, -1]])
    return Details(
        np.array(turned),
        square,
        len(np.unique(part.astype("uint32") @ (1 << 8 * np.arange(part.shape[-1]) % 32))),
        bool((part == part[:, :1]).all()),
        _tail(pixels[:, ::columns]),
        _specks(classes[:_LARGEST, :_LARGEST]),
        float(np.mean(rim == 1)),
        _looks_of_classes(pixels[::rows, ::columns], classes[::rows, ::columns]),
        _lost(pair, classes.shape),
    )


def table_of_looks(looks: list[dict[int, np.ndarray]]) -> tuple[list[int], np.ndarray]:
    """Returns the classes that occur, and their `Details.looks` in each image, (N, classes, 5).

    Where an image does not have a class, they are NaN.
    """
    known = sorted({index for each in looks for index in each})
    numbers = np.full((len(looks), len(known), 5), np.nan, "float32")
    for row, each in enumerate(looks):
        for index, own in each.items():
            numbers[row, known.index(index)] = own
    return known, numbers


def _tail(pixels: np.ndarray) -> float:
    equal = (pixels == pixels[-1, -1]).all((1, 2))[::-1]
    return float(equal.argmin() / len(equal)) if not equal.all() else 1.0


def _specks(classes: np.ndarray) -> float:
    edged = np.pad(classes, 1, mode="edge")
    height, width = classes.shape
    alone = np.ones(classes.shape, bool)
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            if (down, right) != (1, 1):
                alone &= edged[down : down + height, right : right + width] != classes
    return float(alone.mean())


def _looks_of_classes(pixels: np.ndarray, classes: np.ndarray) -> dict[int, np.ndarray]:
    """Returns `Details.looks` of an image, (H, W, channels), and its label map, uint8 (H, W)."""
    pixels = pixels[..., :3].astype("float32")
    if pixels.shape[-1] < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    height = np.linspace(0, 255, len(classes))[:, None] + np.zeros_like(red)
    values = np.stack([(red + green + blue) / 3, red - blue, green - (red + blue) / 2, height], -1)
    used = classes != IGNORE_CLASS
    usual = values[used].mean(0) if used.any() else 0
    found = {}
    for index, count in enumerate(np.bincount(classes[used], minlength=1)):
        if count >= max(1, _LEAST_SHARE * classes.size):
            share = np.log(count / classes.size)
            found[index] = np.append(values[classes == index].mean(0) - usual, share)
    return found


def _lost(pair: Pair, size: tuple[int, ...]) -> tuple[str, ...]:
    if pair.drawing is None:
        return ()
    height, width = (1, 1) if pair.drawing.relative else size
    least = _LEAST_AREA / (size[0] * size[1] if pair.drawing.relative else 1)
    lost = []
    for shape in pair.drawing.shapes:
        seen = shape.bitmap is not None and bool(np.any(shape.bitmap))
        for polygon in shape.polygons:
            x, y = polygon[::2], polygon[1::2]
            inside = max(x) > 0 and max(y) > 0 and min(x) < width and min(y) < height
            area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
            seen = seen or (inside and area >= least)
        if not seen:
            lost.append(shape.name or "ignored")
    return tuple(lost)
