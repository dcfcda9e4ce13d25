"""Label maps as pictures."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from kseg.classes import Classes


def colorize(labels: np.ndarray, classes: Classes) -> np.ndarray:
    """Returns a label map in the colours of its classes.

    Args:
        labels: Integers (H, W), 0..255.
        classes: The colours; ids without a class, such as the ignored one, are black.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    return np.array(classes.palette(), "uint8").reshape(256, 3)[np.asarray(labels)]


def overlay(
    image: np.ndarray, labels: np.ndarray, classes: Classes, opacity: float = 0.5
) -> np.ndarray:
    """Returns an image with the colours of its classes laid over it.

    Args:
        image: RGB, 0..255, (H, W, 3).
        labels: Integers (H, W).
        classes: The colours.
        opacity: Of the colours, 0..1.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    mixed = (1 - opacity) * np.asarray(image) + opacity * colorize(labels, classes)
    return np.clip(np.rint(mixed), 0, 255).astype("uint8")


def panel(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], width: int) -> Image.Image:
    """Sets pictures side by side, in rows, with a title over each column.

    Args:
        rows: Pictures, uint8 (H, W, 3); each row as long as titles.
        titles: Of the columns.
        width: Of a column in pixels; heights follow each row's first picture.

    Returns:
        The panel, RGB, on white.
    """
    gap, title_height = 6, 18
    heights = [round(row[0].shape[0] * width / row[0].shape[1]) for row in rows]
    size = (
        len(titles) * (width + gap) + gap,
        sum(heights) + len(rows) * gap + gap + title_height,
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((gap + column * (width + gap), gap), title, fill="black")
    top = title_height + gap
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
            sheet.paste(resized, (gap + column * (width + gap), top))
        top += height + gap
    return sheet
