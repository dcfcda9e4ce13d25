"""Verifying the content of a file and writing it with all that belongs to it, or nothing."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.devices.placement import place
from export.graph.calibration import stand_ins
from export.graph.converter import HEADS
from export.proof.page import make_page
from export.proof.report import compare, describe_file, op_table, versions
from export.proof.verification import check_gate, check_graph, verify
from export.recipes import QuantizationRecipe
from export.targets import TARGETS
from export.tflite.benchmark import benchmark, host_facts
from export.tflite.metadata import add_metadata
from export.tflite.reader import read_model
from export.tflite.runtime import FixedSize, load_tflite
from kseg.classes import Classes
from kseg.data import Data

_AGREEMENT_IMAGES = 16
_TIMED_RUNS = 10
# What may be written beside X.tflite.
_ENDINGS = (".json", ".html", ".labels.txt", "_vela.tflite")


@dataclass(frozen=True)
class ExportOptions:
    """Choices that most exports leave alone.

    Attributes:
        head: "logits" (1, h, w, num_classes); "argmax", a class map int32 (1, h, w); or
            "softmax", scores (1, h, w, num_classes).
        stride: 1 for an output of the input's size; or one at which the network can end, for
            h = ceil(H / stride): the last upsampling is then left to the app.
        min_ratio: Smallest mean IoU of the file as a fraction of the model's.
        max_drop: Largest loss of mean IoU, 0..1.
        overwrite: Whether files of an earlier export may be replaced.
        rescue: Whether layers may be kept in float where int8 loses too much, on android.
        explain: Whether the report says what other heads and strides would cost, and which
            layers quantization harms most. Takes several conversions more.
        classes: Names for labels.txt where there is no validation data to take them from.
        working_size: (height, width) that images are fitted into before the file sees them, for
            calibration, scores and the report; None leaves images that fit as they are.
    """

    head: str = "logits"
    stride: int = 1
    min_ratio: float = 0.97
    max_drop: float = 0.015
    overwrite: bool = False
    rescue: bool = False
    explain: bool = False
    classes: Classes | None = None
    working_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks the head.

        Raises:
            ValueError: If it is unknown.
        """
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}; got {self.head!r}.")


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how good it is.

    Attributes:
        path: The .tflite file.
        report: What the .json file beside it says.
        certified: Whether it was scored on labelled images and passed the gate.
        agreement: Share of the pixels that the file and the model label alike.
        mean_iou_float: Of the model; None without validation.
        mean_iou: Of the file; None without validation.
    """

    path: Path
    report: dict[str, Any]
    certified: bool
    agreement: float
    mean_iou_float: float | None
    mean_iou: float | None


@dataclass(frozen=True)
class Order:
    """What file is wanted, and how it is judged.

    Attributes:
        network: The model's `kseg_spec`; None for a user's own.
        recipe: What it computes with.
        target: A name of `TARGETS`.
        path: Where the .tflite file goes.
        validation: Labelled images, or None.
        options: The rest.
        scaling: (factor, offset) of the scaling that the file's input stands for.
    """

    network: dict[str, Any] | None
    recipe: QuantizationRecipe
    target: str
    path: Path
    validation: Data | None = field(repr=False)
    options: ExportOptions
    scaling: tuple[float, float]


Explanation = Callable[[Path], dict[str, Any]]


def taken(path: Path) -> list[Path]:
    """Returns what an export to `path` would replace."""
    files = (path, *(_beside(path, ending) for ending in _ENDINGS))
    return [file for file in files if file.exists()]


def verify_and_write(
    content: bytes,
    reference: FixedSize,
    order: Order,
    *,
    advice: str = "",
    rescued: Sequence[str] = (),
    explain: Explanation | None = None,
) -> ExportResult:
    """Holds a file against its model, and writes it with its report if it is good enough.

    Args:
        content: Of a .tflite file.
        reference: The float model: from images (N, h, w, 3), 0..255, to logits.
        order: What the file should be.
        advice: What may help where the gate fails, a sentence.
        rescued: Layers that were kept in float.
        explain: Called with the path of a file that passed; returns more entries of the report,
            "choices" and "noise".

    Returns:
        What was written: X.tflite, X.json, X.html, and X.labels.txt where names are known.

    Raises:
        GateError: If the file has ops that the target does not take, or fails the gate. Nothing
            is written then, and what was there stays.
    """
    path, options, target = order.path, order.options, TARGETS[order.target]
    classes = order.validation.classes if order.validation is not None else options.classes
    if target.name == "android" and order.recipe.name != "int16x8":  # MediaPipe takes no int16
        content = add_metadata(
            content,
            classes,
            head=options.head,
            scaling=order.scaling,
            working_size=options.working_size,
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as name:
        folder = Path(name)
        temporary = folder / path.name
        temporary.write_bytes(content)
        graph = read_model(temporary)
        check_graph(graph, order.recipe, target, order.scaling, rescued=bool(rescued))
        with load_tflite(temporary) as file:
            images = order.validation if order.validation is not None else _images(order, file)
            result = verify(file, reference, images, size=options.working_size)
            described = describe_file(path.name, content, graph, file)
        if order.validation is not None:
            check_gate(
                result, min_ratio=options.min_ratio, max_drop=options.max_drop, advice=advice
            )
        placement = place(temporary, target, folder)
        (latency,) = benchmark([temporary], runs=_TIMED_RUNS)
        report = {
            **described,
            "network": order.network,
            "target": order.target,
            "recipe": {
                "name": order.recipe.name,
                "images": len(order.recipe.images),
                "per_channel": order.recipe.per_channel,
            },
            "head": options.head,
            "stride": options.stride,
            "scaling": list(order.scaling),
            "working_size": options.working_size,
            "gate": {"min_ratio": options.min_ratio, "max_drop": options.max_drop},
            "classes": asdict(classes) if classes is not None else None,
            "rescued": list(rescued),
            "verification": compare(result, options.head),
            "latency": {**latency, "file": path.name, "host": host_facts()},
            "placement": placement,
            "op_table": op_table(graph, placement),
            "choices": [],
            "noise": [],
            **(explain(temporary) if explain is not None else {}),
            "versions": versions(),
        }
        _beside(temporary, ".json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        page = make_page(report, result.worst, classes)
        _beside(temporary, ".html").write_text(page, "utf-8")
        if classes is not None:
            names = "".join(f"{name}\n" for name in classes.names)
            _beside(temporary, ".labels.txt").write_text(names, "utf-8")
        for ending in _ENDINGS:
            if _beside(temporary, ending).exists():
                os.replace(_beside(temporary, ending), _beside(path, ending))
            else:  # of an earlier export, which it described
                _beside(path, ending).unlink(missing_ok=True)
        os.replace(temporary, path)
    return ExportResult(
        path=path,
        report=report,
        certified=order.validation is not None,
        agreement=result.agreement,
        mean_iou_float=result.scores_float.mean_iou if result.scores_float else None,
        mean_iou=result.scores.mean_iou if result.scores else None,
    )


def _images(order: Order, file: FixedSize) -> list[np.ndarray]:
    """Returns what to compare file and model on when there is no labelled image."""
    return list(order.recipe.images[:_AGREEMENT_IMAGES]) or stand_ins(file.input_size)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)
