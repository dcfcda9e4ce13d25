"""The two pictures of a run folder."""

import io
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from kseg.data import Data
from kseg.inference import predict
from kseg.training.writing import write_atomically
from kseg.visualize import colorize, overlay, panel

_PREVIEWED = 3


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
    epochs = [row["epoch"] for row in history]
    lines = left.plot(epochs, [row["loss"] for row in history], label="training loss")
    lines += right.plot(
        [row["epoch"] for row in scored],
        [row["mean_iou"] for row in scored],
        color="tab:orange",
        label="val mean IoU",
    )
    left.set(xlabel="epoch", ylabel="loss")
    right.set(ylabel="mean IoU")
    left.legend(handles=lines, loc="center right")
    _save(figure, path)


def write_preview(path: Path, model: keras.Model, data: Data, size: tuple[int, int] | None) -> None:
    """Draws some validation images with their truth and the prediction.

    Args:
        path: The PNG.
        model: Trained.
        data: Has the split "val".
        size: Working size.
    """
    pairs = data.files("val")
    rows = []
    for index in np.linspace(0, len(pairs) - 1, min(_PREVIEWED, len(pairs))).astype(int):
        image, truth = data.read(pairs[index])
        labels = predict(model, image, size=size)
        rows.append([image, colorize(truth, data.classes), overlay(image, labels, data.classes)])
    content = io.BytesIO()
    panel(rows, ("image", "truth", "prediction"), 320).save(content, "PNG")
    write_atomically(path, content.getvalue())


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())
