"""Scoring a model on a split, at the images' own size."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.data import Data, check_labels
from kseg.data.transforms import mirror_out
from kseg.inference import Segmenter, working_logits
from kseg.metrics import ConfusionMatrix, Scores
from kseg.progress import progress as show
from kseg.seeing import check_channels, check_classes, check_pair, warn_of_bits
from kseg.strips import as_wide, label_map, resized_strips


def evaluate(
    model: Segmenter,
    data: Data,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    pad_to: tuple[int, int] | None = None,
    crop_to: tuple[int, int] | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    progress: bool = False,
) -> Scores:
    """Scores a model: one confusion matrix over all images of a split.

    Args:
        model: As for `kseg.predict`.
        data: The data set.
        split: "train", "val" or "test".
        size: Working size, as for `kseg.predict`: None takes the one that the model carries. The
            metric is taken at each image's own size.
        pad_to: (height, width) to which images are mirrored out at the bottom and right
            before the model sees them, to test how far size matters; what is added is not
            scored.
        crop_to: (height, width) to which images and label maps are cut at the bottom and right.
        flip: As for `kseg.predict`: whether the mirror image is looked at too.
        scales: As for `kseg.predict`: how many times as large as the working size.
        progress: Whether to show on standard error how far it is.

    Returns:
        The scores.

    Raises:
        TypeError: If data is not a data set.
        ValueError: If the split is missing, a file cannot be read, the model has another number
            of classes or channels, pad_to is smaller than an image, or a scale is not from 0.25
            to 4.
    """
    if not isinstance(data, Data):
        raise TypeError(
            f"data must be what kseg.load_data returns; got {type(data).__name__}. For one array, "
            "kseg.predict labels an image."
        )
    matrix = ConfusionMatrix(data.classes.num_classes)
    look = Look(size, pad_to, crop_to, flip, tuple(scales))
    for image in judge(model, data, look, split=split, progress=progress):
        matrix.update(image.truth, image.labels())
    return matrix.scores(data.classes.names)


@dataclass(frozen=True)
class Look:
    """How a model sees the images that it is judged by.

    Attributes:
        size: As for `evaluate`, like the others.
        pad_to: Size to which images are padded.
        crop_to: Size to which images are cut.
        flip: Whether the mirror image is looked at too.
        scales: How many times as large as the working size.
    """

    size: tuple[int, int] | None = None
    pad_to: tuple[int, int] | None = None
    crop_to: tuple[int, int] | None = None
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Judged:
    """An image that a model has labelled.

    Attributes:
        name: Of the image's file.
        image: The image, uint8 (H, W, channels).
        truth: Its label map, uint8 (H, W).
        logits: What the model gives, float32 (h, w, num_classes), for what it saw.
        seen: (height, width) of what the model saw, the image at its top left.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    logits: np.ndarray
    seen: tuple[int, int]

    def labels(self) -> np.ndarray:
        """Returns the predicted label map, uint8 (H, W)."""
        return label_map(self.logits, self.seen)[: self.truth.shape[0], : self.truth.shape[1]]

    def scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the truth and the logits of a few rows after the other: (h, W), (h, W, C)."""
        height, width = self.truth.shape
        for rows, logits in resized_strips(self.logits, self.seen):
            if rows.start < height:
                truth = self.truth[rows]
                yield truth, logits[: len(truth), :width]


def judge(
    model: Segmenter, data: Data, look: Look, *, split: str = "val", progress: bool = False
) -> Iterator[Judged]:
    """Labels the images of a split, one after the other; arguments and errors as `evaluate`."""
    if not isinstance(data, Data):
        raise TypeError(
            f"data must be what kseg.load_data returns; got {type(data).__name__}. For one array, "
            "kseg.predict labels an image."
        )
    check_pair("crop_to", look.crop_to)
    check_pair("pad_to", look.pad_to)
    check_channels(model, data)
    warn_of_bits(model, data)
    check_labels(data, [split])
    pairs = data.files(split)
    names = _names([pair.image for pair in pairs])
    for pair in show(pairs, unit="image", label="scoring", shown=progress):
        image, truth = data.read(pair)
        if look.crop_to is not None:
            image, truth = (a[: look.crop_to[0], : look.crop_to[1]] for a in (image, truth))
        seen = image if look.pad_to is None else _pad(image, look.pad_to)
        logits = working_logits(model, seen, look.size, flip=look.flip, scales=look.scales)
        if getattr(model, "num_classes", 0) is None:  # a class map that names what it saw
            (logits,) = as_wide(logits, classes=data.classes.num_classes)
        check_classes(logits.shape[-1], data)
        yield Judged(names[pair.image], image, truth, logits, (seen.shape[0], seen.shape[1]))


def _names(images: Sequence[Path]) -> dict[Path, str]:
    """Returns what to call each image: its file's name, below their folders where names repeat."""
    if len({image.name for image in images}) == len(set(images)):
        return {image: image.name for image in images}
    common = os.path.commonpath([image.parent for image in images])
    return {image: Path(os.path.relpath(image, common)).as_posix() for image in images}


def _pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    below, right = size[0] - image.shape[0], size[1] - image.shape[1]
    if below < 0 or right < 0:
        raise ValueError(
            f"pad_to must be at least the images' size; got {size[0]} x {size[1]} and an image of "
            f"{image.shape[0]} x {image.shape[1]}."
        )
    return mirror_out(image, size)
