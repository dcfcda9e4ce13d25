"""Which ops of a .tflite file run on Google's Edge TPU, and why the others do not.

The compiler hands the ops it can do to TensorFlow Lite's delegate partitioner and compiles the
first subset that comes back. So an op runs on the Edge TPU if the compiler supports it, and if
everything it depends on does too; CPU ops that come before all of these do no harm.

Source: PartitionGraphIntoIndependentNodeSubsets in tensorflow/lite/graph_info.cc;
coral.ai/docs/edgetpu/models-intro.
"""

import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.devices.edgetpu.limits import Verdict, shape_of
from export.devices.edgetpu.rules import SUBGRAPH, VERSION, judge, version_advice
from export.errors import ModelFileError
from export.targets import EDGETPU_VERSIONS
from export.tflite.need import count_macs
from export.tflite.reader import ModelFile, read_model
from export.tflite.table import TooMuchWork

CACHE_BYTES = int(7.8 * 2**20)  # what the chip keeps of the parameters; the rest is sent each time

_QUANTIZE = "convert it to full integers (--quantization int8)"
_DEAD = Verdict("dead", "nothing uses its result")
_REFUSED = Verdict("cpu", "the file is refused")

# Inputs that decide about the size of the output: if they are computed, so is the size.
_SIZES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("BROADCAST_TO", "EXPAND_DIMS", "MEAN", "MIRROR_PAD", "ONE_HOT", "PAD"), (1,)),
    **dict.fromkeys(("PADV2", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR"), (1,)),
    **dict.fromkeys(("RESIZE_NEAREST_NEIGHBOR", "SUM", "TILE", "TOPK_V2", "TRANSPOSE"), (1,)),
    **dict.fromkeys(("BATCH_TO_SPACE_ND", "SLICE", "SPACE_TO_BATCH_ND"), (1, 2)),
    **dict.fromkeys(("FILL", "TRANSPOSE_CONV"), (0,)),
    "RANGE": (0, 1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "UNIQUE": (0,),
    "WHERE": (0,),
}
# Custom ops that the compiler parses and leaves on the CPU: those of TensorFlow Lite's own list in
# 2021 (tensorflow/lite/kernels/register.cc), and the decoder of Coral's PoseNet and BodyPix.
_CUSTOM_OPS = frozenset(
    (
        "AudioSpectrogram",
        "Mfcc",
        "NumericVerify",
        "PosenetDecoderOp",
        "TFLite_Detection_PostProcess",
    )
)


@dataclass(frozen=True)
class OpPlacement:
    """Where an op runs.

    Attributes:
        index: In the file's order, which is the order of execution.
        name: Builtin name, such as "CONV_2D".
        placement: "tpu", "cpu", "uncertain" where neither documents nor known outcomes decide,
            or "dead" if nothing uses its result.
        reason: In the compiler's own status words.
        advice: What would help, if anything is known to.
    """

    index: int
    name: str
    placement: str
    reason: str
    advice: str | None


@dataclass(frozen=True)
class CheckResult:
    """What the Edge TPU compiler would make of a file.

    Attributes:
        compiles: Whether it takes the file at all.
        refusal: Why not; None if it does.
        ops: In the file's order.
        macs_on_tpu: Share of the multiply-adds, 0..1; None if the file has none.
        parameter_bytes: Weights and biases of the ops on the Edge TPU; `CACHE_BYTES` fit on it.
        subgraphs: Edge TPU programs in the compiled file: 0 or 1.
    """

    compiles: bool
    refusal: str | None
    ops: tuple[OpPlacement, ...]
    macs_on_tpu: float | None
    parameter_bytes: int
    subgraphs: int

    def to_json(self) -> dict[str, Any]:
        """Returns the result as `kseg check --json` prints it."""
        return asdict(self) | {"ops": [asdict(op) for op in self.ops]}


def check(path: str | Path) -> CheckResult:
    """Says what Google's Edge TPU compiler 16.0 would make of a .tflite file.

    Neither TensorFlow nor an interpreter is used: the file is only read.

    Args:
        path: The file.

    Returns:
        Where each op runs and why.

    Raises:
        ModelFileError: If the file is missing, no .tflite file, or damaged.
    """
    graph = read_model(path)
    try:
        return _check(graph)
    except TooMuchWork as error:
        raise ModelFileError(f"{path} is damaged: {error}.") from None
    except (IndexError, ValueError, struct.error):
        raise ModelFileError(f"{path} is damaged: an op lacks an input or an output.") from None


def _check(graph: ModelFile) -> CheckResult:
    refusal, culprits = _refusal(graph)
    live = _live(graph)
    if refusal:
        verdicts = [culprits.get(op.index, _REFUSED) for op in graph.ops]
    else:
        verdicts = _place([judge(op, graph) for op in graph.ops], graph)
    ops = tuple(
        OpPlacement(op.index, op.name, *(verdict if alive else _DEAD))
        for op, verdict, alive in zip(graph.ops, verdicts, live, strict=True)
    )
    mapped = [op for op, placed in zip(graph.ops, ops, strict=True) if placed.placement == "tpu"]
    macs = sum(count_macs(op, graph) for op in graph.ops)
    constants = {t for op in mapped for t in op.inputs if t >= 0}
    parameters = [graph.tensors[t] for t in constants if graph.tensors[t].scales]
    return CheckResult(
        compiles=refusal is None,
        refusal=refusal,
        ops=ops,
        macs_on_tpu=sum(count_macs(op, graph) for op in mapped) / macs if macs else None,
        parameter_bytes=sum(tensor.nbytes for tensor in parameters),
        subgraphs=int(bool(mapped)),
    )


def _refusal(graph: ModelFile) -> tuple[str | None, dict[int, Verdict]]:
    """Returns why the compiler takes nothing of the file, and the verdicts of ops to blame."""
    if any(op.custom_name == "edgetpu-custom-op" for op in graph.ops):
        return "it is compiled for the Edge TPU already", {}
    for name, version in graph.op_codes:
        if _unknown(name, version):
            newest, advice = EDGETPU_VERSIONS.get(name), version_advice(name)
            sentence = f"compiler 16.0 cannot parse {name} of version {version}"
            sentence += f", only up to {newest}" if newest else ""
            blamed = {
                op.index: Verdict("cpu", VERSION, version_advice(op.name))
                for op in graph.ops
                if _unknown(op.name, op.version)
            }
            return f"{sentence}; {advice}" if advice else sentence, blamed
    for op in graph.ops:
        if op.name == "CUSTOM" and op.custom_name not in _CUSTOM_OPS:
            sentence = f"op {op.index} is {_printable(op.custom_name)}, a custom op that compiler "
            advice = "use ops of TensorFlow Lite alone"
            return f"{sentence}16.0 does not know; {advice}", {
                op.index: Verdict("cpu", "Operation not supported", advice)
            }
    if not _is_quantized(graph):
        return f"it is not quantized: no op computes with 8-bit integers; {_QUANTIZE}", {}
    for op in graph.ops:
        places = [place for place in _SIZES.get(op.name, ()) if place < len(op.inputs)]
        if any(op.inputs[place] in graph.computed for place in places):
            advice = "convert with a fixed batch of 1 and a fixed size"
            sentence = f"op {op.index}, {op.name}, has a size that is only known as it runs"
            return f"{sentence}; {advice}", {op.index: Verdict("cpu", "dynamic size", advice)}
    return _input_refusal(graph), {}


def _printable(name: str) -> str:
    return "".join(c for c in name[:80] if c.isprintable()) or "a nameless op"


def _is_quantized(graph: ModelFile) -> bool:
    """Says whether anything that is computed is an 8-bit integer.

    Float, float16 and dynamic-range files compute in float, int16x8 files with 16 bits. A uint8
    image without a scale that a float network takes is not quantized either, nor is a class map
    that it casts to uint8.
    """
    computed = (graph.tensors[t] for t in graph.computed if t >= 0)
    return any(
        tensor.dtype == "int8" or (tensor.dtype == "uint8" and tensor.scales) for tensor in computed
    )


def _unknown(name: str, version: int) -> bool:
    return name != "CUSTOM" and version > EDGETPU_VERSIONS.get(name, 0)


def _input_refusal(graph: ModelFile) -> str | None:
    for tensor in (graph.tensors[t] for t in graph.inputs):
        # An open batch alone is compiled as 1, as long as no op asks for its size.
        if min(tensor.shape[1:], default=1) < 1 or min(shape_of(tensor), default=1) < 1:
            return f"its input {tensor.name!r} has an open size; convert with a fixed size"
        if len(tensor.shape) > 3 and shape_of(tensor)[0] != 1:
            batch = shape_of(tensor)[0]
            return f"its input {tensor.name!r} has a batch of {batch}; convert with a batch of 1"
    return None


def _live(graph: ModelFile) -> list[bool]:
    """Returns for each op whether an output of the file depends on it."""
    needed = set(graph.outputs)
    live = []
    for op in reversed(graph.ops):
        # An op without outputs is there for what it does.
        alive = not op.outputs or not needed.isdisjoint(op.outputs)
        if alive:
            needed.update(op.inputs)
        live.append(alive)
    return live[::-1]


def _place(verdicts: list[Verdict], graph: ModelFile) -> list[Verdict]:
    """Turns what the compiler says to each op by itself into where each one runs."""
    taken = [
        _first_subset([verdict.placement in placements for verdict in verdicts], graph)
        for placements in (("tpu", "uncertain"), ("tpu",))
    ]
    placed = []
    for verdict, hopeful, doubtful in zip(verdicts, *taken, strict=True):
        if hopeful == doubtful:
            placement = "tpu" if hopeful else "cpu"
        else:
            placement = "uncertain"
        behind = verdict.placement == "tpu" and placement != "tpu"
        placed.append(
            Verdict(placement, SUBGRAPH) if behind else verdict._replace(placement=placement)
        )
    return placed


def _first_subset(supported: list[bool], graph: ModelFile) -> list[bool]:
    """Returns which ops are in the first subset of supported ops, in the delegate's order.

    The partitioner takes ready ops of one kind for as long as there are any, beginning with the
    kind of the first op; then those of the other kind.
    """
    makers = {tensor: op.index for op in graph.ops for tensor in op.outputs}
    first: list[bool] = []  # the CPU ops that come before everything else
    subset: list[bool] = []
    for op, able in zip(graph.ops, supported, strict=True):
        sources = {makers[t] for t in op.inputs if t in makers}
        first.append(not supported[0] and not able and all(first[s] for s in sources))
        subset.append(able and all(first[s] or subset[s] for s in sources))
    return subset
