"""CVAT's XML ("CVAT for images 1.1"): polygons, boxes and masks, all images in one file.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat.
"""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

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
from kseg.data.formats.finding import folders_of_name, locate
from kseg.safe_files import read_bytes

_LIMIT = 500_000_000
_DRAWN = ("polygon", "box", "ellipse", "mask")
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")


def read_cvat(path: Path, images: Path) -> Annotated:
    """Reads an annotation file.

    Args:
        path: The XML file.
        images: The folder that its file names are relative to.

    Returns:
        The shapes of all its images, in the order of their layers (`z_order`).

    Raises:
        ValueError: If the file is not CVAT's XML for images, or a shape is damaged.
    """
    try:
        root = fromstring(read_bytes(path, limit=_LIMIT))
    except (ParseError, DefusedXmlException, UnicodeError) as error:
        raise ValueError(f"{path} is not XML that is read: {error}.") from None
    entries = root.findall("image")
    if root.tag != "annotations" or not entries:
        raise ValueError(
            f"{path}: it has no <image>; export the task as CVAT for images 1.1 or COCO 1.0."
        )
    declared = [label.findtext("name") or "" for label in root.iter("label") if len(label)]
    used: list[str] = []
    shapes: dict[str, tuple[Shape, ...]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    words: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name = entry.get("name", "")
        if name in shapes:
            raise ValueError(
                f"{path}: two of its images have the name {name!r}; export the tasks one by one."
            )
        for child in entry:
            if child.tag in _WITHOUT_AREA:
                raise ValueError(
                    f"{path}, image {name}: a {child.tag} covers no area; draw a polygon instead."
                )
        drawn = [child for child in entry if child.tag in _DRAWN]
        drawn.sort(key=lambda child: int(_number(child, "z_order", path, "0")))
        shapes[name] = tuple(_shape(child, f"{path}, image {name}") for child in drawn)
        sizes[name] = int(_number(entry, "height", path)), int(_number(entry, "width", path))
        words[name] = (entry.get("subset", ""), *folders_of_name(name))
        used += [str(shape.name) for shape in shapes[name]]
    found, missing = locate(images, list(shapes))
    drawings = {file: Drawing(path, shapes[n], sizes[n]) for n, file in found.items()}
    names = list(filter(None, declared)) or sorted(set(used))
    subsets = {file: words[name] for name, file in found.items()}
    return Annotated(with_background(names), drawings, missing, _colors(root), subsets)


def _colors(root: Element) -> dict[str, tuple[int, int, int]]:
    colors = {}
    for label in root.iter("label"):
        color = re.fullmatch(r"#([0-9a-fA-F]{6})", label.findtext("color") or "")
        if color:
            red, green, blue = bytes.fromhex(color[1])
            colors[label.findtext("name") or ""] = (red, green, blue)
    return colors


def _shape(child: Element, where: str) -> Shape:
    name = child.get("label", "")
    if child.tag == "polygon":
        points = re.split("[;,]", child.get("points", ""))
        return Shape(name, (outline(points, where),))
    if child.tag == "box":
        left, top, right, bottom = (
            _number(child, key, where) for key in ("xtl", "ytl", "xbr", "ybr")
        )
        middle = (left + right) / 2, (top + bottom) / 2
        angle = _number(child, "rotation", where, "0")
        return Shape(name, (turned(rectangle(left, top, right, bottom), angle, middle),))
    if child.tag == "ellipse":
        x, y, across, down = (_number(child, key, where) for key in ("cx", "cy", "rx", "ry"))
        angle = _number(child, "rotation", where, "0")
        return Shape(name, (turned(ellipse(x, y, across, down), angle, (x, y)),))
    left, top, width, height = (
        int(_number(child, key, where)) for key in ("left", "top", "width", "height")
    )
    try:
        runs = np.array([int(run) for run in child.get("rle", "").split(",")])
    except ValueError:
        runs = np.empty(0, int)
    if min(width, height) < 1 or (runs < 0).any() or runs.sum() != width * height:
        raise ValueError(f"{where}: the runs of a mask do not add up to its {width} x {height}.")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)  # they begin with pixels outside
    return Shape(name, bitmap=inside.reshape(height, width), corner=(top, left))


def _number(element: Element, key: str, where: object, default: str | None = None) -> float:
    try:
        return float(element.get(key, default) or "")
    except ValueError:
        raise ValueError(f"{where}: a <{element.tag}> has no number {key!r}.") from None
