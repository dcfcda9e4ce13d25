"""The public names of export; `__init__.py` imports each when it is first used."""

from .compression.bridge import to_tf_keras
from .compression.pruning import (
    KeepClusters,
    Pruning,
    cluster,
    gzip_bytes,
    prune,
    sparsity_report,
)
from .compression.qat import QuantizedModel, quantization_aware
from .conversion import convert
from .devices.edgetpu.checker import CheckResult, check
from .errors import GateError, ModelFileError, TrainingProcessError
from .options import ExportOptions, ExportResult
from .proof.verification import Verification, verify
from .recipes import RECIPES, dynamic_range, float16, float32, full_integer, int16x8
from .targets import TARGETS
from .tflite.runtime import load_tflite

__all__ = [
    "RECIPES",
    "TARGETS",
    "CheckResult",
    "ExportOptions",
    "ExportResult",
    "GateError",
    "KeepClusters",
    "ModelFileError",
    "Pruning",
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
