"""What is odd about one image and its labels, as numbers: taken down when they are read."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from kseg.classes import IGNORE_CLASS
from kseg.data.duplicates import looks
from kseg.data.lists import Pair
from kseg.data.review.exchanged import class_looks

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
        light: How much brighter each class is than the image, and its share, float32 (2, 255).
        looks: As `class_looks` returns them.
        lost: Names of its shapes that lie outside the image or have no area.
    """

    turned: np.ndarray
    small: np.ndarray
    colors: int
    gray: bool
    tail: float
    specks: float
    rim: float
    light: np.ndarray
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
        _light(part.mean(-1), classes[::rows, ::columns].ravel()),
        class_looks(pixels[::rows, ::columns], classes[::rows, ::columns]),
        _lost(pair, classes.shape),
    )


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


def _light(gray: np.ndarray, classes: np.ndarray) -> np.ndarray:
    count = np.bincount(classes, minlength=256)[:IGNORE_CLASS]
    mean = np.bincount(classes, gray, minlength=256)[:IGNORE_CLASS] / np.maximum(1, count)
    share = count / max(1, count.sum())
    return np.stack([np.where(count > 0, mean - mean @ share, 0), share]).astype("float32")


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
