"""The report beside a file: what it is, how it was made, and how good it is."""

import hashlib
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from export.flatbuffer import ModelFile
from export.runtime import TFLiteModel
from export.verification import Verification


def make_report(
    made: dict[str, Any],
    content: bytes,
    graph: ModelFile,
    file: TFLiteModel,
    result: Verification,
) -> dict[str, Any]:
    """Returns what the .json file says, plain data.

    Args:
        made: How the file was made: "network", "target", "recipe", "head", "gate", "label_map".
        content: Of the file.
        graph: Its graph.
        file: It, loaded.
        result: How it compares with its model.
    """
    return {
        "format": 1,
        "file": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        **made,
        "input": asdict(file.input),
        "output": asdict(file.output),
        "ops": graph.op_counts(),
        "verification": _comparison(result),
        "versions": {
            package: version(package)
            for package in ("kseg", "keras", "tensorflow", "ai-edge-litert", "numpy")
        },
    }


def _comparison(result: Verification) -> dict[str, Any]:
    compared: dict[str, Any] = {
        "photos": result.photos,
        "agreement": result.agreement,
        "max_difference": result.max_difference,
        "saturated": result.saturated,
        "certified": result.scores is not None,
    }
    if result.scores is not None and result.scores_float is not None:
        before, after = result.scores_float.iou_per_class, result.scores.iou_per_class
        compared |= {
            "mean_iou_float": result.scores_float.mean_iou,
            "mean_iou": result.scores.mean_iou,
            "iou_per_class": {name: [before[name], after[name]] for name in before},
        }
    return compared
