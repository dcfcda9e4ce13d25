"""Quantization recipes: functions that return data.

| recipe | `--quantization` | weights | activations | input and output | needs images |
|---|---|---|---|---|---|
| `float32` | `none` | float32 | float32 | float32 | no |
| `float16` | `float16` | float16 | float32 | float32 | no |
| `dynamic_range` | `dynamic_range` | int8 | float32 | float32 | no |
| `int16x8` | `int16x8` | int8 | int16 | int16 | yes |
| `full_integer` | `int8` | int8 | int8 | uint8 | yes |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads RECIPES before it needs NumPy or Keras
    import numpy as np

_FEWEST_IMAGES = 8


@dataclass(frozen=True)
class QuantizationRecipe:
    """What numbers a file computes with.

    Attributes:
        name: The name of the function that made it.
        weights: The kind of number in the kernels: "float32", "float16" or "int8".
        activations: The kind of number that layers pass on: "float32", "int16" or "int8".
        ends: The kind of number in the file's input and output: "float32", "int16" or "uint8".
        keeps_scaling: Whether the scaling of the image stays in the graph; else the input's
            quantization does its work, and an app hands over the camera's bytes.
        images: Representative images, 0..255, (H, W, channels), from which activation ranges are
            taken.
        per_channel: Whether each output channel of a kernel has a scale of its own.
    """

    name: str
    weights: str = "float32"
    activations: str = "float32"
    ends: str = "float32"
    keeps_scaling: bool = True
    images: tuple["np.ndarray", ...] = field(default=(), repr=False)
    per_channel: bool = True

    @property
    def is_integer(self) -> bool:
        """Whether no number of the file is a float."""
        return self.activations != "float32"


def float32() -> QuantizationRecipe:
    """Returns the recipe that changes no number; the largest file, and the reference."""
    return QuantizationRecipe("float32")


def float16() -> QuantizationRecipe:
    """Returns the recipe that halves the file; runs in float32 on CPUs, in float16 on GPUs."""
    return QuantizationRecipe("float16", weights="float16")


def dynamic_range() -> QuantizationRecipe:
    """Returns the recipe with int8 weights and float activations: small, but slow on CPUs."""
    return QuantizationRecipe("dynamic_range", weights="int8")


def int16x8(images: Sequence["np.ndarray"]) -> QuantizationRecipe:
    """Returns the recipe for integer hardware where int8 activations lose too much.

    Slower than int8 nearly everywhere. The input is int16; its scale is in the file and its report.

    Args:
        images: At least 8 different real images like those the model will see, 0..255,
            (H, W, channels), or (H, W) for a model of gray images.

    Raises:
        ValueError: If there are fewer than 8 that are neither equal nor of one colour, or one is
            no image of this range.
    """
    # int16 has no zero point, so that bytes would need arithmetic in the app.
    checked = _representative(images, "int16x8")
    return QuantizationRecipe("int16x8", "int8", "int16", "int16", images=checked)


# For a network that has its ranges already, so that no image is needed.
INT8 = QuantizationRecipe("full_integer", "int8", "int8", "uint8", keeps_scaling=False)


def full_integer(images: Sequence["np.ndarray"], *, per_channel: bool = True) -> QuantizationRecipe:
    """Returns the recipe for integer hardware: no float op, raw bytes in.

    Args:
        images: At least 8 different real images like those the model will see, 0..255,
            (H, W, channels), as `data.images("train", 100)` returns them; (H, W) for a model of
            gray images.
        per_channel: False gives each kernel one scale, for accelerators that are many times
            slower with more (VeriSilicon's NPUs, Axis's ARTPEC-8). That loses accuracy, most in
            depthwise kernels; `quantization_aware` wins it back.

    Raises:
        ValueError: If there are fewer than 8 that are neither equal nor of one colour, or one is
            no image of this range.
    """
    checked = _representative(images, "full_integer")
    return replace(INT8, images=checked, per_channel=per_channel)


# By the words of `kseg export --quantization`; those of integers take images.
RECIPES: dict[str, Callable[..., QuantizationRecipe]] = {
    "int8": full_integer,
    "int16x8": int16x8,
    "float16": float16,
    "dynamic_range": dynamic_range,
    "none": float32,
}


def _representative(images: Sequence["np.ndarray"], recipe: str) -> tuple["np.ndarray", ...]:
    import numpy as np

    from kseg.inference import check_image

    shapes = {np.shape(image)[2:] for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"{recipe} needs images of one number of channels; got shapes that end in "
            f"{' and '.join(str(shape) for shape in sorted(shapes))}."
        )
    channels = next(iter(shapes), (3,)) or (1,)
    checked = tuple(check_image(image, channels[0]) for image in images)
    # Scaled images, or label maps of two classes. A black image is no proof of either.
    if any(0 < image.max() <= 1 for image in checked):
        raise ValueError(
            f"{recipe} needs images with values 0..255 (the scaling is in the model); the values "
            "of at least one are within 0..1."
        )
    if len(checked) < _FEWEST_IMAGES:
        raise ValueError(
            f"{recipe} needs at least {_FEWEST_IMAGES} images to take ranges from, better 100; "
            f"got {len(checked)}."
        )
    real = {image.tobytes() for image in checked if image.std() >= 1}
    if len(real) < _FEWEST_IMAGES:
        raise ValueError(
            f"{recipe} needs at least {_FEWEST_IMAGES} different real images; of {len(checked)}, "
            f"{len(real)} are neither of one colour nor equal to another."
        )
    return checked
