"""Which ops of a .tflite file the Coral NPU's way in, TOSA, can say; needs nothing installed.

The Coral NPU takes no .tflite file: Arm's tosa-converter-for-tflite turns it into TOSA, and a
plug-in of IREE compiles that (google-coral/coralnpu-compiler, synaptics-torq/torq-compiler).

Source: int8 files of one op each, given to tosa-converter-for-tflite 2026.2.0
(tests/export/test_coral_npu.py repeats it where that is installed).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.tflite.need import bytes_of
from export.tflite.reader import ModelFile, Op, read_model

SCRATCH_BYTES = 32_256  # of the core that Torq gives bilinear resizes to

SAYS = frozenset(
    """ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO
    CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE EXP EXPAND_DIMS FULLY_CONNECTED
    GATHER_ND GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SCATTER_ND SELECT SELECT_V2
    SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUARED_DIFFERENCE SQUEEZE
    STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV""".split()
)
COMPARISONS = frozenset("EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL".split())
# What the converter refuses, or leaves as an op of TensorFlow Lite, with what helps.
CANNOT: dict[str, str] = {
    "ABS": "use the larger of x and -x, keras.ops.maximum(x, -x)",
    "CUMSUM": "leave it to the app",
    "CUSTOM": "leave it to the app",
    "DIV": "multiply by the reciprocal where that is constant, or leave it to the app",
    "L2_NORMALIZATION": "use batch normalization",
    "LOCAL_RESPONSE_NORMALIZATION": "use batch normalization",
    "LOG_SOFTMAX": "end at the logits (--head logits)",
    "ONE_HOT": "leave it to the app",
    "REDUCE_PROD": "leave it to the app",
    "SEGMENT_SUM": "leave it to the app",
    "SQRT": "leave it to the app",
    "TOPK_V2": "end at the logits (--head logits)",
    "WHERE": "leave it to the app",
}
_UNKNOWN = "nothing is known of it"
_INTEGER = "convert it to full integers (--quantization int8)"
_COMPARED = "export it with --target coral-npu, which compares them as int32, with equal outputs"
_SMALLER = (
    "leave the last resize out with --stride 4, take a network that upsamples by nearest or "
    "transposed convolutions (kseg train --model atrous_fpn --set upsampling=nearest), or a "
    "smaller --size"
)


@dataclass(frozen=True)
class TosaOp:
    """What becomes of an op.

    Attributes:
        index: In order of execution.
        name: Builtin name, such as "CONV_2D".
        placement: "npu" where TOSA can say it, "cpu" where it cannot, "uncertain" where a compiler
            is known to refuse it, or nothing is known.
        reason: Why.
        advice: What would help; "" if nothing is known to.
    """

    index: int
    name: str
    placement: str
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class TosaCheck:
    """What becomes of a file.

    Attributes:
        ops: Op by op, in the file's order.
    """

    ops: tuple[TosaOp, ...]

    @property
    def legal(self) -> bool:
        """Whether TOSA can say all of it that is known; `unknown` are the other ops."""
        return all(op.placement != "cpu" for op in self.ops)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the ops of which nothing is known."""
        return tuple(dict.fromkeys(op.name for op in self.ops if op.reason == _UNKNOWN))

    @property
    def said(self) -> int:
        """How many ops TOSA can say."""
        return sum(op.placement != "cpu" and op.reason != _UNKNOWN for op in self.ops)

    def to_json(self) -> dict[str, Any]:
        """Returns it as `kseg check --target coral-npu --json` prints it."""
        return {"legal": self.legal, "ops": [asdict(op) for op in self.ops]}


def check_tosa(path: str | Path) -> TosaCheck:
    """Says op by op what TOSA can say of a file.

    Args:
        path: The .tflite file.

    Raises:
        ModelFileError: If it is none, or damaged.
    """
    graph = read_model(path)
    return TosaCheck(tuple(_judge(op, graph) for op in graph.ops))


def _judge(op: Op, graph: ModelFile) -> TosaOp:
    made = [graph.tensors[t] for t in op.outputs if t >= 0]
    taken = [graph.tensors[t] for t in op.inputs if t in graph.computed]
    if any(-1 in tensor.shape for tensor in (*taken, *made)):
        return _of(op, "cpu", "its size is known only at run time", "fix the batch and the size")
    if any(tensor.dtype.startswith("float") for tensor in (*taken, *made)):
        return _of(op, "cpu", "it computes with floats", _INTEGER)
    if op.name in COMPARISONS:
        if any(tensor.dtype in ("int8", "uint8", "int16") for tensor in taken):
            return _of(op, "cpu", "TOSA compares no bytes", _COMPARED)
        return _of(op, "npu", "TOSA says it")
    if op.name in CANNOT:
        return _of(op, "cpu", "TOSA has no such op on integers", CANNOT[op.name])
    if op.name not in SAYS:
        return _of(op, "uncertain", _UNKNOWN)
    if op.name == "RESIZE_BILINEAR" and (nbytes := bytes_of(taken[0])) > SCRATCH_BYTES:
        reason = (
            f"TOSA says it, but Torq's compiler refuses resizes of more than {SCRATCH_BYTES:,} "
            f"bytes; this one takes {nbytes:,}"
        )
        return _of(op, "uncertain", reason, _SMALLER)
    return _of(op, "npu", "TOSA says it")


def _of(op: Op, placement: str, reason: str, advice: str = "") -> TosaOp:
    return TosaOp(op.index, op.name, placement, reason, advice)
