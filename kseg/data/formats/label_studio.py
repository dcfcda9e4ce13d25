"""Label Studio's JSON export: polygons, boxes and brush strokes, all images in one file.

Source: https://labelstud.io/guide/export; the brush's runs as in label-studio-sdk (Apache-2.0).
"""

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np

from kseg.data.formats.drawing import (
    Annotated,
    Drawing,
    Shape,
    ellipse,
    outline,
    rectangle,
    turned,
    with_background,
)
from kseg.data.formats.finding import LARGEST_JSON, locate
from kseg.data.opening import ENDINGS
from kseg.safe_files import read_json

# An upload gets eight hexadecimal digits before its name.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_DRAWN = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels")
_WITHOUT_AREA = ("keypointlabels", "vectorlabels")
_LARGEST = 200_000_000  # values of a brush's image


def is_label_studio(content: Any) -> bool:
    """Returns whether parsed JSON looks like Label Studio's."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(task, dict) and "data" in task for task in content)
        and any("annotations" in task for task in content)
    )


def read_label_studio(path: Path, images: Path) -> Annotated:
    """Reads an export.

    Args:
        path: The JSON file ("JSON", not "JSON-MIN").
        images: The folder of the images.

    Returns:
        The shapes of all tasks that have an annotation; of several, the first one that was not
        cancelled counts. Classes are in the order of their names.

    Raises:
        ValueError: If the file is no such export, or a shape is damaged.
    """
    content = read_json(path, limit=LARGEST_JSON)
    if not is_label_studio(content):
        raise ValueError(f"{path} is not an export of Label Studio; choose the format JSON there.")
    shapes: dict[str, tuple[Shape, ...]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for number, task in enumerate(content):
        where = f"{path}, task {number}"
        done = [a for a in task.get("annotations") or () if not a.get("was_cancelled")]
        if done:
            results, name = done[0].get("result") or [], _image(task, where)
            if name in shapes:
                raise ValueError(f"{where}: an earlier one is of {name} too; leave one out.")
            shapes[name] = tuple(shape for result in results for shape in _shapes(result, where))
            sizes[name] = next(filter(None, map(_size_of_brush, results)), None)
    found, missing = locate(images, list(shapes))
    plain = Counter(map(_without_mark, [*found, *missing]))
    marked = {s: name for name in missing if plain[s := _without_mark(name)] == 1}
    again, _ = locate(images, [*found, *marked])
    found |= {marked[short]: file for short, file in again.items() if short in marked}
    names = sorted({str(shape.name) for drawn in shapes.values() for shape in drawn})
    drawings = {file: Drawing(path, shapes[n], sizes[n], True) for n, file in found.items()}
    return Annotated(
        with_background(names), drawings, tuple(name for name in missing if name not in found)
    )


def _image(task: dict[str, Any], where: str) -> str:
    values = [v for v in task["data"].values() if isinstance(v, str)]
    if not values:
        raise ValueError(f"{where}: its data names no image.")
    images = [value for value in values if value.lower().endswith(ENDINGS)]
    name = (images or values)[0]
    is_address = "?d=" in name or "://" in name
    return unquote(name.split("?d=")[-1]) if is_address else name


def _without_mark(name: str) -> str:
    """Returns an image's path without the mark that Label Studio gives to what is uploaded."""
    path = PurePosixPath(name)
    short = _UPLOADED.sub("", path.name)
    return str(path.with_name(short)) if short else name


def _shapes(result: dict[str, Any], where: str) -> list[Shape]:
    kind, value = result.get("type"), result.get("value")
    if kind in _WITHOUT_AREA:
        raise ValueError(f"{where}: a {kind} covers no area; draw a polygon or a brush instead.")
    if not isinstance(value, dict) or kind not in _DRAWN:
        return []
    names = value.get(kind) or ["unnamed"]
    if kind == "polygonlabels":
        points = np.asarray(outline(value.get("points"), where)) / 100
        return [Shape(str(name), (tuple(points.tolist()),)) for name in names]
    try:
        if kind == "brushlabels":
            size = int(result["original_height"]), int(result["original_width"])
            bitmap = _brush(value["rle"], size)
            return [Shape(str(name), bitmap=bitmap) for name in names]
        return [Shape(str(name), (_round_or_box(kind, value, result),)) for name in names]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{where}: one of its {kind} is damaged ({error}).") from None


def _size_of_brush(result: dict[str, Any]) -> tuple[int, int] | None:
    """Returns the size that an image must have: a brush is pixels, other shapes are shares."""
    if result.get("type") != "brushlabels":
        return None
    return int(result["original_height"]), int(result["original_width"])


def _round_or_box(kind: str, value: dict[str, Any], result: dict[str, Any]) -> tuple[float, ...]:
    """Returns the outline of a rectangle or an ellipse as shares of the image's sides.

    It is turned in pixels: an ellipse about its centre, a rectangle about its top left corner.
    """
    angle, sides = value.get("rotation") or 0, np.full(2, 100.0)
    if angle:
        sides = np.array([result["original_width"], result["original_height"]], float)
    x, y = value["x"] * sides[0] / 100, value["y"] * sides[1] / 100
    across, down = ("radiusX", "radiusY") if kind == "ellipselabels" else ("width", "height")
    across, down = value[across] * sides[0] / 100, value[down] * sides[1] / 100
    if kind == "ellipselabels":
        flat = ellipse(x, y, across, down)
    else:
        flat = rectangle(x, y, x + across, y + down)
    points = np.reshape(turned(flat, angle, (x, y)), (-1, 2)) / sides
    return tuple(points.ravel().tolist())


def _brush(runs: list[int], size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of a brush, bool (h, w), from Label Studio's packed RGBA image.

    The bytes are a stream of bits: the number of values (32), the bits of a value less one (5),
    four lengths of counters less one (4 each), then runs: whether one value is repeated (1),
    which counter (2), the count less one, and the value or values.
    """
    bits = np.unpackbits(np.asarray(runs, "uint8"))
    place = 0

    def take(count: int) -> int:
        nonlocal place
        part = bits[place : place + count]
        if len(part) < count:
            raise ValueError("its runs end early")
        place += count
        return int("".join(map(str, part)), 2)

    total, width = take(32), take(5) + 1
    if total != size[0] * size[1] * 4 or total > _LARGEST:
        raise ValueError(f"its runs are of {total} values, not of {size[0]} x {size[1]} x 4")
    counters = [take(4) + 1 for _ in range(4)]
    values = np.zeros(total, "uint8")
    at = 0
    while at < total:
        repeated = take(1)
        end = at + 1 + take(counters[take(2)])
        if end > total:
            raise ValueError("its runs are longer than the image")
        if repeated:
            values[at:end] = take(width)
        else:
            values[at:end] = [take(width) for _ in range(end - at)]
        at = end
    return values.reshape(*size, 4)[..., 3] > 0
