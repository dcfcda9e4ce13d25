"""Logits brought to the size of an image, a few rows at a time.

The logits of 24 megapixels and 11 classes take a gigabyte, the label map 24 megabytes. So logits
are enlarged strip by strip, and each strip is turned into labels before the next one is made.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_PIXELS = 1 << 20  # of a strip


class _Axis(NamedTuple):
    """For each target place the two source places beside it, and the share of the second one."""

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray


def resize_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes logits, bilinear between pixel centres, as `keras.ops.image.resize` does.

    Args:
        logits: float32 (h, w, num_classes).
        size: (H, W) to resize to.

    Returns:
        float32 (H, W, num_classes); the logits themselves where they have that size.
    """
    if logits.shape[:2] == tuple(size):
        return logits
    resized = np.empty((*size, logits.shape[-1]), "float32")
    for rows, number, plane in _strips(logits, size):
        resized[rows, :, number] = plane
    return resized


def as_wide(*maps: np.ndarray, classes: int = 0) -> list[np.ndarray]:
    """Returns scores (..., num_classes) with as many classes each, the missing ones with 0.

    A file that gives a class map and does not say how many classes it knows has scores, 1 and 0, of
    those up to the largest in the image.

    Args:
        *maps: The scores.
        classes: As many at least.

    Raises:
        ValueError: If scores that lack classes are no such ones.
    """
    most = max(classes, *(scores.shape[-1] for scores in maps))
    return [_widened(scores, most) for scores in maps]


def _widened(scores: np.ndarray, classes: int) -> np.ndarray:
    if scores.shape[-1] == classes:
        return scores
    if scores.min() < 0:
        raise ValueError(
            f"model must give scores of as many classes each time; it gives {scores.shape[-1]} and "
            f"{classes}."
        )
    more = [(0, 0)] * (scores.ndim - 1) + [(0, classes - scores.shape[-1])]
    return np.pad(scores, more)


def label_map(logits: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns the class with the largest logit for each pixel; of equal ones, the first.

    The same as `np.argmax(resize_logits(logits, size), -1)`, without those logits in memory.

    Args:
        logits: float32 (h, w, num_classes), of at most 256 classes.
        size: (H, W) of the label map; None for that of the logits.

    Returns:
        uint8 (H, W).
    """
    size = size or logits.shape[:2]
    labels = np.zeros(size, "uint8")
    for rows, number, plane in _strips(logits, size):
        if number == 0:
            largest = plane
            continue
        above = plane > largest
        labels[rows][above] = number
        largest = np.maximum(plane, largest)
    return labels


def resized_strips(logits: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields rows and the logits of `resize_logits` in them, strip after strip.

    Args:
        logits: float32 (h, w, num_classes).
        size: (H, W) to resize to.
    """
    planes = []
    for rows, _, plane in _strips(logits, size):
        planes.append(plane)
        if len(planes) == logits.shape[-1]:
            yield rows, np.stack(planes, axis=-1)
            planes.clear()


def _strips(logits: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[slice, int, np.ndarray]]:
    """Yields (rows, class, logits of these rows and this class, resized), strip after strip."""
    planes = np.ascontiguousarray(np.moveaxis(logits, -1, 0), "float32")
    down, right = _axis(planes.shape[1], size[0]), _axis(planes.shape[2], size[1])
    height = max(1, _PIXELS // size[1])
    for top in range(0, size[0], height):
        rows = slice(top, min(top + height, size[0]))
        for number, plane in enumerate(planes):
            if plane.shape == tuple(size):
                yield rows, number, plane[rows]
            else:
                yield rows, number, _enlarged(plane, down, right, rows)


def _enlarged(plane: np.ndarray, down: _Axis, right: _Axis, rows: slice) -> np.ndarray:
    low, high, share = (part[rows] for part in down)
    source = plane[low[0] : high[-1] + 1]
    left = source[:, right.low]
    wide = left + (source[:, right.high] - left) * right.share
    above = wide[low - low[0]]
    return above + (wide[high - low[0]] - above) * share[:, None]


def _axis(source: int, target: int) -> _Axis:
    """Returns the places of an axis; in single precision, as TensorFlow's kernel has them."""
    half = np.float32(0.5)
    places = (np.arange(target, dtype="float32") + half) * (
        np.float32(source) / np.float32(target)
    ) - half
    floor = np.floor(places)
    low, high = (np.clip(floor + step, 0, source - 1).astype("int64") for step in (0, 1))
    return _Axis(low, high, places - floor)
