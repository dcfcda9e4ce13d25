"""From a Keras 3 segmentation model to a verified .tflite file.

The package `kseg` never needs TensorFlow by itself; everything that does is here. Names are
imported when they are first used, so that reading a file does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.bridge import to_tf_keras
    from export.conversion import convert
    from export.delivery import ExportOptions, ExportResult
    from export.edgetpu import CheckResult, check
    from export.errors import GateError, ModelFileError, TrainingProcessError
    from export.pruning import KeepClusters, cluster, gzip_bytes, prune, sparsity_report
    from export.qat import QuantizedModel, quantization_aware
    from export.recipes import dynamic_range, float16, float32, full_integer, int16x8
    from export.runtime import load_tflite
    from export.verification import Verification, verify

_HOMES = {
    "CheckResult": "export.edgetpu",
    "ExportOptions": "export.delivery",
    "ExportResult": "export.delivery",
    "GateError": "export.errors",
    "KeepClusters": "export.pruning",
    "ModelFileError": "export.errors",
    "QuantizedModel": "export.qat",
    "TrainingProcessError": "export.errors",
    "Verification": "export.verification",
    "check": "export.edgetpu",
    "cluster": "export.pruning",
    "convert": "export.conversion",
    "dynamic_range": "export.recipes",
    "float16": "export.recipes",
    "float32": "export.recipes",
    "full_integer": "export.recipes",
    "gzip_bytes": "export.pruning",
    "int16x8": "export.recipes",
    "load_tflite": "export.runtime",
    "prune": "export.pruning",
    "quantization_aware": "export.qat",
    "sparsity_report": "export.pruning",
    "to_tf_keras": "export.bridge",
    "verify": "export.verification",
}

__all__ = [
    "CheckResult",
    "ExportOptions",
    "ExportResult",
    "GateError",
    "KeepClusters",
    "ModelFileError",
    "QuantizedModel",
    "TrainingProcessError",
    "Verification",
    "check",
    "cluster",
    "convert",
    "dynamic_range",
    "float16",
    "float32",
    "full_integer",
    "gzip_bytes",
    "int16x8",
    "load_tflite",
    "prune",
    "quantization_aware",
    "sparsity_report",
    "to_tf_keras",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'export' has no attribute {name!r}")
