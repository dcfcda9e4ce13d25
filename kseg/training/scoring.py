"""How well a network that is in training does, as columns of its history."""

from typing import Any

import keras

from kseg.data import Data
from kseg.instances import evaluate_instances, tells_objects_apart
from kseg.metrics import Scores
from kseg.training.evaluation import evaluate


def score_columns(
    model: keras.Model, data: Data, size: tuple[int, int] | None
) -> dict[str, float | None]:
    """Scores a model on the validation images.

    Args:
        model: The network.
        data: The data set.
        size: Working size.

    Returns:
        "mean_iou", "pixel_accuracy" and "iou NAME" of each class. Of a network that tells objects
        apart, "pq" (panoptic quality), "mean_iou", "ap", "pixel_accuracy" (None) and "pq NAME".
    """
    if not tells_objects_apart(model):
        return _columns(evaluate(model, data, size=size))
    found = evaluate_instances(model, data, size=size)
    whole = {"pq": found.pq, "mean_iou": found.mean_iou, "ap": found.ap, "pixel_accuracy": None}
    each = found.per_class.items()
    return whole | {f"pq {name}": None if quality is None else quality.pq for name, quality in each}


def score_of(row: dict[str, Any]) -> float | None:
    """Returns the score by which a row of a history, or a checkpoint, is the better one.

    It is the panoptic quality where objects are told apart, else the mean IoU; None where nothing
    was evaluated.
    """
    return row["mean_iou"] if row.get("pq") is None else row["pq"]


def _columns(scores: Scores) -> dict[str, float | None]:
    columns: dict[str, float | None] = {
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
    }
    return columns | {f"iou {name}": iou for name, iou in scores.iou_per_class.items()}
