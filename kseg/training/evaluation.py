"""Scoring a model on a split, at the images' own size."""

import numpy as np

from kseg.data import Data, check_labels
from kseg.data.transforms import FILL
from kseg.inference import Segmenter, channels_of, predict_logits
from kseg.metrics import ConfusionMatrix, Scores
from kseg.progress import progress as show


def evaluate(
    model: Segmenter,
    data: Data,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    pad_to: tuple[int, int] | None = None,
    crop_to: tuple[int, int] | None = None,
    progress: bool = False,
) -> Scores:
    """Scores a model: one confusion matrix over all images of a split.

    Args:
        model: As for `kseg.predict`.
        data: The data set.
        split: "train", "val" or "test".
        size: Working size, as for `kseg.predict`: None takes the one that the model carries. The
            metric is taken at each image's own size.
        pad_to: (height, width) to which images are padded with grey at the bottom and right
            before the model sees them, to test how far size matters; the padding is not scored.
        crop_to: (height, width) to which images and label maps are cut at the bottom and right.
        progress: Whether to show on standard error how far it is.

    Returns:
        The scores.

    Raises:
        TypeError: If data is not a data set.
        ValueError: If the split is missing, a file cannot be read, the model has another number
            of classes or channels, or pad_to is smaller than an image.
    """
    if not isinstance(data, Data):
        raise TypeError(
            f"data must be what kseg.load_data returns; got {type(data).__name__}. For one array, "
            "kseg.predict labels an image."
        )
    check_channels(model, data)
    check_labels(data, [split])
    matrix = ConfusionMatrix(data.classes.num_classes)
    for pair in show(data.files(split), unit="image", label="scoring", shown=progress):
        image, label_map = data.read(pair)
        if crop_to is not None:
            image, label_map = (a[: crop_to[0], : crop_to[1]] for a in (image, label_map))
        height, width = label_map.shape
        if pad_to is not None:
            image = _pad(image, pad_to)
        logits = predict_logits(model, image, size)[:height, :width]
        check_classes(logits.shape[-1], data)
        matrix.update(label_map, np.argmax(logits, -1))
    return matrix.scores(data.classes.names)


def check_classes(num_classes: int, data: Data) -> None:
    """Refuses a model whose classes are not as many as those of the data.

    Raises:
        ValueError: If they are not.
    """
    if num_classes != data.classes.num_classes:
        raise ValueError(
            f"The model has {num_classes} classes and {data.source} has "
            f"{data.classes.num_classes} names; build the model with "
            f"num_classes={data.classes.num_classes}."
        )


def check_channels(model: Segmenter, data: Data) -> None:
    """Refuses a model whose images have another number of channels than those of the data.

    Raises:
        ValueError: If they have.
    """
    takes, has = channels_of(model), getattr(data, "channels", 3)
    if takes != has:
        raise ValueError(
            f"The model takes images of {takes} channel{'s' * (takes > 1)} and those of "
            f"{data.source} have {has}; build the model with input_shape=(None, None, {has})."
        )


def _pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    below, right = size[0] - image.shape[0], size[1] - image.shape[1]
    if below < 0 or right < 0:
        raise ValueError(
            f"pad_to must be at least the images' size; got {size[0]} x {size[1]} and an image of "
            f"{image.shape[0]} x {image.shape[1]}."
        )
    return np.pad(image, ((0, below), (0, right), (0, 0)), constant_values=FILL)
