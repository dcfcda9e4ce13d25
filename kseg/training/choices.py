"""The rules by which settings are chosen: numbers in, numbers out."""

import math

import numpy as np

from kseg.data.transforms import fit_inside
from kseg.training.pace import VALIDATION_SHARE

# Pixels of an image at the working size: what is usual, and the most.
_USUAL, _LARGEST, _SMALLEST = 480 * 360, 640 * 480, 256 * 192
_THIN = 6  # pixels that the thinnest class should be across, for a network that works at stride 4
_VIEWS = 8  # times that a training by minutes should see each image; else images are made smaller
_STEPS, _MOST_STEPS, _EPOCHS = 1200, 20_000, 30
_FEWEST_STEPS = 300
_SECONDS_AN_IMAGE = 12  # of a training whose length nobody named, within the next line
_SHORTEST, _LONGEST = 300, 5400
_VALIDATIONS, _FEWEST_VALIDATIONS = 20, 4
_LEAST_VALIDATED = 20
_RARE = 0.02  # of the pixels
_SMALL = 0.5  # of an image, that a crop shows


def working_pixels(thickness: np.ndarray, size: tuple[int, int]) -> int:
    """Returns how many pixels an image should have at the working size.

    Args:
        thickness: Pixels across each class at the images' own size; NaN where unknown.
        size: (height, width) of the usual image.
    """
    known = thickness[~np.isnan(thickness)]
    if not len(known):
        return _USUAL
    needed = size[0] * size[1] * (_THIN / max(1e-9, float(known.min()))) ** 2
    return int(min(_LARGEST, max(_USUAL, needed)))


def affordable_pixels(pixels: int, seconds: float, pixels_a_second: float, images: int) -> int:
    """Returns how many pixels an image may have so that a time suffices to see all often enough.

    Args:
        pixels: What it would have otherwise, and has at most.
        seconds: Of the training.
        pixels_a_second: That the machine trains on.
        images: To train on.
    """
    within = int(seconds * pixels_a_second / (_VIEWS * images))
    return min(pixels, max(_SMALLEST, within))


def working_size(
    size: tuple[int, int], largest: int, pixels: int, *, apart: bool = False
) -> tuple[int, int] | None:
    """Returns the size that images are fitted into, multiples of 32; None keeps their own.

    Args:
        size: (height, width) of the usual image.
        largest: Pixels of the largest image.
        pixels: What an image should have at most.
        apart: Whether objects are told apart. Then images of several sizes keep their own even
            where some are far larger: fitted into one size, objects would shrink in these.
    """
    most = (16 if apart else 4) * _USUAL
    if size[0] * size[1] <= 1.2 * pixels and largest <= most:
        return None  # shrinking by a tenth is not worth the loss
    factor = min(1.0, math.sqrt(pixels / (size[0] * size[1])))
    return up_to_32(size[0] * factor), up_to_32(size[1] * factor)


def crop_for(size: tuple[int, int] | None, usual: tuple[int, int]) -> tuple[int, int]:
    """Returns the crop that shows a whole image at the working size, in multiples of 32."""
    height, width = fit_inside(usual, size)
    return up_to_32(height), up_to_32(width)


def focus_for(
    crop: tuple[int, int], image: tuple[int, int], pixels: np.ndarray, *, apart: bool = False
) -> float:
    """Returns how many of the crops are put around classes: all, where rare ones would be missed.

    Args:
        crop: (height, width) of the crops.
        image: (height, width) of the usual image at the working size.
        pixels: Of each class.
        apart: Whether objects are told apart; then none are, for lack of a measurement.
    """
    share = pixels / max(1, pixels.sum())
    rare = bool(((share > 0) & (share < _RARE)).any())
    small = crop[0] * crop[1] < _SMALL * image[0] * image[1]
    return float(rare and small and not apart)


def up_to_32(side: float) -> int:
    """Returns the multiple of 32 that holds a side, but for two pixels that may be cut off."""
    return max(32, math.ceil((side - 2) / 32) * 32)


def batch_size_for(images: int, bytes_of: list[int | None], room: int | None) -> int:
    """Returns how many images a step has.

    Args:
        images: To train on; few images make small batches, for more steps.
        bytes_of: What a step of 1, 2, 4, 8 images takes; None where unknown.
        room: Bytes of memory there are; None where unknown.
    """
    wanted = 4 if images < 100 else 8
    for power in (3, 2, 1):
        need = bytes_of[power]
        if 2**power <= wanted and (need is None or room is None or need <= room):
            return 2**power
    return 1 if bytes_of[1] is not None and room is not None and bytes_of[1] > room else 2


def epochs_for(images: int, batch_size: int, step_seconds: float) -> int:
    """Returns how often each image is seen where nobody said how long to train.

    Few images are seen until there are enough steps to learn from, many are not seen longer than
    anybody would wait: the time grows with the images, from 5 to 90 minutes.

    Args:
        images: To train on.
        batch_size: Images in a step.
        step_seconds: The time of a step.
    """
    epoch = -(-images // batch_size)
    steps = min(_MOST_STEPS, max(_STEPS, _EPOCHS * epoch))
    seconds = min(_LONGEST, max(_SHORTEST, _SECONDS_AN_IMAGE * images))
    steps = max(_FEWEST_STEPS, min(steps, int(seconds / step_seconds)))
    return max(1, round(steps / epoch))


def validation(images: int, image_seconds: float, seconds: float) -> tuple[int, int | None]:
    """Returns how often a training is evaluated, and on how many images (None: on all).

    Evaluations take an eighth of the time at most; where not even four would fit into that, they
    use a part of the images.

    Args:
        images: To validate on.
        image_seconds: The time that scoring one takes.
        seconds: Of the training.
    """
    room = VALIDATION_SHARE * seconds
    part = None
    if image_seconds * images * _FEWEST_VALIDATIONS > room:
        fitting = int(room / (image_seconds * _FEWEST_VALIDATIONS))
        part = min(images, max(_LEAST_VALIDATED, fitting))
        part = None if part == images else part
    once = image_seconds * (part or images)
    times = _VALIDATIONS if once == 0 else int(room / once)
    return min(_VALIDATIONS, max(1, times)), part


def patience_for(times: int) -> int | None:
    """Returns after how many evaluations without a gain a training ends; None for never.

    A schedule that falls to 0 gains most near its end, so it is a wide margin.
    """
    return max(6, times // 2) if times >= 12 else None
