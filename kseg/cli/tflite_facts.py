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

    They come from the report beside it (X.json for X.tflite and X_edgetpu.tflite) if that is about
    this very file, or from the file's metadata.

    Args:
        path: The file.
        model: It, as `export.load_tflite` returns it.

    Raises:
        ModelFileError: If the file's metadata are damaged.
    """
    from export.tflite.metadata import read_metadata

    found = _report_facts(path, model)
    source = "the report beside it"
    if found is None:
        found, source = read_metadata(path), "its metadata"
    count = model.num_classes
    if found is not None and count not in (None, found[0].num_classes):
        warnings.warn(
            f"{path} gives {count} classes, and {source} names {found[0].num_classes}; the names "
            "are not used.",
            stacklevel=2,
        )
        found = None
    if found is None:
        return unnamed(count or _MOST_CLASSES), None
    classes, size = found
    if size is not None and any(a > b for a, b in zip(size, model.input_size, strict=True)):
        warnings.warn(
            f"{path} takes images up to {model.input_size[0]} x {model.input_size[1]}, and "
            f"{source} has a working size of {size[0]} x {size[1]}; that is not used.",
            stacklevel=2,
        )
        size = None
    return classes, size


def _report_facts(path: Path, model: Any) -> Facts | None:
    """Returns what the report beside a file says, if it is a report about this file."""
    from export.tflite.beside import is_about, read_report, report_path

    report = read_report(path) or {}
    try:
        report["file"]["sha256"]
        classes = Classes.from_json(report.get("classes") or report["label_map"])
        size = _size(report["working_size"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None  # no report of kseg's, or one without names
    if not is_about(report, path, (model.input, model.output)):
        warnings.warn(
            f"{report_path(path)} is the report of another file than {path}, so its names and "
            "working size are not used. Export the file again, or remove the report.",
            stacklevel=4,
        )
        return None
    return classes, size


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = size
    if not all(type(side) is int and side > 0 for side in size):
        raise ValueError("no size")
    return height, width
