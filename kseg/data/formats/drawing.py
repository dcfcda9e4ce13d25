"""Labels that are shapes: polygons, runs or bitmaps, drawn into a label map when they are read."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from kseg.classes import IGNORE_CLASS

BACKGROUND = "background"
_FAR = 100
_RING = 64  # points of an ellipse


@dataclass(frozen=True)
class Shape:
    """One object, or one part of it.

    Attributes:
        name: The name of its class; None for a region that does not count.
        polygons: Outlines, each (x, y, x, y, ...) with at least three points, in pixels from the
            top left corner of the image; (0, 0) is the corner of the first pixel, not its centre.
        bitmap: Instead of polygons: the object's pixels, bool (h, w).
        corner: (top, left) of the bitmap in the image.
        group: What the parts of one object share; None for an object of one part.
        crowd: Whether it covers several objects that nobody told apart.
    """

    name: str | None
    polygons: tuple[tuple[float, ...], ...] = ()
    bitmap: np.ndarray | None = field(default=None, repr=False, compare=False)
    corner: tuple[int, int] = (0, 0)
    group: int | None = None
    crowd: bool = False


@dataclass(frozen=True)
class Drawing:
    """The labels of one image as shapes; later ones lie over earlier ones.

    Attributes:
        source: The file that the shapes come from.
        shapes: The shapes, in the order of that file.
        size: (height, width) of the image that they were drawn on; None where the file does not
            say.
        relative: Whether polygons go from 0 to 1 instead of from 0 to the image's sides.
    """

    source: Path
    shapes: tuple[Shape, ...] = field(repr=False, hash=False)
    size: tuple[int, int] | None = None
    relative: bool = False

    def draw(self, size: tuple[int, int], ids: Mapping[str, int]) -> np.ndarray:
        """Returns the label map.

        Args:
            size: (height, width) of the image in pixels.
            ids: The id of each class by its name. What no shape covers gets the id of
                "background", or is ignored where there is no such class.

        Returns:
            Ids, uint8 or uint16 (height, width); IGNORE_CLASS where nothing counts.

        Raises:
            ValueError: If the image has another size than the shapes were drawn on, a shape has
                a class without an id, or lies outside the image.
        """
        if self.size is not None and self.size != size:
            raise ValueError(
                f"{self.source}: it was drawn on an image of {self.size[1]} x {self.size[0]} "
                f"pixels, and the image is {size[1]} x {size[0]}; label the image that is there."
            )
        kind = "uint8" if max(ids.values(), default=0) < 256 else "uint16"
        labels = np.full(size, ids.get(BACKGROUND, IGNORE_CLASS), kind)
        for shape in self.shapes:
            if shape.name is not None and shape.name not in ids:
                raise ValueError(
                    f"{self.source}: it has shapes of the class {shape.name!r}, which names does "
                    "not list; add it to names."
                )
            value = IGNORE_CLASS if shape.name is None else ids[shape.name]
            for window, mask in self._covered(shape, size):
                labels[window][mask] = value
        return labels

    def number(self, size: tuple[int, int], things: Container[str]) -> tuple[np.ndarray, int]:
        """Returns which object each pixel is of.

        Args:
            size: (height, width) of the image in pixels.
            things: Names of the classes whose objects are told apart.

        Returns:
            Numbers, int32 (height, width), in the order of the shapes; 0 for none. And the pixels
            that several objects cover, of which the last one has them.
        """
        numbers = np.zeros(size, "int32")
        overlap = 0
        groups: dict[tuple[str | None, int], int] = {}
        for number, shape in enumerate(self.shapes, start=1):
            if shape.group is not None:
                number = groups.setdefault((shape.name, shape.group), number)
            thing = shape.name in things and not shape.crowd
            for window, mask in self._covered(shape, size):
                before = numbers[window][mask]
                overlap += int(np.count_nonzero(before[before != number])) if thing else 0
                numbers[window][mask] = number if thing else 0
        return numbers, overlap

    def _covered(
        self, shape: Shape, size: tuple[int, int]
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Yields windows of the image and which of their pixels a shape covers."""
        if shape.polygons:
            yield (slice(None), slice(None)), self._filled(shape.polygons, size)
        if shape.bitmap is not None:
            bitmap = np.asarray(shape.bitmap)
            (top, left), (height, width) = shape.corner, bitmap.shape
            if min(top, left) < 0 or top + height > size[0] or left + width > size[1]:
                raise ValueError(
                    f"{self.source}: a mask of {width} x {height} pixels at ({left}, {top}) "
                    f"reaches out of the image of {size[1]} x {size[0]}."
                )
            yield (slice(top, top + height), slice(left, left + width)), bitmap

    def _filled(self, polygons: tuple[tuple[float, ...], ...], size: tuple[int, int]) -> np.ndarray:
        scale = (size[1], size[0]) if self.relative else (1, 1)
        flat = [(np.reshape(p, (-1, 2)) * scale).ravel().tolist() for p in polygons]
        far = _FAR * max(size)
        if any(not -far <= value <= far for polygon in flat for value in polygon):
            raise ValueError(  # pycocotools would write beyond its memory
                f"{self.source}: a polygon reaches more than {_FAR} times the image's size beyond "
                "it; mend its points."
            )
        runs = coco_mask.merge(coco_mask.frPyObjects(flat, *size))
        return coco_mask.decode(runs).astype(bool)


