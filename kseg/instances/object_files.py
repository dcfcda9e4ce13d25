"""Objects as files of other programs have them."""

import csv
import io
from typing import Any

from kseg.classes import Classes
from kseg.instances.objects import Instances
from kseg.polygons import annotation, coco_file, feature

_COLUMNS = ("image", "id", "class_id", "class", "score", "x", "y", "width", "height", "pixels")


def objects_geojson(instances: Instances, classes: Classes) -> dict[str, Any]:
    """Returns objects as a GeoJSON FeatureCollection in pixel coordinates, y down.

    Each is a Polygon, or a MultiPolygon if it is in pieces, with the properties `class_id`,
    `class`, `pixels`, `id` and `score`.
    """
    features = [
        feature(thing.regions, classes, id=thing.id, score=round(thing.score, 4))
        for thing in instances.objects
    ]
    return {"type": "FeatureCollection", "features": features}


def objects_coco(instances: Instances, classes: Classes, name: str) -> dict[str, Any]:
    """Returns objects in COCO's format, with a category for each class: its id plus 1.

    Args:
        instances: Of one image.
        classes: The classes.
        name: The image's file name.
    """
    size = instances.ids.shape[0], instances.ids.shape[1]
    found = [
        annotation(thing.id, thing.regions, size, score=round(thing.score, 4))
        for thing in instances.objects
    ]
    return coco_file(found, classes, name, size)


def objects_csv(instances: Instances, classes: Classes, name: str) -> str:
    """Returns a table of objects, a line for each; arguments as `objects_coco`."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for thing in instances.objects:
        kind, score = classes.names[thing.class_id], f"{thing.score:.4f}"
        rows.writerow([name, thing.id, thing.class_id, kind, score, *thing.box, thing.area])
    return text.getvalue()
