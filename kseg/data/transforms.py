"""Resizing, cropping and colour changes of an image together with its label map.

Images are interpolated, label maps never: they are only ever picked from (nearest). Where a crop
reaches over the edge, images are filled with the grey that models pad with and label maps with
the ignored class.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from kseg.classes import IGNORE_CLASS

FILL = 127  # becomes 0 in the model, as the padding of `kseg.layers.PadToStride`
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        crop: (height, width) of the crop in pixels.
        scale: Smallest and largest enlargement before the crop, drawn evenly on a log scale.
        aspect: Largest relative difference between the enlargements of height and width.
        flip: Whether half the images are mirrored left to right.
        color: Largest relative change of brightness, contrast and saturation; 0 for none.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.7, 1.6)
    aspect: float = 0.08
    flip: bool = True
    color: float = 0.3


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


def resize_image(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes an image to (height, width), bilinear and anti-aliased."""
    if (image.height, image.width) == size:
        return image
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


def augment(
    image: Image.Image,
    label_map: Image.Image,
    augmentation: Augmentation,
    size: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one variation of an image and its label map.

    Args:
        image: The image, RGB.
        label_map: Of the same size, one byte a pixel.
        augmentation: What may be varied.
        size: The working size that images are fitted into, or None for their own.
        rng: Where chance comes from.

    Returns:
        The image, uint8 (crop height, crop width, 3), and the label map, uint8
        (crop height, crop width).
    """
    fitted = fit_inside((image.height, image.width), size)
    zoom = np.exp(rng.uniform(*np.log(augmentation.scale)))
    stretch = 1 + rng.uniform(-augmentation.aspect, augmentation.aspect)
    scale = (
        fitted[0] / image.height * zoom * stretch,
        fitted[1] / image.width * zoom / stretch,
    )
    crop, offset = augmentation.crop, rng.uniform(size=2)
    # The window of the image that becomes the crop, in the image's pixels; where it is larger
    # than the image, the image lies anywhere within it.
    extent = [crop[axis] / scale[axis] for axis in (0, 1)]
    full = (image.height, image.width)
    start = [(full[axis] - extent[axis]) * offset[axis] for axis in (0, 1)]
    region, place = _window(full, start, scale, crop)
    height, width = place[2:]
    image = image.resize((width, height), Image.Resampling.BILINEAR, box=region)
    label_map = label_map.resize((width, height), Image.Resampling.NEAREST, box=region)
    if augmentation.color:
        image = image.convert("RGB", _color_matrix(augmentation.color, rng))
    image = _place(image, place, crop, (FILL,) * 3)
    label_map = _place(label_map, place, crop, IGNORE_CLASS)
    if augmentation.flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        label_map = label_map.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image), np.asarray(label_map)


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


def _place(picture, place, crop, fill):
    if picture.size == (crop[1], crop[0]):
        return picture
    canvas = Image.new(picture.mode, (crop[1], crop[0]), fill)
    canvas.paste(picture, (place[1], place[0]))
    return canvas


def _color_matrix(strength, rng):
    """Returns brightness, contrast, saturation and a tint as one 3 x 4 colour matrix."""
    low, high = 1 - strength, 1 + strength
    brightness, contrast, saturation = rng.uniform(low, high, 3)
    tint = rng.uniform(-20 * strength, 20 * strength, 3)
    colors = saturation * np.eye(3) + (1 - saturation) * _LUMA
    matrix = np.empty((3, 4))
    matrix[:, :3] = brightness * contrast * colors
    matrix[:, 3] = FILL * (1 - contrast) + tint
    return tuple(matrix.ravel().tolist())


def stack(
    pairs: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Stacks images and label maps, padded at the bottom and right to the largest.

    Args:
        pairs: Images uint8 (H, W, 3) with label maps uint8 (H, W).

    Returns:
        Images float32 (N, H, W, 3), 0..255, and label maps int32 (N, H, W).
    """
    height = max(label_map.shape[0] for _, label_map in pairs)
    width = max(label_map.shape[1] for _, label_map in pairs)
    images = np.full((len(pairs), height, width, 3), FILL, "float32")
    label_maps = np.full((len(pairs), height, width), IGNORE_CLASS, "int32")
    for index, (image, label_map) in enumerate(pairs):
        images[index, : image.shape[0], : image.shape[1]] = image
        label_maps[index, : image.shape[0], : image.shape[1]] = label_map
    return images, label_maps
