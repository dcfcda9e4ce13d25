"""Running a model on images, which it is shown at a size that it takes."""

import contextlib
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kseg.data.transforms import mirror_out
from kseg.grids import extent, no_grid, sizes_around
from kseg.seeing import Segmenter, input_size, sides_of
from kseg.strips import resize_logits

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


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
    for size in [fixed] if fixed else sizes_around(own, sides_of(model)):
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
