"""The objects of an image."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from kseg.instances.grouping import Groups
from kseg.polygons import Region, Ring, find_regions


class Box(NamedTuple):
    """The pixels from column x and row y on, as COCO has boxes."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Object:
    """An object.

    Attributes:
        id: Its number in the id map.
        class_id: Its class.
        score: How sure it is, 0..1.
        box: (x, y, width, height) in pixels.
        area: How many pixels it has.
        mask: Which pixels of the box are of the object, bool (height, width).
    """

    id: int
    class_id: int
    score: float
    box: Box
    area: int
    mask: np.ndarray = field(repr=False)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Its pieces with their holes, the largest first; nearly always one."""
        pieces = find_regions(np.where(self.mask, 0, 255).astype("uint8"), 1)
        pieces.sort(key=lambda piece: -piece.pixels)
        x, y = self.box.x, self.box.y
        return tuple(piece.moved(x, y)._replace(class_id=self.class_id) for piece in pieces)

    @property
    def polygon(self) -> Ring:
        """Corners (x, y) of the outline of its largest piece, along the edges of pixels."""
        return self.regions[0].outline


@dataclass(frozen=True, eq=False)
class Instances:
    """What an image shows, with the objects told apart.

    Attributes:
        label_map: Class of each pixel, uint8 (H, W).
        ids: Object of each pixel, uint16 (H, W); 0 for none.
        objects: The objects 1..n, the best score first.
    """

    label_map: np.ndarray
    ids: np.ndarray
    objects: tuple[Object, ...]


def instances_of(groups: Groups) -> Instances:
    """Returns the objects that arrays hold.

    Args:
        groups: Label map, ids from 1 to n, and the class and the score of each object.
    """
    y, x = np.nonzero(groups.ids)
    order = np.argsort(groups.ids[y, x], kind="stable")
    y, x = y[order], x[order]
    areas = np.bincount(groups.ids.ravel(), minlength=len(groups.scores) + 1)[1:]
    starts = np.cumsum(areas) - areas
    objects = []
    for number, (start, area) in enumerate(zip(starts.tolist(), areas.tolist(), strict=True)):
        rows, columns = y[start : start + area], x[start : start + area]
        top, left = int(rows[0]), int(columns.min())
        box = Box(left, top, int(columns.max()) - left + 1, int(rows[-1]) - top + 1)
        mask = np.zeros((box.height, box.width), bool)
        mask[rows - top, columns - left] = True
        class_id, score = int(groups.class_ids[number]), float(groups.scores[number])
        objects.append(Object(number + 1, class_id, score, box, area, mask))
    return Instances(groups.label_map, groups.ids, tuple(objects))
