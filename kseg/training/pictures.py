"""The two pictures of a run folder."""

import io
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kseg.data import Data
from kseg.data.lists import Pair
from kseg.inference import predict
from kseg.instances import (
    Groups,
    draw_instances,
    instances_of,
    predict_instances,
    tells_objects_apart,
)
from kseg.training.writing import write_atomically
from kseg.visualize import comparison, panel

_PREVIEWED = 3
_WIDTH = 320  # of a picture, in pixels
_MARKED = 20  # a line of more epochs needs no markers


def write_curves(path: Path, history: list[dict], row: str = "epoch") -> None:
    """Draws loss and mean IoU over the epochs, or panoptic quality where it is the score.

    Args:
        path: The PNG.
        history: Rows with "epoch", "loss" and "mean_iou" (None where not evaluated).
        row: What a row is: an "epoch", or a "part" of a training by minutes.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    scored = [row for row in history if row["mean_iou"] is not None]
    objects = any(row.get("pq") is not None for row in scored)
    key, name = ("pq", "panoptic quality") if objects else ("mean_iou", "mean IoU")
    lines = []
    for axes, rows, column, label, color in (
        (left, history, "loss", "training loss", "tab:blue"),
        (right, scored, key, f"val {name}", "tab:orange"),
    ):
        marker = "o" if len(rows) <= _MARKED else None
        epochs, values = [row["epoch"] for row in rows], [row[column] for row in rows]
        lines += axes.plot(epochs, values, color=color, label=label, marker=marker, markersize=4)
    left.set(xlabel=row, ylabel="loss")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(ylabel=name)
    figure.legend(handles=lines, loc="outside upper center", ncols=2)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())


def write_preview(path: Path, model: keras.Model, data: Data, size: tuple[int, int] | None) -> None:
    """Draws some validation images with their truth and the prediction.

    Args:
        path: The PNG.
        model: Trained.
        data: Has the split "val".
        size: Working size.
    """
    pairs = data.files("val")
    picks = np.linspace(0, len(pairs) - 1, min(_PREVIEWED, len(pairs))).astype(int)
    content, titles = io.BytesIO(), ("image", "truth", "prediction")
    if tells_objects_apart(model):
        sheet = panel([_objects(model, data, pairs[i], size) for i in picks], titles, _WIDTH)
    else:
        read = [data.read(pairs[index]) for index in picks]
        rows = [[image, truth, predict(model, image, size=size)] for image, truth in read]
        sheet = comparison(rows, titles, data.classes, _WIDTH)
    sheet.save(content, "PNG")
    write_atomically(path, content.getvalue())


def _objects(
    model: keras.Model, data: Data, pair: Pair, size: tuple[int, int] | None
) -> list[np.ndarray]:
    """Returns an image, with its true objects, and with those that a model finds."""
    image, label_map, ids = data.read_instances(pair)
    present, first = np.unique(ids, return_index=True)
    class_ids = label_map.ravel()[first[present > 0]]
    scores = np.ones(len(class_ids), "float32")
    truth = instances_of(Groups(label_map, ids.astype("uint16"), class_ids, scores))
    found = predict_instances(model, image, things=data.things, size=size)
    return [image, *(draw_instances(image, one, data.classes) for one in (truth, found))]
