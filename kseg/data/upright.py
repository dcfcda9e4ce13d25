"""Whether images have an above and a below, as those of streets do and those of cells do not."""

import math
import re
import warnings
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

_LOOKED_AT = 128  # rows and columns of an image, at most
_FEWEST = 12  # images
_CHANCE = 0.1  # that images without an above and a below are held for upright
# What matters even where chance does not explain it: of a height in images, of light in
# deviations, of a ratio on a log scale. Slices of one block of tissue differ from each other less.
_LEAST_HEIGHT, _LEAST_LIGHT, _LEAST_RATIO = 0.02, 0.1, 0.1
_SIDES = {"left", "right"}
_HEIGHTS = {"top", "bottom", "up", "down", "upper", "lower", "above", "below", "upside"}


class Lie(NamedTuple):
    """How an image and its labels lie.

    Attributes:
        heights: How far each class lies above the middle, from -0.5 to 0.5 of the image; NaN where
            it is absent. float (num_classes,).
        light: How much brighter the upper half is, in deviations of the image.
        ratio: Logarithm of the ratio of borders that run down to those that run across.
        grain: The same of the image's own edges, as those of brushed metal.
    """

    heights: np.ndarray
    light: float
    ratio: float
    grain: float


def lie_of(pixels: np.ndarray, ids: np.ndarray, lookup: np.ndarray, num_classes: int) -> Lie:
    """Takes down how an image and its labels lie.

    Args:
        pixels: The image, uint8 (H, W, channels).
        ids: The ids of its labels, (H, W).
        lookup: From id to class, as that of `Data`.
        num_classes: How many classes there are.
    """
    step = max(1, max(ids.shape) // _LOOKED_AT)
    gray, labels = pixels[::step, ::step].mean(-1), lookup[ids[::step, ::step]]
    height = len(labels)
    above = 0.5 - (np.arange(height) + 0.5) / height
    each = np.broadcast_to(above[:, None], labels.shape).ravel()
    count = np.bincount(labels.ravel(), minlength=256)[:num_classes]
    total = np.bincount(labels.ravel(), each, minlength=256)[:num_classes]
    heights = np.divide(total, count, out=np.full(num_classes, np.nan), where=count > 0)
    upper, lower = gray[: height // 2], gray[height - height // 2 :]
    brighter = upper.mean() - lower.mean() if len(upper) else 0.0
    down = np.count_nonzero(labels[:, 1:] != labels[:, :-1])
    across = np.count_nonzero(labels[1:] != labels[:-1])
    edges = [float(np.abs(np.diff(gray, axis=axis)).sum()) + 1 for axis in (1, 0)]
    return Lie(
        heights,
        float(brighter / max(1.0, gray.std())),
        math.log((down + 1) / (across + 1)),
        math.log(edges[0] / edges[1]),
    )


def upright(lies: Sequence[Lie], names: Sequence[str]) -> str | None:
    """Returns why images are thought to have an above and a below; None if they have none.

    Of each class it is tested whether its mean height differs from the middle by more than chance;
    likewise whether the upper half is brighter, and whether borders of labels and edges of images
    rather run down or across. Any doubt, such as few images, speaks for an above and a below.

    Args:
        lies: Of all images.
        names: Of the classes.
    """
    if (word := told_by_name(names, _SIDES | _HEIGHTS)) is not None:
        return f"{word!r} would change its meaning"
    if len(lies) < _FEWEST:
        return f"fewer than {_FEWEST} images do not tell"
    far = NormalDist().inv_cdf(1 - _CHANCE / 2 / (len(names) + 3))
    heights = np.array([lie.heights for lie in lies])
    found = [
        (_beyond(values, far, _LEAST_HEIGHT), name)
        for values, name in zip(heights.T, names, strict=True)
    ]
    most, name = max(found, key=lambda one: abs(one[0]))
    if most:
        return f"{name!r} lies rather {'above' if most > 0 else 'below'} the middle"
    if light := _beyond(np.array([lie.light for lie in lies]), far, _LEAST_LIGHT):
        return f"images are brighter {'above' if light > 0 else 'below'}"
    if ratio := _beyond(np.array([lie.ratio for lie in lies]), far, _LEAST_RATIO):
        return f"borders rather run {'down' if ratio > 0 else 'across'}"
    if grain := _beyond(np.array([lie.grain for lie in lies]), far, _LEAST_RATIO):
        return f"images have a grain that runs {'down' if grain > 0 else 'across'}"
    return None


def told_by_name(names: Sequence[str], words: set[str] = _SIDES) -> str | None:
    """Returns a name of a class that has one of some words in it, such as "left_lane"."""
    for name in names:
        parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
        if words & set(re.findall(r"[a-z]+", parts)):
            return name
    return None


def warn_of_mirrors(names: Sequence[str], option: str) -> None:
    """Warns where mirror images are looked at, and a class has a side in its name."""
    if (name := told_by_name(names)) is not None:
        warnings.warn(
            f"{option} looks at mirror images, in which {name!r} is on the other side; leave it "
            "out if left and right differ in these classes.",
            stacklevel=3,
        )


def _beyond(values: np.ndarray, far: float, least: float) -> float:
    """Returns the mean of values in deviations of itself; 0 where chance may explain it."""
    values = values[~np.isnan(values)]
    if len(values) < 4 or abs(values.mean()) < least:
        return 0.0
    ratio = float(values.mean() / max(1e-9, values.std(ddof=1) / math.sqrt(len(values))))
    return ratio if abs(ratio) > far else 0.0
