"""How a model sees an image: which sizes and channels it takes, and how images get there."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kseg.data import Data
from kseg.data.transforms import fit_inside, resize
from kseg.models.endings import image_shape

_LARGEST = 1e30
_MOST_SEEN = 50_000_000  # pixels that an image may be enlarged to
# A keras.Model, a file or a function; `kseg.running.run` calls it.
Segmenter = Callable[[np.ndarray], Any]


def fit_image(
    model: Segmenter, image: np.ndarray, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Checks an image, and finds the size at which a model sees it.

    Args:
        model: As for `predict`.
        image: As for `predict`, as an array.
        size: As for `predict`.

    Returns:
        The image (H, W, channels), and the (height, width) to which `look_at` brings it.

    Raises:
        ValueError: If the image has another shape or range, or would become too large.
    """
    if hasattr(model, "with_channels"):  # a file, which may take gray in place of RGB
        image = model.with_channels(np.asarray(image))
    image = check_image(image, channels_of(model))
    check_not_scaled(image)
    own = image.shape[:2]
    check_pair("size", size)
    if size is None:
        size = working_size(model)
    limit = input_size(model)
    if size is None and limit is not None and (own[0] > limit[0] or own[1] > limit[1]):
        size = limit
    fitted = fit_inside((own[0], own[1]), size)
    if fitted[0] * fitted[1] > max(_MOST_SEEN, own[0] * own[1]):
        raise ValueError(
            f"size must keep an image under {_MOST_SEEN:,} pixels; it would have "
            f"{fitted[0]} x {fitted[1]}."
        )
    return image, fitted


def look_at(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns an image as a model sees it: resized, as a batch float32 (1, h, w, channels)."""
    if image.shape[:2] != size:
        image = resize(bytes_of(image), size)
    return np.asarray(image, "float32")[None]


def bytes_of(image: np.ndarray) -> np.ndarray:
    """Returns an image as uint8."""
    return image if image.dtype == np.uint8 else np.rint(image).astype("uint8")


def working_size(model: Segmenter) -> tuple[int, int] | None:
    """Returns the (height, width) that a model carries as the scale it works at, or None."""
    size = getattr(model, "kseg_size", None)
    return None if size is None else (size[0], size[1])


def input_size(model: Segmenter) -> tuple[int, int] | None:
    """Returns the (height, width) of a model of one size, or None; it takes smaller images too."""
    if isinstance(model, keras.Model):
        height, width = sides_of(model)
        return (height, width) if height and width else None
    return getattr(model, "input_size", None)


def sides_of(model: keras.Model) -> tuple[int | None, int | None]:
    """Returns the height and width that a Keras model's images must have; None where they vary."""
    _, height, width, *_ = (*image_shape(model), None, None)
    return height, width


def channels_of(model: Segmenter) -> int:
    """Returns how many channels the images of a model have; 3 where it does not say."""
    if isinstance(model, keras.Model):
        return image_shape(model)[-1] or 3
    return getattr(model, "channels", None) or 3


def format_of(model: Segmenter) -> tuple[int, int | None]:
    """Returns how `kseg.data.files.read_image` reads images for a model: channels and bits.

    The bits are those that the 16-bit images had which it was trained on, `model.kseg_bits`. None,
    where there were none or it does not say, has them told from each image by itself.
    """
    return channels_of(model), getattr(model, "kseg_bits", None)


def check_classes(num_classes: int, data: Data, *, who: str = "model") -> None:
    """Refuses a model or a teacher whose classes are not as many as those of the data.

    Raises:
        ValueError: If they are not.
    """
    if num_classes != data.classes.num_classes:
        raise ValueError(
            f"The {who} has {num_classes} classes and {data.source} has "
            f"{data.classes.num_classes} names; they must be as many. Take the data that the {who} "
            f"is for, or build a {who} with num_classes={data.classes.num_classes}."
        )


def check_channels(model: Segmenter, data: Data, *, who: str = "model") -> None:
    """Refuses a model or a teacher whose images have other channels than those of the data.

    Raises:
        ValueError: If they have.
    """
    takes, has = channels_of(model), getattr(data, "channels", 3)
    if takes != has:
        raise ValueError(
            f"The {who} takes images of {takes} channel{'s' * (takes > 1)} and those of "
            f"{data.source} have {has}; build the {who} with input_shape=(None, None, {has})."
        )


def warn_of_bits(model: Segmenter, data: Data) -> None:
    """Warns where a model was trained on 16-bit images of other bits than those of the data."""
    own, has = format_of(model)[1], data.bits
    if own and has and own != has:
        warnings.warn(
            f"The model was trained on images of {own} bits, and those of {data.source} are read "
            f"as images of {has}; write `bits: {own}` into that file, unless another camera made "
            "them.",
            stacklevel=3,
        )


def finite(scores: np.ndarray) -> np.ndarray:
    """Returns scores without infinities, from which no mean can be taken.

    A class that a model rules out has -inf.
    """
    return np.clip(scores, -_LARGEST, _LARGEST) if np.isinf(scores).any() else scores


def check_pair(name: str, size: Any) -> None:
    """Refuses a size that is not (height, width), in whole pixels; None passes.

    Raises:
        ValueError: If it is something else.
    """
    sides = size if isinstance(size, tuple | list) else (None,)
    whole = (isinstance(a, int | np.integer) and not isinstance(a, bool) for a in sides)
    if size is not None and (len(sides) != 2 or not all(whole) or min(sides) < 1):
        raise ValueError(
            f"{name} must be (height, width), two whole numbers above 0; got {size!r}."
        )


def check_image(image: np.ndarray, channels: int = 3) -> np.ndarray:
    """Refuses an array that is not an image with values 0..255.

    Args:
        image: The array; one of shape (H, W) is an image of one channel.
        channels: How many channels the model takes.

    Returns:
        The image, (H, W, channels).

    Raises:
        ValueError: If it has another shape, or values that are not from 0 to 255.
    """
    image = np.asarray(image)
    if channels == 1 and image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] != channels or 0 in image.shape:
        kind = "RGB of shape (H, W, 3)" if channels == 3 else f"of shape (H, W, {channels})"
        why = "" if channels == 3 else ", the channels that the model takes"
        raise ValueError(f"image must be {kind}{why}; got shape {image.shape}.")
    if image.dtype.kind not in "uifb":
        raise ValueError(f"image must hold real numbers, 0..255; got {image.dtype}.")
    if image.dtype != np.uint8 and not (0 <= image.min() and image.max() <= 255):
        raise ValueError(
            "image must have values 0..255 (the scaling is in the model); got values from "
            f"{image.min():.4g} to {image.max():.4g}."
        )
    return image


def check_not_scaled(image: np.ndarray) -> None:
    """Refuses an image of floats that were scaled to 0..1.

    Raises:
        ValueError: If it is one.
    """
    if image.dtype.kind == "f" and 0 < (high := image.max()) <= 1:
        raise ValueError(
            f"image must have values 0..255; its largest is {high:.4g}, as if it had been scaled "
            "to 0..1. The scaling is in the model: pass the image as it is, or image * 255. (A "
            "nearly black image passes as uint8.)"
        )
