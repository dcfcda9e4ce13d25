"""What numbers a file's input wants in place of an image's bytes."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.tflite.process import Endpoint

# Means and standard deviations of red, green and blue, on the scale 0..255.
_NAMED = {
    "0..255": ((0.0,), (1.0,)),
    "0..1": ((0.0,), (255.0,)),
    "-1..1": ((127.5,), (127.5,)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
_SMALLEST_RANGE = 128.0  # of an int16 input that takes 0..255
_MOST_CLIPPED = 1 / 8  # of the 256 values of a pixel; calibration leaves out rare ones
_FEWEST_STEPS = 32  # of an input, from black to white


@dataclass(frozen=True)
class Normalization:
    """The numbers that stand for a pixel x, 0..255: (x - mean) / std.

    Attributes:
        mean: One number for all channels, or one for each.
        std: One number for all channels, or one for each.
        given: Whether the user named it. If so it holds for bytes, too, which otherwise go in as
            they are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    given: bool = False

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If there is none, one is no number, or a standard deviation is 0.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not values or not all(math.isfinite(value) for value in values):
                raise ValueError(f"the {name} must be finite numbers; got {list(values)}")
        if 0 in self.std:
            raise ValueError(f"the std must not be 0; got {list(self.std)}")

    @property
    def plain(self) -> bool:
        """Whether it leaves bytes as they are."""
        return self.mean == (0.0,) and self.std == (1.0,)

    def check_channels(self, channels: int) -> None:
        """Refuses numbers for another count of channels.

        Raises:
            ValueError: If they are neither one nor one for each channel.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"the {name} has {len(values)} numbers, and the file's images {channels} "
                    "channel(s); give one number, or one for each channel"
                )

    def check_input(self, tensor: Endpoint, channels: int) -> None:
        """Refuses numbers for another count of channels, or that an input cannot hold.

        Raises:
            ValueError: If it takes bytes alone, or most of an image would be clipped or one shade.
        """
        self.check_channels(channels)
        if not follows(tensor, self):
            return
        if not tensor.scale and self.given:
            raise ValueError(
                f"the file takes {tensor.dtype} numbers as they are, so that a normalization "
                "changes nothing; leave it out"
            )
        if tensor.scale and not self.plain:  # of bytes as they are, an array may be none
            self.check_range(tensor, channels)

    def check_range(self, tensor: Endpoint, channels: int) -> None:
        """Refuses numbers of which a quantized input holds few.

        Raises:
            ValueError: If it does.
        """
        info = np.iinfo(tensor.dtype)
        real = self(np.repeat(np.arange(256.0)[:, None], channels, axis=1))
        steps = real / tensor.scale + tensor.zero_point
        clipped = ((steps < info.min - 0.5) | (steps > info.max + 0.5)).mean(0).max()
        if clipped <= _MOST_CLIPPED and np.ptp(steps, axis=0).min() >= _FEWEST_STEPS:
            return
        lowest, highest = ((a - tensor.zero_point) * tensor.scale for a in (info.min, info.max))
        whose, advice = ("", ", or leave it out") if self.given else (" of its metadata", "")
        raise ValueError(
            f"the normalization{whose} makes {real.min():.4g}..{real.max():.4g} of pixels, and the "
            f"file's {tensor.dtype} input holds {lowest:.4g}..{highest:.4g} in steps of "
            f"{tensor.scale:.4g}, so that images would be lost in it; name the range that the "
            f"network was trained on (--normalization){advice}"
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 (N, H, W, C) for images (N, H, W, C), 0..255."""
        images = np.asarray(images, "float32")
        if self.plain:
            return images
        return (images - np.asarray(self.mean, "float32")) / np.asarray(self.std, "float32")


def parse_normalization(given: Any) -> Normalization:
    """Reads what a user says.

    Args:
        given: "0..1", "-1..1", "imagenet" or "0..255", the range that the network was trained on;
            or (mean, std), each a number, numbers for each channel, or text with commas.

    Returns:
        The normalization.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 1:
        given = given[0]  # of a command line's list of words
    if isinstance(given, str) and given in _NAMED:
        return Normalization(*_NAMED[given], given=True)
    try:
        mean, std = (_numbers(value) for value in _pair(given))
        return Normalization(mean, std, given=True)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"normalization must be one of {', '.join(_NAMED)}, or a mean and a standard deviation "
            f"for pixels of 0..255; got {given!r} ({error})."
        ) from None


def encode(images: np.ndarray, tensor: Endpoint, normalization: Normalization | None) -> np.ndarray:
    """Turns images into a file's input.

    Bytes go in as they are, and int8 input is the same bytes, moved by 128: the range that the
    input's scale stands for is the one that 0..255 becomes. That is what cameras give and what
    apps do. Where a normalization says what the bytes become, int8 and int16 follow it, and uint8
    does where the user named it.

    Args:
        images: (1, H, W, C), 0..255.
        tensor: The input.
        normalization: None where nothing is known of it.

    Returns:
        An array of the input's shape and dtype.
    """
    if tensor.dtype.startswith("float"):
        normalized = (
            np.asarray(images, "float32") if normalization is None else normalization(images)
        )
        return np.asarray(normalized, tensor.dtype)
    info = np.iinfo(tensor.dtype)
    if tensor.scale and (follows(tensor, normalization) or tensor.dtype == "int16"):
        real = np.asarray(images) if normalization is None else normalization(images)
        values = np.rint(real / tensor.scale) + tensor.zero_point
    else:
        values = np.rint(images) + (info.min if tensor.dtype == "int8" else 0)
    return np.clip(values, info.min, info.max).astype(tensor.dtype)


def follows(tensor: Endpoint, normalization: Normalization | None) -> bool:
    """Says whether the whole numbers that an input takes are those of a normalization."""
    whole = not tensor.dtype.startswith("float")
    return whole and normalization is not None and (normalization.given or tensor.dtype != "uint8")


def is_guessed(tensor: Endpoint, normalization: Normalization | None) -> bool:
    """Says whether an input takes real numbers, and nothing tells which.

    An int16 input whose range holds 0..255 takes those.
    """
    if normalization is not None:
        return False
    short = tensor.dtype == "int16" and tensor.scale * 2**15 < _SMALLEST_RANGE
    return tensor.dtype.startswith("float") or short


def _pair(given: Any) -> tuple[Any, Any]:
    if isinstance(given, str) or len(given) != 2:
        raise ValueError("that is no pair")
    return given[0], given[1]


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, int | float):
        value = (value,)
    return tuple(float(number) for number in value)


def settle(
    tensor: Endpoint, normalization: Normalization | None, path: object
) -> Normalization | None:
    """Returns what an input's numbers are made of; it warns where that is a guess, 0..255.

    Args:
        tensor: The input.
        normalization: What is known of it, or None.
        path: For the warning.
    """
    if not is_guessed(tensor, normalization):
        return normalization
    warnings.warn(
        f"{path} does not say what numbers it wants in place of bytes, so it is given "
        "0..255; if it was trained on others, say so (--normalization 0..1, "
        "--normalization=-1..1, imagenet or MEAN STD; 0..255 if this is right).",
        stacklevel=4,
    )
    return Normalization(*_NAMED["0..255"])
