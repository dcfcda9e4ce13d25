"""From an image to a label map, with a Keras model or any callable that gives logits."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kseg.classes import IGNORE_CLASS
from kseg.data.files import read_image
from kseg.running import run
from kseg.seeing import (
    Segmenter,
    bytes_of,
    channels_of,
    check_image,
    check_not_scaled,
    finite,
    fit_image,
    format_of,
    input_size,
    look_at,
)
from kseg.strips import as_wide, label_map, resize_logits
from kseg.tiles import label_tiles

_TILE = 768  # pixels
_MANY_CLASSES = 32


def predict(
    model: Segmenter,
    image: np.ndarray | str | Path,
    *,
    size: tuple[int, int] | None = None,
    native: bool = False,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> np.ndarray:
    """Labels every pixel of an image.

    Args:
        model: A Keras model, or a callable from images float32 (N, H, W, C), 0..255, to logits
            (N, h, w, num_classes), such as `export.load_tflite` returns. One of a fixed size, or
            with an attribute `input_size`, takes images up to it; larger ones are fitted into it.
        image: RGB, 0..255, uint8 or float, (H, W, 3), or the path of an image. For a model with
            another number of channels, (H, W, C) or, of one channel, (H, W).
        size: (height, width) that the image is fitted into before the model sees it, aspect
            kept. None takes the working size that the model carries, `model.kseg_size`, as
            models from `kseg.fit`, `kseg.load` and trained weights do; a model without one sees
            the image at its own size. Pass the image's own size to have that from any model.
        native: Whether the model sees the image at its own size in overlapping tiles, whose
            logits are blended: for images that are too large to be seen at once. Tiles have the
            size of a model of a fixed size, or 768 x 768 pixels, or 384 x 384 where a model has
            over 32 classes.
        flip: Whether the logits are the mean of those of the image and of its mirror image.
        scales: How many times as large as the working size the model sees the image. Of several,
            the mean of the logits counts.

    Returns:
        The label map, uint8 (H, W), at the image's own size.

    Raises:
        ValueError: If the image has another shape or range, or cannot be read, if the model gives
            something other than scores of 2 to 255 classes, if a scale is not from 0.25 to 4, or
            too large for a model of a fixed size, or if size is given with native.
    """
    if native and size is not None:
        raise ValueError("native labels an image at its own size; leave size out.")
    if isinstance(image, str | Path):
        image = read_image(Path(image), *format_of(model))
    if native:
        return _by_tiles(model, check_image(image, channels_of(model)), flip, scales)
    return predict_together(model, [image], size, flip=flip, scales=scales)[0]


def predict_together(
    model: Segmenter,
    images: Sequence[np.ndarray],
    size: tuple[int, int] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> list[np.ndarray]:
    """Labels images of one shape, which the model sees in one call.

    Arguments as `predict`, the images as arrays; returns their label maps.
    """
    found = _logits_together(model, images, size, flip, scales)
    return [label_map(logits, np.shape(images[0])[:2]) for logits in found]


def _by_tiles(
    model: Segmenter, image: np.ndarray, flip: bool, scales: Sequence[float]
) -> np.ndarray:
    check_not_scaled(image)
    image = bytes_of(image)  # a part of a float image may be too dark to pass as 0..255
    tile = input_size(model)
    if tile is None:
        # Of many classes, the logits are what takes the memory.
        outputs = getattr(model, "outputs", None) or ()
        many = any((output.shape[-1] or 0) > _MANY_CLASSES for output in outputs)
        tile = (_TILE // 2, _TILE // 2) if many else (_TILE, _TILE)

    def logits_of(rows: slice, columns: slice) -> np.ndarray:
        part = image[rows, columns]
        return predict_logits(model, part, part.shape[:2], flip=flip, scales=scales)

    return label_tiles(logits_of, image.shape[:2], tile)


def predict_logits(
    model: Segmenter,
    image: np.ndarray,
    size: tuple[int, int] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> np.ndarray:
    """Returns the logits of an image at its own size, float32 (H, W, num_classes).

    Arguments as `predict`, the image as an array.
    """
    logits = working_logits(model, image, size, flip=flip, scales=scales)
    return resize_logits(logits, np.shape(image)[:2])


def working_logits(
    model: Segmenter,
    image: np.ndarray,
    size: tuple[int, int] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> np.ndarray:
    """Returns the logits of an image as the model gives them, (h, w, num_classes).

    They have the size that the model saw, or are coarser, and cover the image: `kseg.strips`
    enlarges them. Arguments as `predict`, the image as an array.
    """
    return _logits_together(model, [image], size, flip, scales)[0]


def _logits_together(
    model: Segmenter,
    images: Sequence[np.ndarray],
    size: tuple[int, int] | None,
    flip: bool,
    scales: Sequence[float],
) -> np.ndarray:
    """Returns the logits of images of one shape as the model gives them, (N, h, w, classes)."""
    fits = [fit_image(model, image, size) for image in images]
    fitted = fits[0][1]
    found = []
    for scale in _check_scales(scales, fitted, input_size(model)):
        at = max(1, round(scale * fitted[0])), max(1, round(scale * fitted[1]))
        each = [look_at(image, at) for image, _ in fits]
        seen = each[0] if len(each) == 1 else np.concatenate(each)  # a large one is not copied
        logits = _call(model, seen)
        if flip:
            both = as_wide(logits, _call(model, seen[:, :, ::-1])[:, :, ::-1])
            logits = (both[0] + both[1]) / 2
        found.append(logits)
    if len(found) == 1:
        return found[0]
    whole = [[resize_logits(x, fitted) for x in logits] for logits in as_wide(*found)]
    return np.mean(whole, axis=0)


def _check_scales(
    scales: Sequence[float], fitted: tuple[int, int], limit: tuple[int, int] | None
) -> Sequence[float]:
    for scale in scales:
        if not 0.25 <= scale <= 4:
            raise ValueError(f"scales must be from 0.25 to 4; got {scale:g}.")
    if not scales:
        raise ValueError("scales must be one number or more, such as 0.75 1 1.25; got none.")
    if limit is not None:
        most = min(limit[0] / fitted[0], limit[1] / fitted[1])
        if max(scales) > max(most, 1):
            raise ValueError(
                f"scales must be at most {math.floor(100 * most) / 100} for a model that takes "
                f"images up to {limit[0]} x {limit[1]}, at a working size of {fitted[0]} x "
                f"{fitted[1]}; got {max(scales):g}."
            )
    return scales


def _call(model: Segmenter, images: np.ndarray) -> np.ndarray:
    return run(model, images, lambda found: {"": _check_scores(found, len(images))})[""]


def _check_scores(found: Any, images: int) -> np.ndarray:
    """Refuses what has no largest score in each pixel; its argmax would look like a label map.

    Raises:
        ValueError: If a model gives something other than real numbers (N, h, w, num_classes).
    """
    wanted = "model must give one array of scores (N, h, w, num_classes)"
    if isinstance(found, dict) and "semantic" in found:  # of a network that tells objects apart
        found = found["semantic"]
    if isinstance(found, dict | list | tuple) and len(found) == 1:
        (found,) = found.values() if isinstance(found, dict) else found
    if found is None or isinstance(found, dict | list | tuple):
        several = "nothing" if found is None else f"{len(found)} outputs"
        raise ValueError(f"{wanted}; it gives {several}. Write keras.Model with the one to use.")
    scores = np.asarray(found)
    if scores.ndim != 4 or len(scores) != images or 0 in scores.shape:
        raise ValueError(f"{wanted}; it gives shape {scores.shape} for {images} image(s).")
    if scores.shape[-1] == 1:
        raise ValueError(
            f"{wanted}; it gives one channel. Write keras.Model(model.input, "
            "keras.ops.concatenate([1 - p, p], -1)) with p = model.output (for logits: [0 * p, p])."
        )
    if scores.shape[-1] > IGNORE_CLASS:
        raise ValueError(f"{wanted}, 2 to 255 classes; it gives {scores.shape[-1]}.")
    if np.isnan(scores.min()):
        raise ValueError("The model gives scores that are no numbers (nan).")
    return finite(scores)
