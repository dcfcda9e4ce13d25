"""Regions of a label map as polygons along the edges of pixels.

A region is what hangs together of one class by the sides of its pixels. Its outline runs along
pixel edges, so corners are whole numbers: (0, 0) is the top left corner of the image, x goes to
the right and y down, and the pixel in column 3 and row 5 is the square from (3, 5) to (4, 6).
Filling the polygons gives the label map back to the pixel.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kseg.classes import Classes

Ring = list[tuple[int, int]]


class Region(NamedTuple):
    """What hangs together of one class.

    Attributes:
        class_id: The class.
        outline: Corners (x, y) of its outer edge, clockwise as seen; the first is not repeated.
        holes: Corners of the edges of its holes, counter-clockwise.
    """

    class_id: int
    outline: Ring
    holes: list[Ring]

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return sum(_area(ring) for ring in (self.outline, *self.holes))

    def moved(self, right: int, down: int) -> "Region":
        """Returns the region that many pixels further to the right and down."""
        outline, *holes = (
            [(x + right, y + down) for x, y in ring] for ring in (self.outline, *self.holes)
        )
        return self._replace(outline=outline, holes=holes)


def find_regions(labels: np.ndarray, num_classes: int) -> list[Region]:
    """Returns the regions of a label map, class by class.

    Args:
        labels: The label map, uint8 (H, W).
        num_classes: Ids from here on, such as the ignored one, have no regions.
    """
    found: list[Region] = []
    for class_id in [i for i in np.unique(labels).tolist() if i < num_classes]:
        mask = labels == class_id
        top, bottom = _extent(mask.any(1))
        left, right = _extent(mask.any(0))
        rings = _rings(mask[top:bottom, left:right])
        outlines = [number for number, ring in enumerate(rings) if _area(ring) > 0]
        parts = {number: Region(int(class_id), rings[number], []) for number in outlines}
        for hole, outline in _owners(rings).items():
            parts[outline].holes.append(rings[hole])
        found += [region.moved(left, top) for region in parts.values()]
    return found


def geojson(regions: Sequence[Region], classes: Classes) -> dict[str, Any]:
    """Returns regions as a GeoJSON FeatureCollection in pixel coordinates, y down.

    Each is a Polygon, its holes as interior rings, with the properties `class_id`, `class` and
    `pixels`.
    """
    features = [feature([region], classes) for region in regions]
    return {"type": "FeatureCollection", "features": features}


def feature(pieces: Sequence[Region], classes: Classes, **more: Any) -> dict[str, Any]:
    """Returns what is of one class as a GeoJSON feature, a MultiPolygon if it is in pieces.

    Args:
        pieces: One or more regions.
        classes: The classes.
        **more: Properties beside `class_id`, `class` and `pixels`.
    """
    polygons = [
        [[list(point) for point in (*ring, ring[0])] for ring in (piece.outline, *piece.holes)]
        for piece in pieces
    ]
    several = len(polygons) > 1
    return {
        "type": "Feature",
        "properties": {
            "class_id": pieces[0].class_id,
            "class": classes.names[pieces[0].class_id],
            "pixels": sum(piece.pixels for piece in pieces),
            **more,
        },
        "geometry": {
            "type": "MultiPolygon" if several else "Polygon",
            "coordinates": polygons if several else polygons[0],
        },
    }


def coco(
    regions: Sequence[Region], classes: Classes, name: str, size: tuple[int, int]
) -> dict[str, Any]:
    """Returns regions in COCO's format, with a category for each class: its id plus 1.

    Args:
        regions: Of one image.
        classes: The classes.
        name: The image's file name.
        size: (height, width) of the image.
    """
    found = [annotation(n, [region], size) for n, region in enumerate(regions, start=1)]
    return coco_file(found, classes, name, size)


def annotation(
    number: int, pieces: Sequence[Region], size: tuple[int, int], **more: Any
) -> dict[str, Any]:
    """Returns what is of one class as an annotation of COCO.

    Pieces without holes are polygons. With holes they are run lengths, because COCO's polygons
    have none; pycocotools reads both.

    Args:
        number: The annotation's id.
        pieces: One or more regions.
        size: (height, width) of the image.
        **more: Entries beside COCO's.
    """
    corners = np.concatenate([piece.outline for piece in pieces])
    low, high = corners.min(0).tolist(), corners.max(0).tolist()
    outlines: Any = [np.ravel(piece.outline).tolist() for piece in pieces]
    holes = any(piece.holes for piece in pieces)
    return {
        "id": number,
        "image_id": 1,
        "category_id": pieces[0].class_id + 1,
        "segmentation": _run_lengths(pieces, size) if holes else outlines,
        "area": sum(piece.pixels for piece in pieces),
        "bbox": [*low, high[0] - low[0], high[1] - low[1]],
        "iscrowd": 0,
        **more,
    }


def coco_file(
    annotations: Sequence[dict[str, Any]], classes: Classes, name: str, size: tuple[int, int]
) -> dict[str, Any]:
    """Returns the annotations of one image as COCO's file; arguments as `coco`."""
    return {
        "images": [{"id": 1, "file_name": name, "height": size[0], "width": size[1]}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes.names, start=1)],
        "annotations": list(annotations),
    }


