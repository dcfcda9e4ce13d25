"""The two pictures of a run folder."""

import io
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kseg.data import Data
from kseg.inference import predict
from kseg.training.outputs import semantic_part
from kseg.training.writing import write_atomically
from kseg.visualize import comparison

_PREVIEWED = 3
_MARKED = 20  # a line of more epochs needs no markers


def write_curves(path: Path, history: list[dict]) -> None:
    """Draws loss and mean IoU over the epochs.

    Args:
        path: The PNG.
        history: Rows with "epoch", "loss" and "mean_iou" (None where not evaluated).
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    scored = [row for row in history if row["mean_iou"] is not None]
    lines = []
    for axes, rows, key, label, color in (
        (left, history, "loss", "training loss", "tab:blue"),
        (right, scored, "mean_iou", "val mean IoU", "tab:orange"),
    ):
        marker = "o" if len(rows) <= _MARKED else None
        epochs, values = [row["epoch"] for row in rows], [row[key] for row in rows]
        lines += axes.plot(epochs, values, color=color, label=label, marker=marker, markersize=4)
    left.set(xlabel="epoch", ylabel="loss")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(ylabel="mean IoU")
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
    pairs, model = data.files("val"), semantic_part(model)
    rows = []
    for index in np.linspace(0, len(pairs) - 1, min(_PREVIEWED, len(pairs))).astype(int):
        image, truth = data.read(pairs[index])
        rows.append([image, truth, predict(model, image, size=size)])
    content = io.BytesIO()
    titles = ("image", "truth", "prediction")
    comparison(rows, titles, data.classes, 320).save(content, "PNG")
    write_atomically(path, content.getvalue())
