"""What is known of a .tflite file beside its graph: its classes and its working size."""

import warnings
from pathlib import Path
from typing import Any

from kseg.classes import Classes

_MOST_CLASSES = 255

Facts = tuple[Classes, tuple[int, int] | None]


def unnamed(num_classes: int) -> Classes:
    """Returns classes that are known by their numbers alone."""
    return Classes(tuple(f"class {index}" for index in range(num_classes)))


def file_facts(path: Path, model: Any) -> Facts:
    """Returns the classes and the working size of a .tflite file.

    The classes come from the report beside it (X.json for X.tflite and X_edgetpu.tflite) if that
    is about this very file, or from the file's metadata; the size is the model's.

    Args:
        path: The file.
        model: It, as `export.load_tflite` returns it.

    Raises:
        ModelFileError: If the file's metadata are damaged.
    """
    from export.tflite.beside import reported
    from export.tflite.metadata import read_metadata

    ends, source = (model.input, model.output), "the report beside it"
    found = reported(path, ends, Classes.from_json, "classes", "label_map")
    if found is None and (told := read_metadata(path)) is not None:
        found, source = told[0], "its metadata"
    count = model.num_classes
    if found is not None and count not in (None, found.num_classes):
        warnings.warn(
            f"{path} gives {count} classes, and {source} names {found.num_classes}; the names "
            "are not used.",
            stacklevel=2,
        )
        found = None
    return found or unnamed(count or _MOST_CLASSES), model.kseg_size
