"""How a model sees an image: which sizes and channels it takes, and how images get there."""

import contextlib
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kseg.data import Data
from kseg.data.transforms import fit_inside, mirror_out, resize
from kseg.grids import extent, no_grid, sizes_around
from kseg.models.endings import image_shape
from kseg.strips import resize_logits

_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_LARGEST = 1e30
_MOST_SEEN = 50_000_000  # pixels that an image may be enlarged to
# A keras.Model is called through `predict_on_batch`, anything else as it is.
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


def run(
    model: Segmenter, images: np.ndarray, check: Callable[[Any], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Runs a model on images; where it needs another size, on images that are mirrored out to it.

    That is its fixed size, or the first of `sizes_around` of which it makes a whole grid.

    Args:
        model: As for `predict`.
        images: float32 (N, h, w, channels), 0..255.
        check: From what the model gives to its outputs by name, arrays (N, h, w, channels).

    Returns:
        The outputs for the images alone.

    Raises:
        ValueError: If the model takes smaller images only, fails on these or makes no whole grid
            of them, or `check` raises it.
    """
    if not isinstance(model, keras.Model):
        return check(model(images))
    if not model.compiled and keras.backend.backend() == "tensorflow":
        model.jit_compile = False  # XLA is several times slower than TensorFlow's own CPU kernels
    own, fixed = images.shape[1:3], input_size(model)
    if fixed is not None and (fixed[0] < own[0] or fixed[1] < own[1]):
        raise ValueError(
            f"The model takes images up to {fixed[0]} x {fixed[1]}; got {own[0]} x {own[1]}. Take "
            "a smaller size."
        )
    tried = _NO_GRIDS.setdefault(model, {})
    for size in [fixed] if fixed else sizes_around(own, _sides(model)):
        if size not in tried:
            seen = images if size == own else mirror_out(images, size)
            found = check(_predicted(model, seen))
            maps = {output.shape[1:3] for output in found.values()}
            if _keeps_size(model) or all(extent(size, each) for each in maps):
                _warn_of_borders(fixed, maps)
                return {name: _cut(output, size, own) for name, output in found.items()}
            tried[size] = min(maps)
    raise ValueError(no_grid("The model", own, tried[own]))


# Sizes of which models have made no whole grid, and what they made of them; each is tried once.
_NO_GRIDS: weakref.WeakKeyDictionary[keras.Model, dict] = weakref.WeakKeyDictionary()


def _warn_of_borders(fixed: tuple[int, int] | None, maps: set[tuple[int, int]]) -> None:
    """Warns where nothing tells whether a model of one size cuts borders off or resizes."""
    for given in maps:
        if fixed is not None and extent(fixed, given) is None:
            warnings.warn(
                f"The model makes {given[0]} x {given[1]} scores of an image of {fixed[0]} x "
                f"{fixed[1]}, which are no whole grid of it; they are taken for the whole image. "
                'If its convolutions cut borders off, give them padding="same".',
                stacklevel=4,
            )


def _keeps_size(model: keras.Model) -> bool:
    """Whether what a model gives has one size, whatever the image's: it is a map of all of it."""
    outputs = getattr(model, "outputs", None) or ()
    return bool(outputs) and all(None not in output.shape[1:3] for output in outputs)


def _cut(output: np.ndarray, size: tuple[int, int], own: tuple[int, int]) -> np.ndarray:
    """Returns the part of an output (N, h, w, channels) that lies on the images."""
    whole = extent(size, output.shape[1:3]) or size
    if whole == own:
        return output
    return np.stack([resize_logits(x, whole)[: own[0], : own[1]] for x in output])


# Models that their backend cannot compile for sizes that vary; they run layer by layer.
_LAYER_BY_LAYER: weakref.WeakSet[keras.Model] = weakref.WeakSet()


def _predicted(model: keras.Model, images: np.ndarray) -> Any:
    try:
        if model not in _LAYER_BY_LAYER:
            return model.predict_on_batch(images)
    except Exception as error:  # each backend has its own, and some are pages long
        if "ResourceExhausted" in type(error).__name__:
            raise
        height, width = images.shape[1:3]
        why = _COLORS.sub("", str(error)).strip().partition("\n")[0]
        refusal = ValueError(
            f"The model cannot take an image of {height} x {width}: {why} If it takes other sizes, "
            "name one with size (--size)."
        )
        # From the second size on, TensorFlow compiles for any, which some of Keras's layers, such
        # as a bilinear UpSampling2D, do not take.
        with contextlib.suppress(Exception):
            found = _layer_by_layer(model, images)
            _LAYER_BY_LAYER.add(model)
            return found
        raise refusal from error
    return _layer_by_layer(model, images)


def _layer_by_layer(model: keras.Model, images: np.ndarray) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(images, training=False))


def working_size(model: Segmenter) -> tuple[int, int] | None:
    """Returns the (height, width) that a model carries as the scale it works at, or None."""
    size = getattr(model, "kseg_size", None)
    return None if size is None else (size[0], size[1])


def input_size(model: Segmenter) -> tuple[int, int] | None:
    """Returns the (height, width) of a model of one size, or None; it takes smaller images too."""
    if isinstance(model, keras.Model):
        height, width = _sides(model)
        return (height, width) if height and width else None
    return getattr(model, "input_size", None)


def _sides(model: keras.Model) -> tuple[int | None, int | None]:
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
