"""What the images of a data set are like, as far as settings depend on it."""

from dataclasses import dataclass

import numpy as np

from kseg.classes import IGNORE_CLASS
from kseg.data import Data
from kseg.data.label_files import to_classes
from kseg.data.lists import Pair
from kseg.training.images import size_of

_HEADERS = 400  # images whose sizes are read
_LOOKED_AT = 20  # label maps that are read


@dataclass(frozen=True)
class Facts:
    """What the images of a data set are like.

    Attributes:
        counts: Training and validation images.
        size: (height, width) of the usual training image: the medians.
        largest: Pixels of the largest one, of those whose headers were read.
        thickness: Pixels across the usual part of each class in the images, at their own size;
            NaN where a class was not seen. float (num_classes,).
    """

    counts: tuple[int, int]
    size: tuple[int, int]
    largest: int
    thickness: np.ndarray


def facts_of(data: Data) -> Facts:
    """Returns what the images of a data set are like, from their headers and some label maps."""
    train, val = data.files("train"), data.pairs.get("val", ())
    sizes = np.array([size_of(data, pair) for pair in _spread(train, _HEADERS)])
    maps = (
        to_classes(pair.label_file, data.ids(pair).ids, data.lookup)
        for pair in _spread(train, _LOOKED_AT)
    )
    each = [thickness(label_map, data.classes.num_classes) for label_map in maps]
    seen = np.array(each)
    usual = [
        np.median(values[~np.isnan(values)]) if not np.isnan(values).all() else np.nan
        for values in seen.T
    ]
    height, width = np.median(sizes, axis=0).round().astype(int).tolist()
    return Facts((len(train), len(val)), (height, width), int(sizes.prod(1).max()), np.array(usual))


def thickness(label_map: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns how many pixels across the parts of each class are, along rows or columns.

    It is the mean length of the runs of a class, in the direction in which they are shorter: a
    pole of 3 x 40 pixels has 3, however it stands.

    Args:
        label_map: The label map, uint8 (H, W).
        num_classes: How many classes there are.

    Returns:
        Pixels, float (num_classes,); NaN for classes that are absent.
    """
    edged = np.pad(label_map, 1, constant_values=IGNORE_CLASS)
    runs = []
    for before in (edged[:-2, 1:-1], edged[1:-1, :-2]):
        starts = label_map[before != label_map]
        runs.append(np.bincount(starts.ravel(), minlength=256)[:num_classes])
    pixels = np.bincount(label_map.ravel(), minlength=256)[:num_classes]
    return np.where(pixels > 0, pixels / np.maximum(1, np.maximum(*runs)), np.nan)


def _spread(pairs: tuple[Pair, ...], count: int) -> list[Pair]:
    picks = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return [pairs[pick] for pick in picks]
