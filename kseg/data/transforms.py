"""Resizing, cropping and colour changes of an image together with its label map.

Images are interpolated, label maps never: they are only ever picked from (nearest). Where a crop
reaches over the edge, images are filled with the gray that models pad with and label maps with
the ignored class. Ids of objects go along with their label map, as its second channel. A new
augmentation is a function and a row in AUGMENTATIONS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from kseg.classes import IGNORE_CLASS

FILL = 127  # becomes 0 in the model, as the padding of `kseg.layers.PadToStride`
_LUMA = np.array([0.299, 0.587, 0.114])
_BILINEAR = Image.Resampling.BILINEAR


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


def fit_inside(size: tuple[int, int], box: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the largest (height, width) of an image's aspect that fits into a box.

    Args:
        size: (height, width) of the image.
        box: (height, width) to fit into, or None to keep the size.
    """
    if box is None:
        return size
    ratio = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def mirror_out(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fills a model's fixed input: at the bottom and right, images go on as their mirror image.

    Labels at the edge are better so than beside gray: mean IoU by 0.4 points on parts of street
    images, TP / (TP + FP + FN) by 1.7 points on nuclei.

    Args:
        images: Images (..., H, W, channels), at most as large as `size`.
        size: (height, width) to fill.

    Returns:
        The images, (..., height, width, channels).
    """
    more = [(0, to - own) for to, own in zip(size, images.shape[-3:-1], strict=True)]
    return np.pad(images, [(0, 0)] * (images.ndim - 3) + more + [(0, 0)], mode="symmetric")


def resize_image(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes an image to (height, width), bilinear and anti-aliased."""
    if (image.height, image.width) == size:
        return image
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


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
    label_map = _place(label_map, place, crop, _nothing(label_map))
    if augmentation.turn:
        quarters = int(rng.integers(4)) if crop[0] == crop[1] else 2 * int(rng.integers(2))
        return np.rot90(image, quarters), np.rot90(label_map, quarters)
    return image, label_map


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Resizes an image of any number of channels, bilinear and anti-aliased.

    Args:
        image: The image, uint8 (H, W, C).
        size: (height, width) to resize to.
        box: (left, top, right, bottom) of the part to take, in pixels; None takes all.

    Returns:
        The image, uint8 (height, width, C).
    """
    if box is None and image.shape[:2] == tuple(size):
        return image
    bands = [image] if image.shape[-1] == 3 else np.moveaxis(image, -1, 0)
    # Band by band: Pillow would take a fourth channel for transparency.
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(band)).resize(size[::-1], _BILINEAR, box))
        for band in bands
    ]
    return resized[0] if image.shape[-1] == 3 else np.stack(resized, -1)


def picked(
    labels: np.ndarray,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Resizes a label map, with or without ids beside it, by picking the nearest pixels.

    Args:
        labels: The label map, uint8 (H, W), or int32 (H, W, 2).
        size: (height, width) to resize to.
        box: As for `resize`.
    """
    if labels.ndim == 3:
        planes = (np.ascontiguousarray(plane) for plane in np.moveaxis(labels, -1, 0))
        return np.stack([picked(plane, size, box) for plane in planes], -1)
    return np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST, box))


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


def _nothing(labels: np.ndarray) -> int | tuple[int, int]:
    """Returns what fills labels where there is no image: the ignored class, and no object."""
    return IGNORE_CLASS if labels.ndim == 2 else (IGNORE_CLASS, 0)


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


def stack(
    pairs: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Stacks images and label maps, padded at the bottom and right to the largest.

    Args:
        pairs: Images uint8 (H, W, C) with label maps (H, W), or (H, W, 2) with ids beside them.

    Returns:
        Images float32 (N, H, W, C), 0..255, and label maps int32 (N, H, W) or (N, H, W, 2).
    """
    height = max(label_map.shape[0] for _, label_map in pairs)
    width = max(label_map.shape[1] for _, label_map in pairs)
    images = np.full((len(pairs), height, width, pairs[0][0].shape[-1]), FILL, "float32")
    first = pairs[0][1]
    shape = (len(pairs), height, width, *first.shape[2:])
    label_maps = np.full(shape, _nothing(first), "int32")
    for index, (image, label_map) in enumerate(pairs):
        images[index, : image.shape[0], : image.shape[1]] = image
        label_maps[index, : image.shape[0], : image.shape[1]] = label_map
    return images, label_maps
