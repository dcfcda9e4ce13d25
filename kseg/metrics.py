"""Scores of a segmentation over a whole data set: of its areas, boundaries and probabilities."""

import math
from dataclasses import dataclass, field

import numpy as np

from kseg.classes import IGNORE_CLASS


@dataclass(frozen=True)
class Scores:
    """Scores of a model on a data set.

    Attributes:
        mean_iou: Mean IoU over the classes that occur in the labels, 0..1.
        pixel_accuracy: Share of the pixels that are right, 0..1; ignored ones do not count.
        iou_per_class: Class name to intersection over union, 0..1, or None for a class that does
            not occur in the labels.
        images: How many images were scored.
        confusion: Number of pixels by label and prediction, int64 (num_classes, num_classes).
    """

    mean_iou: float
    pixel_accuracy: float
    iou_per_class: dict[str, float | None]
    images: int
    confusion: np.ndarray = field(repr=False, compare=False)

    def to_json(self) -> dict:
        """Returns mean_iou, pixel_accuracy, iou_per_class and images as plain data."""
        return {
            "mean_iou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "iou_per_class": self.iou_per_class,
            "images": self.images,
        }


class ConfusionMatrix:
    """Counts pixels by label and prediction over any number of images."""

    def __init__(self, num_classes: int, ignore_class: int = IGNORE_CLASS):
        """Starts from zero.

        Args:
            num_classes: How many classes there are, without the ignored one.
            ignore_class: Label of the pixels that do not count.
        """
        self.num_classes, self.ignore_class = num_classes, ignore_class
        self.counts = np.zeros((num_classes, num_classes), "int64")
        self.images = 0

    def update(self, label_map: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one image.

        Args:
            label_map: True classes of the pixels, integers (H, W).
            prediction: Predicted classes of the pixels, integers (H, W).

        Raises:
            ValueError: If the shapes differ, or a pixel that counts has a label or a prediction
                that is not a class. (Keras's MeanIoU leaves such pixels out, or scores them as
                right.)
        """
        label_map, prediction = np.asarray(label_map), np.asarray(prediction)
        if label_map.shape != prediction.shape:
            raise ValueError(
                f"The label map has shape {label_map.shape} and the prediction "
                f"{prediction.shape}; they must be equal."
            )
        valid = label_map != self.ignore_class
        # label * num_classes + prediction may exceed 255, the most that uint8 holds.
        labels, predictions = (a[valid].astype("int64") for a in (label_map, prediction))
        for name, values in (("label map", labels), ("prediction", predictions)):
            wrong = values[(values < 0) | (values >= self.num_classes)]
            if wrong.size:
                raise ValueError(
                    f"The {name} holds {wrong[0]}, but classes go from 0 to "
                    f"{self.num_classes - 1} ({self.ignore_class} in label maps is ignored)."
                )
        flat = np.bincount(labels * self.num_classes + predictions, minlength=self.counts.size)
        self.counts += flat.reshape(self.counts.shape)
        self.images += 1

    def scores(self, names: tuple[str, ...]) -> Scores:
        """Returns the scores so far.

        Args:
            names: Names of the classes, in the order of their ids.

        Raises:
            ValueError: If no pixel was counted.
        """
        right, labelled = np.diag(self.counts), self.counts.sum(1)
        if not labelled.any():
            raise ValueError("There is no pixel to score: all are ignored, or there is no image.")
        union = labelled + self.counts.sum(0) - right
        ious = [
            float(right[index] / union[index]) if labelled[index] else None
            for index in range(self.num_classes)
        ]
        return Scores(
            mean_iou=float(np.mean([iou for iou in ious if iou is not None])),
            pixel_accuracy=float(right.sum() / labelled.sum()),
            iou_per_class=dict(zip(names, ious, strict=True)),
            images=self.images,
            confusion=self.counts.copy(),
        )


class BoundaryCounts:
    """Boundary IoU over any number of images (Cheng et al., "Boundary IoU", CVPR 2021).

    Of each class, only the pixels count that are no farther than a distance from its contour,
    inside it: once by the labels, once by the prediction. The edge of the image is contour too, as
    in the authors' code; the edge of ignored pixels is none, because nobody knows what is there.
    """

    def __init__(self, num_classes: int, ratio: float = 0.02, ignore_class: int = IGNORE_CLASS):
        """Starts from zero.

        Args:
            num_classes: How many classes there are, without the ignored one.
            ratio: The distance as a share of the image's diagonal; at least a pixel is taken.
            ignore_class: Label of the pixels that do not count.
        """
        self.num_classes, self.ratio, self.ignore_class = num_classes, ratio, ignore_class
        self.counts = np.zeros((3, num_classes), "int64")  # by label, by prediction, by both
        self.labelled = np.zeros(num_classes, bool)

    def update(self, label_map: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one image; arguments as `ConfusionMatrix.update`, which checks them."""
        ignored = np.asarray(label_map) == self.ignore_class
        distance = max(1, round(self.ratio * math.hypot(*ignored.shape)))
        labels, predictions = (np.asarray(a, "int16") for a in (label_map, prediction))
        true, found = (_near_contour(a, ignored, distance) for a in (labels, predictions))
        for count, ids, chosen in (
            (self.counts[0], labels, true),
            (self.counts[1], predictions, found),
            (self.counts[2], labels, true & found & (labels == predictions)),
        ):
            count += np.bincount(ids[chosen], minlength=self.num_classes)
        self.labelled |= np.bincount(labels[~ignored], minlength=self.num_classes) > 0

    def iou_per_class(self, names: tuple[str, ...]) -> dict[str, float | None]:
        """Returns class name to boundary IoU, 0..1; None for classes without a contour to score."""
        by_label, by_prediction, both = self.counts
        union = by_label + by_prediction - both
        return {
            name: float(both[i] / union[i]) if self.labelled[i] and union[i] else None
            for i, name in enumerate(names)
        }


def _near_contour(labels: np.ndarray, ignored: np.ndarray, distance: int) -> np.ndarray:
    """Returns where another class, or the end of the image, is within a distance.

    That is what erosions of each class's mask with a square of 3 x 3 pixels leave out.
    """
    highest = highest_around(np.where(ignored, -1, labels), distance)
    lowest = -highest_around(np.where(ignored, np.iinfo("int16").min, -labels), distance)
    near = highest != lowest
    for edge in (near[:distance], near[-distance:], near[:, :distance], near[:, -distance:]):
        edge[...] = True
    return near & ~ignored


def highest_around(values: np.ndarray, distance: int) -> np.ndarray:
    """Returns the maximum over the square of 2 * distance + 1 pixels around each pixel."""
    for axis in (0, 1):
        pad = [(distance, distance) if axis == along else (0, 0) for along in (0, 1)]
        padded = np.pad(values, pad, mode="edge")
        size, reach = 2 * distance + 1, 1
        while reach < size:  # maxima over 1, 2, 4, ... pixels, then over the rest
            step = min(reach, size - reach)
            before = (slice(None),) * axis
            ahead, kept = padded[(*before, slice(step, None))], padded[(*before, slice(-step))]
            padded, reach = np.maximum(kept, ahead), reach + step
        values = padded
    return values


class Calibration:
    """Whether pixels that a model is 80 % sure of are right in 80 % of the cases."""

    def __init__(self, bins: int = 15):
        """Starts from zero.

        Args:
            bins: Ranges of equal width into which confidences are sorted.
        """
        # Pixels, those that are right, and the sum of their confidences, by range.
        self.pixels, self.right = (np.zeros(bins, "int64") for _ in range(2))
        self.confidence = np.zeros(bins)

    def update(
        self, label_map: np.ndarray, probabilities: np.ndarray, ignore_class: int = IGNORE_CLASS
    ) -> None:
        """Adds one image.

        Args:
            label_map: True classes, integers (H, W).
            probabilities: Of the classes, 0..1, (H, W, num_classes).
            ignore_class: Label of the pixels that do not count.
        """
        valid = label_map != ignore_class
        found, labels = probabilities[valid], label_map[valid]
        confidence, bins = found.max(-1), len(self.pixels)
        # A confidence on the border of two ranges belongs to the lower one.
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        self.pixels += np.bincount(place, minlength=bins)
        self.right += np.bincount(place[found.argmax(-1) == labels], minlength=bins)
        self.confidence += np.bincount(place, confidence, bins)

    def error(self) -> float:
        """Returns the expected calibration error, 0..1: the mean of |right - sure| over pixels."""
        return float(np.abs(self.right - self.confidence).sum() / max(1, self.pixels.sum()))


def probabilities_of(scores: np.ndarray) -> np.ndarray | None:
    """Returns the probabilities of what a model or a file gives.

    Args:
        scores: Logits or probabilities (H, W, num_classes), or 1 for one class and 0 for the
            others, as from a file that gives a class map.

    Returns:
        Probabilities, float32 (H, W, num_classes), or None for a class map, which has none.
    """
    scores = np.asarray(scores, "float32")
    # The shares of an int8 file are each rounded to 1/256, and add up to less or more.
    off = max(0.05, scores.shape[-1] / 512)
    sums = np.abs(scores.sum(-1) - 1).max() < off
    shares = scores.min() >= 0 and scores.max() <= 1 and sums
    # In int8 the largest share is 255/256; resizing blurs edges alone.
    if shares and ((scores.max(-1) == 1) & (np.count_nonzero(scores, -1) == 1)).mean() > 0.5:
        return None
    if shares:
        return scores
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)
