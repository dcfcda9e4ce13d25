"""The report beside a file: X.json says what X.tflite and X_edgetpu.tflite are."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from export.tflite.metadata import CHECKS, read_fact
from export.tflite.process import Endpoint
from export.tflite.reader import ModelFile

Fact = TypeVar("Fact")
COMPILED = "_edgetpu"  # what Google's compiler adds to a file's name
_LARGEST_REPORT = 16 << 20  # bytes


def report_path(path: Path) -> Path:
    """Returns where the report of a file is: beside it, or beside the file it was compiled of."""
    own = path.with_name(path.stem + ".json")
    return own if own.is_file() else path.with_name(path.stem.removesuffix(COMPILED) + ".json")


def read_report(path: Path) -> dict[str, Any] | None:
    """Returns the report beside a file, whatever file it is about; None if there is none."""
    beside = report_path(path)
    try:
        if not beside.is_file() or beside.stat().st_size > _LARGEST_REPORT:
            return None
        report = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def is_about(report: dict[str, Any], path: Path, ends: tuple[Endpoint, Endpoint]) -> bool:
    """Says whether a report is about a file: its sha256 is the file's.

    X_edgetpu.tflite, which Google's compiler makes of X.tflite, has other bytes. The report of X is
    about it if input and output are the same to the last digit of their scales, and if X.tflite,
    where it lies beside, has the sha256.

    Args:
        report: What `read_report` returns.
        path: The file.
        ends: Its input, and the output that labels the image.
    """
    about = report.get("file")
    digest = about.get("sha256") if isinstance(about, dict) else None
    if _digest(path) == digest:
        return True
    source = path.with_name(path.name.replace(f"{COMPILED}.tflite", ".tflite"))
    if source == path or (source.is_file() and _digest(source) != digest):
        return False
    return [report.get("input"), report.get("output")] == json.loads(
        json.dumps([asdict(end) for end in ends])
    )


def told_outputs(path: Path, graph: ModelFile) -> dict[str, int]:
    """Returns the numbers of a file's outputs by the names in the report beside it.

    Google's compiler keeps no signature, which names the outputs, but the names of the tensors.

    Args:
        path: The file.
        graph: It, as `read_model` returns it.

    Returns:
        They; {} if there is no report with such outputs.
    """
    outputs = (read_report(path) or {}).get("outputs")
    if not isinstance(outputs, dict):
        return {}
    places = {graph.tensors[tensor].name: number for number, tensor in enumerate(graph.outputs)}
    found = {}
    for name, told in outputs.items():
        number = places.get(str(told.get("name"))) if isinstance(told, dict) else None
        if number is None or list(graph.tensors[graph.outputs[number]].shape) != told.get("shape"):
            return {}
        found[name] = number
    return found


def told(path: Path, ends: tuple[Endpoint, Endpoint], name: str) -> Any:
    """Returns a fact of a file, by its metadata or its report.

    Args:
        path: The file.
        ends: Its input, and the output that labels the image.
        name: "things", the ids of the classes whose objects it tells apart, or "bits", those of
            the 16-bit images that it was trained on.

    Returns:
        It; None if neither says it.

    Raises:
        ModelFileError: If the metadata are damaged.
    """
    fact = read_fact(path, name)
    return reported(path, ends, CHECKS[name], name) if fact is None else fact


def told_size(
    path: Path, ends: tuple[Endpoint, Endpoint], input_size: tuple[int, int]
) -> tuple[int, int] | None:
    """Returns the size that images are fitted into for a file, by its metadata or its report.

    It warns where the report that says it is of another file, and where the file is too small.

    Args:
        path: The file.
        ends: Its input, and the output that labels the image.
        input_size: (height, width) of its input.

    Returns:
        (height, width); None if neither says it.

    Raises:
        ModelFileError: If the metadata are damaged.
    """
    source, size = "its metadata", read_fact(path, "working_size")
    if size is None:
        source = "the report beside it"
        size = reported(path, ends, CHECKS["working_size"], "working_size")
    if size is not None and any(a > b for a, b in zip(size, input_size, strict=True)):
        warnings.warn(
            f"{path} takes images up to {input_size[0]} x {input_size[1]}, and {source} has a "
            f"working size of {size[0]} x {size[1]}; that is not used.",
            stacklevel=4,
        )
        return None
    return size


def reported(
    path: Path, ends: tuple[Endpoint, Endpoint], check: Callable[[Any], Fact], *names: str
) -> Fact | None:
    """Returns a fact of the report beside a file; it warns if the report is about another file.

    Args:
        path: The file.
        ends: Its input, and the output that labels the image.
        check: From what the report says to the fact; it may raise ValueError, LookupError,
            TypeError and AttributeError for what is none.
        names: Keys of the report that may hold it.

    Returns:
        The fact; None if there is no report about this file, or it does not say it.
    """
    report = read_report(path) or {}
    about = report.get("file")
    said = next((report[name] for name in names if report.get(name) is not None), None)
    if not isinstance(about, dict) or "sha256" not in about or said is None:
        return None
    if not is_about(report, path, ends):
        warnings.warn(
            f"{report_path(path)} is the report of another file than {path}, so what it says of "
            f"{names[0]} is not used. Export the file again, or remove the report.",
            stacklevel=5,
        )
        return None
    try:
        return check(said)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
