"""Objects drawn over their image: a colour, an outline and a number for each."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kseg.classes import Classes
from kseg.instances.objects import Instances, Object
from kseg.visualize import colorize, rgb

_OPACITY = 0.4  # of what is filled
_LETTERS = 11  # pixels
_LARGE = 900  # pixels; smaller images are enlarged, so that numbers find room
_MOST = 4  # times


def draw_instances(
    image: np.ndarray, instances: Instances, classes: Classes, *, scale: int | None = None
) -> np.ndarray:
    """Returns an image with its objects: a colour, an outline and the number of each.

    Args:
        image: The image (H, W, channels), 0..255.
        instances: Its objects. Where there is none, the colours of the classes are laid over it,
            but for the first class, which mostly is the background.
        classes: The classes, which have the colours.
        scale: How many times as large the result is; None enlarges small images up to 4 times.

    Returns:
        RGB, uint8 (H * scale, W * scale, 3).
    """
    height, width = instances.ids.shape
    if scale is None:
        scale = min(_MOST, max(1, _LARGE // max(height, width)))
    ids = instances.ids
    table = np.array([(0, 0, 0), *map(_color, range(int(ids.max(initial=0))))], "uint8")
    colors = np.where((ids > 0)[..., None], table[ids], colorize(instances.label_map, classes))
    shown = ((ids > 0) | (instances.label_map > 0))[..., None]
    mixed = np.where(shown, (1 - _OPACITY) * rgb(image) + _OPACITY * colors, rgb(image))
    mixed = np.clip(np.rint(mixed), 0, 255).astype("uint8")
    large, numbers = (x.repeat(scale, 0).repeat(scale, 1) for x in (mixed, ids))
    edges = _outlines(numbers)
    large[edges] = table[numbers[edges]]
    picture = Image.fromarray(large)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_LETTERS)
    for thing in instances.objects:
        x, y = _middle(thing)
        at = ((x + 0.5) * scale, (y + 0.5) * scale)
        text = str(thing.id)
        draw.text(at, text, "white", font, "mm", stroke_width=1, stroke_fill="black")
    return np.asarray(picture)


def _color(number: int) -> tuple[int, ...]:
    """Returns colours of which each is far from those before: hues a golden ratio apart."""
    hue = number * 0.618034 % 1
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.85, (1.0, 0.8)[number % 2]))


def _outlines(ids: np.ndarray) -> np.ndarray:
    """Returns the pixels of objects that have a pixel beside them that is not of the same one."""
    edges = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        along, edge = np.moveaxis(ids, axis, 0), np.moveaxis(edges, axis, 0)
        differ = along[1:] != along[:-1]
        edge[1:] |= differ
        edge[:-1] |= differ
    return edges & (ids > 0)


def _middle(thing: Object) -> tuple[int, int]:
    """Returns the pixel (x, y) of an object that is nearest to its centre of mass."""
    y, x = np.nonzero(thing.mask)
    nearest = int(((y - y.mean()) ** 2 + (x - x.mean()) ** 2).argmin())
    return thing.box.x + int(x[nearest]), thing.box.y + int(y[nearest])
