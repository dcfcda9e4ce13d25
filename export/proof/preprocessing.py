"""Whether a model is shown images as it was trained: a wrong range or order is certified otherwise.

A file labels like its model, so a model that was trained on -1..1, on BGR or on images without
their mean passes every comparison and labels badly. Its labels on labelled images tell.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from export.errors import GateError
from export.proof.verification import Verification, majority
from export.tflite.maps import logits_of
from export.tflite.runtime import FixedSize
from kseg.classes import IGNORE_CLASS, Classes
from kseg.data import Data
from kseg.inference import predict_logits
from kseg.metrics import ConfusionMatrix, Scores

_IMAGES = 4
_BETTER = 0.1  # of mean IoU; right models only lose by other input
_UNDER_RECORD = 0.15
# As keras.applications has them.
_BGR_MEAN = np.array([103.939, 116.779, 123.68], "float32")
_MEAN, _DEVIATION = np.array([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]], "float32")

# What models are usually trained on, of RGB 0..255; and what to write in front of one.
_USUAL: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "-1..1": (lambda x: x / 127.5 - 1, "keras.layers.Rescaling(1 / 127.5, -1)(image)"),
    "0..1": (lambda x: x / 255, "keras.layers.Rescaling(1 / 255)(image)"),
    "BGR": (lambda x: x[..., ::-1], "image[..., ::-1]"),
    "BGR less ImageNet's mean": (
        lambda x: x[..., ::-1] - _BGR_MEAN,
        "keras.applications.resnet.preprocess_input(image)",
    ),
    "ImageNet's mean and deviation": (
        lambda x: (x - _MEAN) / _DEVIATION,
        'keras.applications.imagenet_utils.preprocess_input(image, mode="torch")',
    ),
    "BGR, -1..1": (
        lambda x: x[..., ::-1] / 127.5 - 1,
        "keras.layers.Rescaling(1 / 127.5, -1)(image[..., ::-1])",
    ),
    "BGR, 0..1": (
        lambda x: x[..., ::-1] / 255,
        "keras.layers.Rescaling(1 / 255)(image[..., ::-1])",
    ),
}
_OF_ANY_CHANNELS = ("-1..1", "0..1")


def check_preprocessing(
    model: FixedSize, validation: Data, working_size: tuple[int, int] | None = None
) -> None:
    """Stops the export of a model that wants other numbers, or another order, than cameras give.

    Args:
        model: From images float32 (1, H, W, channels), 0..255, to logits, or to three maps.
        validation: Labelled images; a few of the split "val" are looked at.
        working_size: (height, width) that images are fitted into.

    Raises:
        GateError: If the model labels far better what it is usually not shown; that is named.
    """
    pairs = validation.files("val")
    few = [validation.read(pair) for pair in pairs[:: max(1, len(pairs) // _IMAGES)][:_IMAGES]]
    few.sort(key=lambda pair: -np.count_nonzero(pair[1] != IGNORE_CLASS))
    if not (few and (few[0][1] != IGNORE_CLASS).any()):
        return  # nothing is labelled, which `verify` says
    score = partial(_score, classes=validation.classes, size=working_size)
    as_is = _Shown(model, lambda images: images)
    before, first = score(as_is, few), score(as_is, few[:1]).mean_iou
    best, name = before, ""
    if before.mean_iou > 1 - _BETTER:
        return
    for usual, (change, _) in _USUAL.items():
        if model.channels != 3 and usual not in _OF_ANY_CHANNELS:
            continue
        shown = _Shown(model, change)
        if score(shown, few[:1]).mean_iou <= first:  # most are out of question at once
            continue
        scores = score(shown, few)
        if scores.mean_iou > best.mean_iou:
            best, name = scores, usual
    if best.mean_iou > max(before.mean_iou, majority(best)) + _BETTER:
        kind = "RGB, " if model.channels == 3 else ""
        raise GateError(
            f"The model has a mean IoU of {before.mean_iou:.3f} on {len(few)} validation images "
            f"as {kind}0..255, and of {best.mean_iou:.3f} on the same as {name}. It was trained "
            "so, and a file would be shown camera bytes. Write the step into the model: "
            f"keras.Model(image, model({_USUAL[name][1]})) with image = keras.Input((height, "
            f"width, {model.channels})). Nothing was written."
        )


def check_recorded(comparison: Verification, recorded: float | None) -> None:
    """Stops the export of a model that is far worse than its training recorded.

    Args:
        comparison: With scores.
        recorded: Mean IoU on the same validation images at the same working size.

    Raises:
        GateError: If the model is so much worse.
    """
    scores = comparison.scores_float
    if recorded is not None and scores is not None and scores.mean_iou < recorded - _UNDER_RECORD:
        raise GateError(
            f"The model has a mean IoU of {scores.mean_iou:.4f} on the validation images, and its "
            f"training recorded {recorded:.4f}. Pass the data set and the size that it was trained "
            "with, and the model with its scaling. Nothing was written."
        )


class _Shown(FixedSize):
    """A model that is shown images after a change."""

    def __init__(self, model: FixedSize, change: Callable[[np.ndarray], np.ndarray]):
        self.model, self.change = model, change
        self.input_size, self.stride = model.input_size, model.stride
        self.channels = model.channels

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of the classes alone; they tell whether the change is right."""
        changed = np.ascontiguousarray(self.change(images), "float32")
        return logits_of(self.model.logits(changed))


def _score(
    model: FixedSize,
    few: list[tuple[np.ndarray, np.ndarray]],
    classes: Classes,
    size: tuple[int, int] | None,
) -> Scores:
    matrix = ConfusionMatrix(classes.num_classes)
    for image, label_map in few:
        matrix.update(label_map, np.argmax(predict_logits(model, image, size), -1))
    return matrix.scores(classes.names)
