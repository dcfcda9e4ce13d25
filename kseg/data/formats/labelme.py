"""labelme's JSON: a file for each image, beside it or in a folder of their own.

Source: https://github.com/wkentaro/labelme.
"""

import base64
import binascii
import io
import math
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from kseg.data.formats.drawing import (
    BACKGROUND,
    Annotated,
    Drawing,
    Shape,
    ellipse,
    outline,
    rectangle,
    with_background,
)
from kseg.data.formats.finding import locate
from kseg.safe_files import files_in, read_json

_LIMIT = 200_000_000  # the image itself may be inside
# As labelme's own scripts spell them.
_SPECIAL = {"_background_": BACKGROUND, "__ignore__": None}


def is_labelme(content: Any) -> bool:
    """Returns whether parsed JSON looks like labelme's."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read_labelme(path: Path, images: Path) -> Annotated:
    """Reads all annotation files of a folder.

    Args:
        path: The folder of the JSON files.
        images: The folder of the images.

    Returns:
        The shapes of all annotated images; classes in the order of their names.

    Raises:
        ValueError: If there is no such file, or a shape is a line or a point.
    """
    contents = {}
    for file in sorted(f for f in files_in(path) if f.suffix == ".json"):
        content = read_json(file, limit=_LIMIT)
        if is_labelme(content):
            contents[file] = content
    if not contents:
        raise ValueError(f"{path} holds no JSON file of labelme.")
    # The image is the one that the file names, or the one of the file's own name.
    wanted = {file: _named(file.relative_to(path), content) for file, content in contents.items()}
    found, _ = locate(images, sorted(set(filter(None, wanted.values()))))
    named = set(found.values())
    drawings: dict[Path, Drawing] = {}
    missing, names = [], set()
    for file, content in contents.items():
        image = found.get(wanted[file]) or _beside(file, images, named)
        shapes = tuple(
            replace(_shape(s, f"{file}, shape {n}"), group=_group(s))
            for n, s in enumerate(content["shapes"])
        )
        names |= {shape.name for shape in shapes if shape.name}
        if image is None:
            missing.append(wanted[file] or file.name)
        elif image in drawings:
            raise ValueError(
                f"{file} and {drawings[image].source} are both of {image}; leave one of them out."
            )
        else:
            drawings[image] = Drawing(file, shapes, _size(content))
    return Annotated(with_background(sorted(names)), drawings, tuple(missing))


def _named(file: Path, content: dict[str, Any]) -> str:
    """Returns the image that a file names, as seen from the folder of all files."""
    name = str(content.get("imagePath") or "").replace("\\", "/")
    return str(PurePosixPath(file.parent.as_posix(), name)) if name else ""


def _beside(file: Path, images: Path, named: set[Path]) -> Path | None:
    found, _ = locate(images, [f"{file.stem}{end}" for end in (".jpg", ".jpeg", ".png")])
    return next((image for image in found.values() if image not in named), None)


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _shape(shape: Any, where: str) -> Shape:
    if not isinstance(shape, dict) or "label" not in shape or "points" not in shape:
        raise ValueError(f"{where}: a shape has a label and points; this has not.")
    label = str(shape["label"])
    name = _SPECIAL.get(label, label)
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "polygon":
        return Shape(name, (outline(points, where),))
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"{where}: it is a {kind}, which covers no area; draw a polygon instead.")
    try:
        (x0, y0), (x1, y1) = (map(float, point) for point in points)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: a {kind} has two points (x, y); got {points!r:.80}.") from None
    if kind == "circle":
        radius = math.hypot(x1 - x0, y1 - y0)
        return Shape(name, (outline(ellipse(x0, y0, radius, radius), where),))
    left, top = min(x0, x1), min(y0, y1)
    if kind == "rectangle":
        return Shape(name, (rectangle(left, top, max(x0, x1), max(y0, y1)),))
    return Shape(name, bitmap=_bitmap(shape, where), corner=(round(top), round(left)))


def _group(shape: dict[str, Any]) -> int | None:
    """Returns the number that the parts of one object share."""
    group = shape.get("group_id")
    return group if isinstance(group, int) else None


def _bitmap(shape: dict[str, Any], where: str) -> np.ndarray:
    try:
        content = base64.b64decode(shape["mask"], validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return np.asarray(image.convert("L")) > 0
    except (KeyError, TypeError, binascii.Error, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{where}: its mask is not a PNG in base64 ({error}).") from None