def _extent(filled: np.ndarray) -> tuple[int, int]:
    """Returns the first place that is filled and the one after the last."""
    return int(filled.argmax()), len(filled) - int(filled[::-1].argmax())


def _rings(mask: np.ndarray) -> list[Ring]:
    """Returns the edges of a mask as rings of corners, with the mask on the right hand."""
    padded = np.pad(mask, 1)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    once = a ^ b ^ c ^ d  # a corner: edges end here in one direction of each axis
    twice = (a == d) & (b == c) & (a != b)  # two pixels touch at a point: each has its corner
    y, x = np.nonzero(once | twice)
    up_right, down_left, down_right = (part[y, x] for part in (b, c, d))
    saddle = twice[y, x]
    to_right = (up_right != down_right) & ~saddle
    to_bottom = (down_left != down_right) & ~saddle
    # Of two corners in one place, the right one goes down or up with its own pixel.
    to_right = np.concatenate([to_right, np.ones(saddle.sum(), bool)])
    to_bottom = np.concatenate([np.where(saddle, down_left, to_bottom), down_right[saddle]])
    pixel_below = np.concatenate([down_right, down_right[saddle]])
    x, y = np.concatenate([x, x[saddle]]), np.concatenate([y, y[saddle]])
    beside, below = _partners(y, x, to_right), _partners(x, y, to_bottom)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    seen, rings = np.zeros(len(points), bool), []
    for start in np.flatnonzero(to_right & pixel_below).tolist():
        ring, corner = [], start
        while not seen[corner]:
            for partner in (beside, below):
                seen[corner] = True
                ring.append(points[corner])
                corner = partner[corner]
        if ring:
            rings += _parted(ring)
    return rings


def _partners(line: np.ndarray, place: np.ndarray, onward: np.ndarray) -> list[int]:
    """Returns for each corner the one at the other end of its edge along a line."""
    order = np.lexsort((onward, place, line))
    partners = np.empty(len(order), int)
    partners[order[::2]], partners[order[1::2]] = order[1::2], order[::2]
    return partners.tolist()


def _parted(ring: Ring) -> list[Ring]:
    """Parts a ring that touches itself in points into rings that do not."""
    parts: list[Ring] = []
    path: Ring = []
    places: dict[tuple[int, int], int] = {}
    for point in ring:
        if point in places:
            start = places[point]
            parts.append(path[start:])
            for passed in path[start:]:
                del places[passed]
            del path[start:]
        places[point] = len(path)
        path.append(point)
    return [*parts, path]


def _owners(rings: Sequence[Ring]) -> dict[int, int]:
    """Returns for each hole its region's outline, both as places in the list.

    To the left of the pixel above a hole's top left corner, the region goes on up to an edge, of
    its outline or of a hole that is further left.
    """
    holes = [number for number, ring in enumerate(rings) if _area(ring) < 0]
    if not holes:
        return {}
    span = 1 + max(x for ring in rings for x, _ in ring)
    keys, owner = [], []
    for number, ring in enumerate(rings):
        for (x, y), (_, end) in _edges(ring, axis=0):
            rows = np.arange(min(y, end), max(y, end))
            keys.append(rows * span + x)
            owner.append(np.full(len(rows), number))
    places, numbers = np.concatenate(keys), np.concatenate(owner)
    order = np.argsort(places)
    places, numbers = places[order], numbers[order]
    owners: dict[int, int] = {}
    for hole in sorted(holes, key=lambda number: _top_left(rings[number])[::-1]):
        y, x = _top_left(rings[hole])
        nearest = int(numbers[np.searchsorted(places, (y - 1) * span + x, side="right") - 1])
        owners[hole] = nearest
    for hole in holes:
        while owners[hole] in owners:
            owners[hole] = owners[owners[hole]]
    return owners


def _edges(ring: Ring, axis: int):
    """Yields the two ends of the edges that run along one coordinate."""
    return (
        (point, other)
        for point, other in zip(ring, (*ring[1:], ring[0]), strict=True)
        if point[axis] == other[axis]
    )


def _top_left(ring: Ring) -> tuple[int, int]:
    return min((y, x) for x, y in ring)


def _area(ring: Ring) -> int:
    """Returns the pixels within a ring, below 0 if it is counter-clockwise as seen."""
    x, y = np.array(ring).T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) // 2


def _run_lengths(pieces: Sequence[Region], size: tuple[int, int]) -> dict[str, Any]:
    """Returns regions as COCO's uncompressed run lengths, column after column."""
    keys = [
        np.arange(min(x, end), max(x, end)) * size[0] + y
        for piece in pieces
        for ring in (piece.outline, *piece.holes)
        for (x, y), (end, _) in _edges(ring, axis=1)
    ]
    turns, counts = np.unique(np.concatenate(keys), return_counts=True)
    turns = turns[counts % 2 == 1]  # a run that goes on in the next column has no end here
    lengths = np.diff(np.concatenate([[0], turns, [size[0] * size[1]]]))
    return {"size": list(size), "counts": lengths.tolist()}
