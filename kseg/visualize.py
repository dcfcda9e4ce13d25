"""Label maps as images in the colours of their classes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from kseg.classes import Classes


def colorize(labels: np.ndarray, classes: Classes) -> np.ndarray:
    """Returns a label map in the colours of its classes.

    Args:
        labels: The label map, integers (H, W), 0..255.
        classes: The classes. Ids that are not a class, such as the ignored one, become black.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    return np.array(classes.palette(), "uint8").reshape(256, 3)[np.asarray(labels)]


def overlay(
    image: np.ndarray, labels: np.ndarray, classes: Classes, opacity: float = 0.5
) -> np.ndarray:
    """Returns an image with the colours of its classes laid over it.

    Args:
        image: The image (H, W, channels), 0..255. A gray one is drawn as it is; of more than
            three channels, the first three are drawn.
        labels: The label map, integers (H, W).
        classes: The classes, which have the colours.
        opacity: Share of the colours in the result, 0..1.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    mixed = (1 - opacity) * _rgb(image) + opacity * colorize(labels, classes)
    return np.clip(np.rint(mixed), 0, 255).astype("uint8")


def panel(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], width: int) -> Image.Image:
    """Sets images side by side, in rows, with a title over each column.

    Args:
        rows: Images, uint8 (H, W, channels), in rows with an image for each title.
        titles: Titles of the columns.
        width: Width of a column in pixels. The height of a row is that of its first image.

    Returns:
        All of them as one RGB image, on white.
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
        for column, image in enumerate(row):
            resized = Image.fromarray(_rgb(image)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
            sheet.paste(resized, (gap + column * (width + gap), top))
        top += height + gap
    return sheet


def _rgb(image: np.ndarray) -> np.ndarray:
    """Returns an image of any number of channels as (H, W, 3)."""
    image = np.asarray(image)
    channels = image.shape[2]
    return image[:, :, :3] if channels >= 3 else np.repeat(image[:, :, :1], 3, axis=2)
