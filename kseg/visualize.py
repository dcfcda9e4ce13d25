"""Label maps as images in the colours of their classes."""

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw

from kseg.classes import Classes

_GAP, _TITLE, _SWATCH = 6, 18, 12  # pixels
_STRIPES = 8  # pixels from a stripe of the hatching to the next


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


def legend(classes: Classes, width: int, ids: Collection[int] | None = None) -> Image.Image:
    """Returns the names of classes beside their colours, in lines.

    Args:
        classes: The classes.
        width: Width of the legend in pixels.
        ids: The ids that are named, the ignored one too if it is among them; None names all
            classes.

    Returns:
        An RGB image, on white.
    """
    ids = range(classes.num_classes) if ids is None else sorted(ids)
    names = [classes.names[i] if i < classes.num_classes else "ignored" for i in ids]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength
    places: list[tuple[int, int]] = []
    left = top = _GAP
    for name in names:
        taken = _SWATCH + _GAP + round(measure(name)) + 2 * _GAP
        if left > _GAP and left + taken > width:
            left, top = _GAP, top + _TITLE
        places.append((left, top))
        left += taken
    drawn = Image.new("RGB", (width, top + _TITLE), "white")
    draw = ImageDraw.Draw(drawn)
    for (left, top), name, index in zip(places, names, ids, strict=True):
        swatch = np.full((_SWATCH, _SWATCH), index)
        known = index < classes.num_classes
        colors = colorize(swatch, classes) if known else _hatching(swatch)
        drawn.paste(Image.fromarray(colors), (left, top))
        box = (left, top, left + _SWATCH - 1, top + _SWATCH - 1)
        draw.rectangle(box, outline="gray")  # a white class has an edge too
        draw.text((left + _SWATCH + _GAP, top), name, fill="black")
    return drawn


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


def _hatching(labels: np.ndarray) -> np.ndarray:
    """Returns black and white diagonal stripes, uint8 (H, W, 3)."""
    down, right = np.ogrid[: labels.shape[0], : labels.shape[1]]
    white = (down + right) // (_STRIPES // 2) % 2
    return np.repeat(white[..., None] * 255, 3, axis=2).astype("uint8")
