"""Annotation files of shapes: one module for each format, and one row here."""

from collections.abc import Callable
from pathlib import Path

from kseg.data.formats.coco import read_coco
from kseg.data.formats.cvat import read_cvat
from kseg.data.formats.drawing import Annotated, Drawing
from kseg.data.formats.label_studio import read_label_studio
from kseg.data.formats.labelme import read_labelme
from kseg.data.formats.yolo import read_yolo

__all__ = ["FORMATS", "Annotated", "Drawing"]

# Name in the YAML file to its reader: from the annotation file or folder, the folder of the
# images, and the names of the classes without the background (yolo has numbers in their place).
FORMATS: dict[str, Callable[[Path, Path, tuple[str, ...]], Annotated]] = {
    "coco": lambda path, images, names: read_coco(path, images),
    "cvat": lambda path, images, names: read_cvat(path, images),
    "label_studio": lambda path, images, names: read_label_studio(path, images),
    "labelme": lambda path, images, names: read_labelme(path, images),
    "yolo": read_yolo,
}
