"""What devices accept: pure data."""

from dataclasses import dataclass, field

# With any of these a file is slower, cannot be compiled, or needs sizes at run time. A converted
# model has them when its batch or size is not fixed.
_DYNAMIC_OPS = frozenset(
    {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SHAPE", "PACK", "DEQUANTIZE", "CUSTOM"}
)

# The highest op versions seen in files that Google's Edge TPU compiler 16.0 (2021, the last)
# took. One op of a higher version makes it refuse the whole file, even where that op would stay
# on the CPU. Reports: google-coral/edgetpu issues 631 and 845, libedgetpu issue 71.
_EDGETPU_VERSIONS = {
    "ADD": 2,
    "ARG_MAX": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PRELU": 1,
    "QUANTIZE": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "SOFTMAX": 2,
    "SPLIT": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 4,
    "TRANSPOSE_CONV": 3,
}


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: As in `kseg export --target`.
        recipes: Quantization recipes it can use.
        op_versions: Op to the highest version it parses; empty where all are.
        refused_ops: Ops that a full-integer file must not have.
    """

    name: str
    recipes: tuple[str, ...]
    op_versions: dict[str, int] = field(default_factory=dict)
    refused_ops: frozenset[str] = _DYNAMIC_OPS


TARGETS: dict[str, Target] = {
    "android": Target("android", ("float32", "float16", "dynamic_range", "full_integer")),
    "edgetpu": Target("edgetpu", ("full_integer",), _EDGETPU_VERSIONS),
}
