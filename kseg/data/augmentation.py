"""How training images are varied: crops, sizes, colours, together with their label maps.

Where a crop reaches over the edge, images are filled with the gray that models pad with and label
maps with the ignored class. A new augmentation is a function and a row in AUGMENTATIONS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from kseg.classes import IGNORE_CLASS
from kseg.data.transforms import FILL, fit_inside, nothing_of, picked, resize

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        crop: (height, width) of the crop in pixels.
        scale: Smallest and largest enlargement before the crop, drawn evenly on a log scale.
        aspect: Largest relative difference between the enlargements of height and width.
        flip: Whether half the images are mirrored left to right.
        turn: Whether crops are turned as well: square ones to any of their four sides, others
            upside down or not. For images without an above and a below.
        focus: How many of the crops, 0 to 1, show a pixel of a class that is drawn from those of
            the image, each as likely; the others lie anywhere.
        color: Largest relative change of brightness, contrast and saturation; 0 for none.
        more: The amounts of other rows of AUGMENTATIONS, by their names.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.7, 1.6)
    aspect: float = 0.08
    flip: bool = True
    turn: bool = False
    focus: float = 0.0
    color: float = 0.3
    more: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the names of `more`.

        Raises:
            ValueError: If one is no row of AUGMENTATIONS.
        """
        for name in self.more:
            if name not in AUGMENTATIONS:
                known = ", ".join(AUGMENTATIONS)
                raise ValueError(f"more takes the augmentations {known}; got {name!r}.")

    def amounts(self) -> dict[str, float]:
        """Returns the amount of each row of AUGMENTATIONS, in their order; 0 for none."""
        given = {"color": self.color, "flip": float(self.flip), **self.more}
        return {name: given.get(name, 0.0) for name in AUGMENTATIONS}


def augment(
    image: np.ndarray,
    label_map: np.ndarray,
    augmentation: Augmentation,
    size: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one variation of an image and its label map.

    Args:
        image: The image, uint8 (H, W, C).
        label_map: The label map, uint8 (H, W); or int32 (H, W, 2) with ids of objects beside it.
        augmentation: What may be varied.
        size: The working size that images are fitted into, or None for their own.
        rng: Where chance comes from.

    Returns:
        The image, uint8 (crop height, crop width, C), and the label map, (crop height,
        crop width) or (crop height, crop width, 2) as it came.
    """
    full = image.shape[:2]
    fitted = fit_inside(full, size)
    zoom = np.exp(rng.uniform(*np.log(augmentation.scale)))
    stretch = 1 + rng.uniform(-augmentation.aspect, augmentation.aspect)
    scale = (fitted[0] / full[0] * zoom * stretch, fitted[1] / full[1] * zoom / stretch)
    crop, offset = augmentation.crop, rng.uniform(size=2)
    # The window of the image that becomes the crop, in the image's pixels; where it is larger
    # than the image, the image lies anywhere within it.
    extent = [crop[axis] / scale[axis] for axis in (0, 1)]
    ends = [(full[axis] - extent[axis], 0.0) for axis in (0, 1)]
    if augmentation.focus and rng.random() < augmentation.focus:
        ends = _around(_spot(label_map, rng), ends, extent)
    start = [last + (first - last) * offset[axis] for axis, (first, last) in enumerate(ends)]
    region, place = _window(full, start, scale, crop)
    image = resize(image, place[2:], region)
    label_map = picked(label_map, place[2:], region)
    for name, amount in augmentation.amounts().items():
        if amount:
            image, label_map = AUGMENTATIONS[name](image, label_map, amount, rng)
    # The fill comes last, so that it is the gray that models pad with whatever was varied.
    image = _place(image, place, crop, FILL)
    label_map = _place(label_map, place, crop, nothing_of(label_map))
    if augmentation.turn:
        quarters = int(rng.integers(4)) if crop[0] == crop[1] else 2 * int(rng.integers(2))
        return np.rot90(image, quarters), np.rot90(label_map, quarters)
    return image, label_map


def _spot(label_map, rng):
    """Draws a class of the image and a pixel of it; returns its (row, column), None without any."""
    classes = label_map if label_map.ndim == 2 else label_map[..., 0]
    present = np.flatnonzero(np.bincount(classes.ravel(), minlength=IGNORE_CLASS)[:IGNORE_CLASS])
    if not len(present):
        return None
    places = np.flatnonzero(classes == rng.choice(present))
    return divmod(int(rng.choice(places)), classes.shape[1])


def _around(spot, ends, extent):
    """Returns between which starts a window of some extent lies, and shows a spot if there is one.

    Args:
        spot: (row, column), or None.
        ends: For both axes, the two starts between which it lies otherwise.
        extent: (height, width) of the window.
    """
    if spot is None:
        return ends
    found = []
    for pixel, (one, other), length in zip(spot, ends, extent, strict=True):
        low, high = min(one, other), max(one, other)
        found.append((min(high, pixel), max(low, pixel + 1 - length)))
    return found


def _window(full, start, scale, crop):
    """Returns the part of the image that the crop shows, and where in the crop it lies.

    The part is (left, top, right, bottom) in the image's pixels, the place is
    (top, left, height, width) in the crop's.
    """
    part, place = [], []
    for axis in (0, 1):
        first = max(0.0, start[axis])
        last = min(float(full[axis]), start[axis] + crop[axis] / scale[axis])
        to = round((first - start[axis]) * scale[axis])
        part.append((first, last))
        place.append((to, max(1, min(crop[axis] - to, round((last - first) * scale[axis])))))
    (top, height), (left, width) = place
    return (part[1][0], part[0][0], part[1][1], part[0][1]), (top, left, height, width)


def _place(array, place, crop, fill):
    top, left, height, width = place
    if (height, width) == tuple(crop):
        return array
    canvas = np.full((*crop, *array.shape[2:]), fill, array.dtype)
    canvas[top : top + height, left : left + width] = array
    return canvas


def _vary_color(image, label_map, strength, rng):
    """Changes brightness and contrast, and in RGB saturation and a tint."""
    low, high = 1 - strength, 1 + strength
    brightness, contrast, saturation = rng.uniform(low, high, 3)
    tint = rng.uniform(-20 * strength, 20 * strength, 3)
    if image.shape[-1] != 3:
        # 256 numbers, looked up; channels beyond the visible have no saturation.
        numbers = np.arange(256) * brightness * contrast + FILL * (1 - contrast) + tint[0]
        return np.clip(np.rint(numbers), 0, 255).astype("uint8")[image], label_map
    colors = saturation * np.eye(3) + (1 - saturation) * _LUMA
    matrix = np.empty((3, 4))
    matrix[:, :3] = brightness * contrast * colors
    matrix[:, 3] = FILL * (1 - contrast) + tint
    varied = Image.fromarray(image).convert("RGB", tuple(matrix.ravel().tolist()))
    return np.asarray(varied), label_map


def _mirror(image, label_map, _, rng):
    """Mirrors half the images left to right."""
    if rng.random() >= 0.5:
        return image, label_map
    return image[:, ::-1], label_map[:, ::-1]


# From an image, its label map, an amount above 0 and a source of chance to both again. A row with
# an amount in Augmentation.more is all that a new augmentation needs.
AUGMENTATIONS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "color": _vary_color,
    "flip": _mirror,
}
