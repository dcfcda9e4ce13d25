"""From a Keras 3 segmentation model to a verified .tflite file.

The package `kseg` never needs TensorFlow by itself; everything that does is here. Names are
imported when they are first used, so that reading a file does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.conversion import ExportOptions, ExportResult, convert
    from export.errors import GateError, ModelFileError
    from export.recipes import dynamic_range, float16, float32, full_integer
    from export.runtime import load_tflite
    from export.verification import Verification, verify

_HOMES = {
    "ExportOptions": "export.conversion",
    "ExportResult": "export.conversion",
    "GateError": "export.errors",
    "ModelFileError": "export.errors",
    "Verification": "export.verification",
    "convert": "export.conversion",
    "dynamic_range": "export.recipes",
    "float16": "export.recipes",
    "float32": "export.recipes",
    "full_integer": "export.recipes",
    "load_tflite": "export.runtime",
    "verify": "export.verification",
}

__all__ = [
    "ExportOptions",
    "ExportResult",
    "GateError",
    "ModelFileError",
    "Verification",
    "convert",
    "dynamic_range",
    "float16",
    "float32",
    "full_integer",
    "load_tflite",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'export' has no attribute {name!r}")
