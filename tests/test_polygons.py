import itertools
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from skimage.measure import label as connected

from kseg.classes import Classes
from kseg.polygons import coco, find_regions, geojson

CLASSES = Classes(("ground", "red", "blue"))


def _blobs(seed, size=(37, 53)):
    """A random label map with regions in regions, holes, and pixels that touch at corners."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (size[0] // (1 + seed % 3) + 1, size[1] // (1 + seed % 3) + 1))
    full = coarse.repeat(1 + seed % 3, 0).repeat(1 + seed % 3, 1)[: size[0], : size[1]]
    full[5:20, 8:30] = 0
    full[9:14, 12:20] = 1
    full[11, 15] = 255 if seed % 2 else 0
    return full.astype("uint8")


def _by_pycocotools(record, tmp_path, size):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(record))
    found = COCO(path)
    drawn = np.full(size, 255, "uint8")
    for annotation in found.loadAnns(found.getAnnIds()):
        mask = found.annToMask(annotation).astype(bool)
        assert mask.sum() == annotation["area"]
        assert (drawn[mask] == 255).all()
        drawn[mask] = annotation["category_id"] - 1
    return drawn


def _inside(rings, size):
    """Which pixel centres are within rings: an odd number of vertical edges to their left."""
    crossings = np.zeros((size[0], size[1] + 1), int)
    for ring in rings:
        for (x, y), (x2, y2) in itertools.pairwise(ring):
            assert (x == x2) != (y == y2)
            if x == x2:
                crossings[min(y, y2) : max(y, y2), x] += 1
    return crossings.cumsum(1)[:, :-1] % 2 == 1


@pytest.mark.parametrize("seed", range(6))
def test_pycocotools_draws_the_label_map_back(seed, tmp_path, capsys):
    labels = _blobs(seed)
    record = coco(find_regions(labels, 3), CLASSES, "a.jpg", labels.shape)
    np.testing.assert_array_equal(_by_pycocotools(record, tmp_path, labels.shape), labels)
    for annotation in record["annotations"]:
        left, top, width, height = annotation["bbox"]
        box = labels[top : top + height, left : left + width]
        assert (box == annotation["category_id"] - 1).any()


@pytest.mark.parametrize("seed", range(6))
def test_geojson_has_a_polygon_for_each_region_with_its_holes(seed):
    labels = _blobs(seed)
    features = geojson(find_regions(labels, 3), CLASSES)["features"]
    drawn = np.full(labels.shape, 255, "uint8")
    for feature in features:
        rings = feature["geometry"]["coordinates"]
        assert all(ring[0] == ring[-1] for ring in rings)
        for ring in rings:  # simple: no corner twice, so that other programs take it
            assert len({tuple(point) for point in ring}) == len(ring) - 1
        inside = _inside(rings, labels.shape)
        assert inside.sum() == feature["properties"]["pixels"]
        assert connected(inside, connectivity=1).max() == 1
        drawn[inside] = feature["properties"]["class_id"]
    np.testing.assert_array_equal(drawn, labels)
    for class_id, name in enumerate(CLASSES.names):
        of_class = [f for f in features if f["properties"]["class"] == name]
        assert len(of_class) == connected(labels == class_id, connectivity=1).max()


def test_a_ring_around_an_island_and_a_pixel():
    labels = np.zeros((5, 6), "uint8")
    labels[1:4, 1:4] = 1
    labels[2, 2] = 2
    ground, red, blue = find_regions(labels, 3)
    assert ground.outline == [(0, 0), (6, 0), (6, 5), (0, 5)]
    assert sorted(ground.holes[0]) == sorted(red.outline) and ground.pixels == 21
    assert sorted(red.outline) == [(1, 1), (1, 4), (4, 1), (4, 4)] and red.pixels == 8
    assert sorted(red.holes[0]) == [(2, 2), (2, 3), (3, 2), (3, 3)]
    assert blue.outline == [(2, 2), (3, 2), (3, 3), (2, 3)] and not blue.holes


def test_pixels_that_touch_at_a_corner_are_two_regions():
    labels = np.array([[1, 0], [0, 1]], "uint8")
    assert [region.class_id for region in find_regions(labels, 3)] == [0, 0, 1, 1]
    assert [region.pixels for region in find_regions(labels, 3)] == [1, 1, 1, 1]


def test_a_ring_closed_by_a_corner_has_a_hole():
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], "uint8")
    (ring,) = [region for region in find_regions(labels, 2) if region.class_id == 1]
    assert ring.pixels == 7 and len(ring.holes) == 1


def test_ids_beyond_the_classes_have_no_regions():
    assert find_regions(np.full((3, 3), 255, "uint8"), 3) == []
