"""Annotation files of shapes: one module for each format, and one row here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kseg.data.formats.coco import is_coco, read_coco
from kseg.data.formats.cvat import read_cvat
from kseg.data.formats.drawing import Annotated, Drawing
from kseg.data.formats.finding import LARGEST_JSON
from kseg.data.formats.label_studio import is_label_studio, read_label_studio
from kseg.data.formats.labelme import is_labelme, read_labelme
from kseg.data.formats.yolo import read_yolo
from kseg.safe_files import files_in, read_json

__all__ = ["FORMATS", "IN_JSON", "Annotated", "Drawing", "kind_of"]

# Name in the YAML file to its reader: from the annotation file or folder, the folder of the
# images, and the names of the classes without the background (yolo has numbers in their place).
FORMATS: dict[str, Callable[[Path, Path, tuple[str, ...]], Annotated]] = {
    "coco": lambda path, images, names: read_coco(path, images),
    "cvat": lambda path, images, names: read_cvat(path, images),
    "label_studio": lambda path, images, names: read_label_studio(path, images),
    "labelme": lambda path, images, names: read_labelme(path, images),
    "yolo": read_yolo,
}

# Of the formats in JSON: how parsed content is known.
IN_JSON: dict[str, Callable[[Any], bool]] = {
    "coco": is_coco,
    "label_studio": is_label_studio,
    "labelme": is_labelme,
}


def kind_of(path: Path) -> str:
    """Returns the format of an annotation file, or of a folder of them.

    Raises:
        ValueError: If it is none of `FORMATS`.
    """
    if path.is_dir():
        return "labelme" if any(f.suffix == ".json" for f in files_in(path)) else "yolo"
    if path.suffix.lower() == ".xml":
        return "cvat"
    content = read_json(path, limit=LARGEST_JSON)
    for name, fits in IN_JSON.items():
        if fits(content):
            return name
    raise ValueError(f"{path} is of none of the formats {', '.join(FORMATS)}.")
