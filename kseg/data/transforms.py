"""Resizing, filling and stacking of images and label maps.

Images are interpolated, label maps never: they are only ever picked from (nearest). Ids of objects
go along with their label map, as its second channel.
"""

import numpy as np
from PIL import Image

from kseg.classes import IGNORE_CLASS

FILL = 127  # becomes 0 in the model, as the padding of `kseg.layers.PadToStride`
_BILINEAR = Image.Resampling.BILINEAR


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


def nothing_of(labels: np.ndarray) -> int | tuple[int, int]:
    """Returns what fills labels where there is no image: the ignored class, and no object."""
    return IGNORE_CLASS if labels.ndim == 2 else (IGNORE_CLASS, 0)


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
    label_maps = np.full(shape, nothing_of(first), "int32")
    for index, (image, label_map) in enumerate(pairs):
        images[index, : image.shape[0], : image.shape[1]] = image
        label_maps[index, : image.shape[0], : image.shape[1]] = label_map
    return images, label_maps
