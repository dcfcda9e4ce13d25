"""Quantization recipes: functions that return data.

| recipe | weights | activations | input and output | needs images |
|---|---|---|---|---|
| `float32` | float32 | float32 | float32 | no |
| `float16` | float16 | float32 | float32 | no |
| `dynamic_range` | int8 | float32 | float32 | no |
| `full_integer` | int8 | int8 | uint8 | yes |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kseg.inference import check_image

_FEWEST_IMAGES = 8


@dataclass(frozen=True)
class QuantizationRecipe:
    """What numbers a file computes with.

    Attributes:
        name: "float32", "float16", "dynamic_range" or "full_integer".
        images: Representative photos, uint8 (H, W, 3), from which activation ranges are taken.
    """

    name: str
    images: tuple[np.ndarray, ...] = field(default=(), repr=False)


def float32() -> QuantizationRecipe:
    """Returns the recipe that changes no number; the largest file, and the reference."""
    return QuantizationRecipe("float32")


def float16() -> QuantizationRecipe:
    """Returns the recipe that halves the file; runs in float32 on CPUs, in float16 on GPUs."""
    return QuantizationRecipe("float16")


def dynamic_range() -> QuantizationRecipe:
    """Returns the recipe with int8 weights and float activations: small, but slow on CPUs."""
    return QuantizationRecipe("dynamic_range")


def full_integer(images: Sequence[np.ndarray]) -> QuantizationRecipe:
    """Returns the recipe for integer hardware: no float op, raw bytes in.

    Args:
        images: At least 8 real photos like those the model will see, RGB 0..255, (H, W, 3), as
            `data.images("train", 100)` returns them.

    Raises:
        ValueError: If there are fewer than 8, one is no photo of this range, or all are flat.
    """
    photos = tuple(check_image(image) for image in images)
    if len(photos) < _FEWEST_IMAGES:
        raise ValueError(
            f"full_integer needs at least {_FEWEST_IMAGES} photos to take ranges from, better "
            f"100; got {len(photos)}."
        )
    if all(photo.max() <= 1 for photo in photos):
        raise ValueError(
            "full_integer needs photos with values 0..255 (the scaling is in the model); all "
            "of these are within 0..1."
        )
    if all(photo.std() < 1 for photo in photos):
        raise ValueError("full_integer needs real photos; all of these are of one colour.")
    return QuantizationRecipe("full_integer", photos)