@dataclass(frozen=True)
class Annotated:
    """What annotation files say of a folder of images.

    Attributes:
        names: The classes in the order of their ids, the background first.
        drawings: Image file to its shapes, in the order of the annotations.
        missing: Images that are annotated but not there.
        colors: Name to (red, green, blue) where the file gives colours.
        subsets: Image file to words of the annotations that may name its split, the nearest first:
            CVAT's `subset`, and the folders of the image's name.
    """

    names: tuple[str, ...]
    drawings: dict[Path, Drawing]
    missing: tuple[str, ...] = ()
    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    subsets: dict[Path, tuple[str, ...]] = field(default_factory=dict)


def with_background(names: list[str]) -> tuple[str, ...]:
    """Returns names with the background as their first, wherever it was."""
    return (BACKGROUND, *(name for name in dict.fromkeys(names) if name != BACKGROUND))


def outline(points: object, where: str) -> tuple[float, ...]:
    """Returns (x, y, x, y, ...) from points as any of the formats has them.

    Args:
        points: A list of pairs or a flat list of numbers.
        where: What a sentence of refusal begins with.

    Raises:
        ValueError: If they are not at least three points of finite numbers.
    """
    try:
        flat = np.asarray(points, "float64").ravel()
    except (TypeError, ValueError):
        flat = np.empty(0)
    if flat.size < 6 or flat.size % 2 or not np.isfinite(flat).all():
        raise ValueError(
            f"{where}: a polygon must be at least three points (x, y) of finite numbers; got "
            f"{str(points)[:80]}."
        )
    return tuple(flat.tolist())


def ellipse(x: float, y: float, across: float, down: float) -> tuple[float, ...]:
    """Returns the outline of an ellipse from its centre and its two radii."""
    angles = np.linspace(0, 2 * np.pi, _RING, endpoint=False)
    ring = np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], 1)
    return tuple(ring.ravel().tolist())


def turned(
    outline: tuple[float, ...], degrees: float, about: tuple[float, float]
) -> tuple[float, ...]:
    """Returns an outline turned clockwise about a point (x, y); all in pixels."""
    angle = np.deg2rad(degrees)
    matrix = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    points = (np.reshape(outline, (-1, 2)) - about) @ matrix + about
    return tuple(points.ravel().tolist())


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
    """Returns the outline of a rectangle."""
    return (left, top, right, top, right, bottom, left, bottom)
