"""From a Keras 3 segmentation model to a verified .tflite file.

The package `kseg` never needs TensorFlow by itself; everything that does is here. Names are
imported when they are first used, so that reading a file does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.compression.bridge import to_tf_keras
    from export.compression.pruning import KeepClusters, cluster, gzip_bytes, prune, sparsity_report
    from export.compression.qat import QuantizedModel, quantization_aware
    from export.conversion import convert
    from export.devices.edgetpu.checker import CheckResult, check
    from export.errors import GateError, ModelFileError, TrainingProcessError
    from export.proof.delivery import ExportOptions, ExportResult
    from export.proof.verification import Verification, verify
    from export.recipes import dynamic_range, float16, float32, full_integer, int16x8
    from export.tflite.runtime import load_tflite

_HOMES = {
    "CheckResult": "export.devices.edgetpu.checker",
    "ExportOptions": "export.proof.delivery",
    "ExportResult": "export.proof.delivery",
    "GateError": "export.errors",
    "KeepClusters": "export.compression.pruning",
    "ModelFileError": "export.errors",
    "QuantizedModel": "export.compression.qat",
    "TrainingProcessError": "export.errors",
    "Verification": "export.proof.verification",
    "check": "export.devices.edgetpu.checker",
    "cluster": "export.compression.pruning",
    "convert": "export.conversion",
    "dynamic_range": "export.recipes",
    "float16": "export.recipes",
    "float32": "export.recipes",
    "full_integer": "export.recipes",
    "gzip_bytes": "export.compression.pruning",
    "int16x8": "export.recipes",
    "load_tflite": "export.tflite.runtime",
    "prune": "export.compression.pruning",
    "quantization_aware": "export.compression.qat",
    "sparsity_report": "export.compression.pruning",
    "to_tf_keras": "export.compression.bridge",
    "verify": "export.proof.verification",
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
