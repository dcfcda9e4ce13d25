"""From an image to a label map, with a Keras model or any callable that gives logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from kseg.data.files import read_image
from kseg.data.transforms import fit_inside, resize_image

# A keras.Model is called through `predict_on_batch`, anything else as it is.
Segmenter = Callable[[np.ndarray], Any]


def predict(
    model: Segmenter, image: np.ndarray | str | Path, *, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Labels every pixel of an image.

    Args:
        model: A Keras model, or a callable from images float32 (N, H, W, 3), 0..255, to logits
            (N, h, w, num_classes), such as `export.load_tflite` returns. One with an attribute
            `input_size` takes images up to that size; larger images are fitted into it.
        image: RGB, 0..255, uint8 or float, (H, W, 3), or the path of an image.
        size: (height, width) that the image is fitted into before the model sees it, aspect
            kept; None for its own size.

    Returns:
        The label map, uint8 (H, W), at the image's own size.

    Raises:
        ValueError: If the image has another shape or range, or cannot be read.
    """
    if isinstance(image, str | Path):
        image = np.asarray(read_image(Path(image)))
    return np.argmax(predict_logits(model, image, size), axis=-1).astype("uint8")


def predict_logits(
    model: Segmenter, image: np.ndarray, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Returns the logits of an image at its own size, (H, W, num_classes).

    Arguments as `predict`, the image as an array.
    """
    image = check_image(image)
    own = image.shape[:2]
    limit = getattr(model, "input_size", None)
    if size is None and limit is not None and (own[0] > limit[0] or own[1] > limit[1]):
        size = limit
    fitted = fit_inside(own, size)
    if fitted != own:
        picture = Image.fromarray(np.clip(np.rint(image), 0, 255).astype("uint8"))
        image = np.asarray(resize_image(picture, fitted))
    logits = _call(model, np.asarray(image, "float32")[None])
    if logits.shape[1:3] != own:
        logits = keras.ops.convert_to_numpy(
            keras.ops.image.resize(logits, own, interpolation="bilinear")
        )
    return logits[0]


def check_image(image: np.ndarray) -> np.ndarray:
    """Refuses what is no RGB image with values 0..255.

    Raises:
        ValueError: If the shape is not (H, W, 3) or values leave 0..255.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must be RGB of shape (H, W, 3); got shape {image.shape}.")
    if image.dtype != np.uint8 and not (0 <= image.min() and image.max() <= 255):
        raise ValueError(
            "image must have values 0..255 (the scaling is in the model); got values from "
            f"{image.min():.4g} to {image.max():.4g}."
        )
    return image


def _call(model: Segmenter, images: np.ndarray) -> np.ndarray:
    if not isinstance(model, keras.Model):
        return np.asarray(model(images))
    if not model.compiled and keras.backend.backend() == "tensorflow":
        model.jit_compile = False  # XLA is several times slower than TensorFlow's own CPU kernels
    return np.asarray(model.predict_on_batch(images))
