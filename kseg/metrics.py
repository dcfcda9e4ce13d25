"""Scores of a segmentation, from one confusion matrix over a whole data set."""

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
