"""Reading a .tflite file without an interpreter: its tensors and ops.

Every offset is checked against the file's length and the work is bounded, so that a damaged or
hostile file ends in a `ModelFileError` and never in a crash, in hours or in gigabytes.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (field numbers).
"""

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from export.errors import ModelFileError
from export.tflite.signatures import Signature, read_signatures
from export.tflite.table import Table, TooMuchWork, root_table

_OP_NAMES = {v: k for k, v in vars(BuiltinOperator).items() if isinstance(v, int)}
_DTYPES = {v: k.lower() for k, v in vars(TensorType).items() if isinstance(v, int)}
_MOST_BYTES = 2**31 - 1  # what FlatBuffers can address
_MOST_DIMENSIONS = 16
_PIECE = 1 << 20
_MAPPED = 64 << 20  # bytes from which a file is mapped into memory and not read
_MOST_METADATA = 64
_MOST_OPS = 20_000  # of which a table is printed within two seconds
_MOST_COPIES = 4  # how often one constant is looked at, on average

# Fields of the options of ops: name, number in the schema, kind, default.
_ACTIVATION = ("fused_activation", 0, "b", 0)
_WINDOW = (("padding", 0, "b", 0), ("stride_w", 1, "i", 0), ("stride_h", 2, "i", 0))
_DILATION = (("dilation_w", 4, "i", 1), ("dilation_h", 5, "i", 1))
_POOL = (
    *_WINDOW,
    ("filter_w", 3, "i", 0),
    ("filter_h", 4, "i", 0),
    ("fused_activation", 5, "b", 0),
)
_REDUCE = (("keep_dims", 0, "B", 0),)
_OPTIONS = {
    "ADD": (_ACTIVATION,),
    "AVERAGE_POOL_2D": _POOL,
    "CONCATENATION": (("axis", 0, "i", 0), ("fused_activation", 1, "b", 0)),
    "CONV_2D": (*_WINDOW, ("fused_activation", 3, "b", 0), *_DILATION),
    "DEPTHWISE_CONV_2D": (
        *_WINDOW,
        ("depth_multiplier", 3, "i", 0),
        ("fused_activation", 4, "b", 0),
        ("dilation_w", 5, "i", 1),
        ("dilation_h", 6, "i", 1),
    ),
    "FULLY_CONNECTED": (_ACTIVATION, ("weights_format", 1, "b", 0), ("keep_num_dims", 2, "B", 0)),
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "MUL": (_ACTIVATION,),
    "PACK": (("values_count", 0, "i", 0), ("axis", 1, "i", 0)),
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "RESIZE_BILINEAR": (("align_corners", 2, "B", 0), ("half_pixel_centers", 3, "B", 0)),
    "RESIZE_NEAREST_NEIGHBOR": (("align_corners", 0, "B", 0), ("half_pixel_centers", 1, "B", 0)),
    "SPLIT": (("num_splits", 0, "i", 0),),
    "STRIDED_SLICE": (("ellipsis_mask", 2, "i", 0), ("new_axis_mask", 3, "i", 0)),
    "SUB": (_ACTIVATION,),
    "SUM": _REDUCE,
    "TRANSPOSE_CONV": (*_WINDOW, ("fused_activation", 3, "b", 0)),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: The name that the converter gave it.
        dtype: "int8", "uint8", "float32", ...
        shape: All sizes; a size known only at run time is -1.
        scales: Real value of one step; one, one for each channel, or none.
        zero_points: Stored value of 0; one, one for each channel, or none.
        nbytes: Bytes of the constant it holds; 0 if it is computed.
        default_shape: The shape that is stored, which has 1 where `shape` has -1.
        data: The constant, in the file's bytes.
        is_variable: Whether it keeps its value from run to run.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    nbytes: int
    default_shape: tuple[int, ...] = ()
    data: bytes | memoryview = b""
    is_variable: bool = False


@dataclass(frozen=True)
class Op:
    """An op of the graph.

    Attributes:
        index: In execution order.
        name: Builtin name, such as "CONV_2D"; "CUSTOM" for others.
        version: Which form of the op; newer ones have higher numbers.
        inputs: Indices of tensors; -1 where an optional one is missing.
        outputs: Indices of tensors.
        options: Those that the schema has for the op, by name; booleans are 0 or 1.
        custom_name: The name of a "CUSTOM" op.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int] = field(default_factory=dict)
    custom_name: str = ""


@dataclass(frozen=True)
class ModelFile:
    """What a .tflite file says.

    Attributes:
        tensors: Those of the signature's graph.
        ops: Likewise, in execution order.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        size_bytes: How large the file is.
        op_codes: (op, version) of the whole file, also of what IF and WHILE ops call.
        metadata: Named buffers, such as "TFLITE_METADATA".
        output_names: The signature's name for each output, or else the tensor's.
        signature: That whose graph this is.
        signatures: All that the file has.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    size_bytes: int
    op_codes: tuple[tuple[str, int], ...] = ()
    metadata: Mapping[str, bytes | memoryview] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    signature: Signature = field(default_factory=Signature)
    signatures: tuple[Signature, ...] = ()
    _zeros: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)
    _looked_at: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    @cached_property
    def computed(self) -> frozenset[int]:
        """Indices of tensors that are known only at run time: inputs and results of ops."""
        return frozenset(self.inputs).union(*(op.outputs for op in self.ops))

    def is_zero(self, index: int) -> bool:
        """Says whether a constant of bytes stands for 0 all over.

        Args:
            index: Which tensor.

        Raises:
            TooMuchWork: If far more bytes were looked at than an honest file holds. Many tensors
                may share the bytes of one constant.
        """
        if index not in self._zeros:
            tensor = self.tensors[index]
            self._looked_at[0] += tensor.nbytes
            if self._looked_at[0] > _MOST_COPIES * self.size_bytes:
                raise TooMuchWork
            zero = bytes([(tensor.zero_points[0] if tensor.zero_points else 0) % 256])
            pieces = range(0, tensor.nbytes, _PIECE)
            self._zeros[index] = not any(
                bytes(tensor.data[at : at + _PIECE]).strip(zero) for at in pieces
            )
        return self._zeros[index]

    def op_counts(self) -> dict[str, int]:
        """Returns how often each op occurs, most often first."""
        counts: dict[str, int] = {}
        for op in self.ops:
            counts[op.name] = counts.get(op.name, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_model(path: str | Path, signature: str | None = None) -> ModelFile:
    """Reads a .tflite file.

    Args:
        path: The file.
        signature: That whose graph is read; the first graph where there is none of that name.

    Returns:
        The graph.

    Raises:
        ModelFileError: If it is missing, no .tflite file, or damaged.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a device may have no end
            raise ModelFileError(f"{path} is no file.")
        if path.stat().st_size > _MOST_BYTES:
            raise ModelFileError(f"{path} is no .tflite file: it is larger than 2 GB.")
        content = _content(path)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from None
    if content[4:8] != b"TFL3":
        raise ModelFileError(f"{path} is no .tflite file: it lacks the mark TFL3.")
    try:
        return _read(content, signature)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        why = "it ends early" if isinstance(error, struct.error) else error
        raise ModelFileError(f"{path} is damaged: {why}.") from None


def _content(path: Path) -> Any:
    """Returns a file's bytes; of a large one only what is looked at ever takes memory."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < _MAPPED:
            return file.read(_MAPPED)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read(content: bytes, wanted: str | None) -> ModelFile:
    root = root_table(content)
    codes = [_op_code(code) for code in root.tables(1)]
    buffers = [buffer.raw(0) for buffer in root.tables(4)]
    graphs = root.tables(2)
    if not graphs:
        raise ValueError("it has no graph")
    signature, signatures = read_signatures(root, wanted)
    graph = graphs[signature.graph]
    tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
    tables = graph.tables(3)
    if len(tables) > _MOST_OPS:
        raise ValueError(f"it has {len(tables)} ops, and kseg reads up to {_MOST_OPS}")
    ops = tuple(_op(index, table, codes) for index, table in enumerate(tables))
    _check_order(ops, len(tensors))
    inputs, outputs = graph.vector(1, "i"), graph.vector(2, "i")
    if not inputs or not outputs or not all(0 <= t < len(tensors) for t in (*inputs, *outputs)):
        raise ValueError("its inputs or outputs do not exist")
    op_codes = tuple((name, version) for name, version, _ in codes)
    metadata = {
        entry.text(0): buffers[entry.scalar(1, "I", 0)] for entry in root.tables(6)[:_MOST_METADATA]
    }
    names = tuple(signature.outputs.get(t, tensors[t].name) for t in outputs)
    facts = len(content), op_codes, metadata, names, signature, signatures
    return ModelFile(tensors, ops, inputs, outputs, *facts)


def _op_code(table: Table) -> tuple[str, int, str]:
    # Old files have only the first field, a byte; newer ones put 127 there for high codes.
    code = max(table.scalar(0, "b", 0), table.scalar(3, "i", 0))
    return _OP_NAMES.get(code, f"UNKNOWN_{code}"), table.scalar(2, "i", 1), table.text(1)


def _op(index: int, table: Table, codes: list[tuple[str, int, str]]) -> Op:
    name, version, custom_name = codes[table.scalar(0, "I", 0)]
    stored = table.table(4)
    options = {
        option: stored.scalar(number, kind, default) if stored else default
        for option, number, kind, default in _OPTIONS.get(name, ())
    }
    inputs, outputs = table.vector(1, "i"), table.vector(2, "i")
    return Op(index, name, version, inputs, outputs, options, custom_name)


def _check_order(ops: tuple[Op, ...], tensors: int) -> None:
    """Refuses ops that name tensors which do not exist, or whose inputs are computed later."""
    makers = {tensor: op.index for op in ops for tensor in op.outputs}
    for op in ops:
        for tensor in (*op.inputs, *op.outputs):
            if not -1 <= tensor < tensors:
                raise ValueError(f"op {op.index} names the tensor {tensor}, which does not exist")
        if any(makers.get(tensor, -1) >= op.index for tensor in op.inputs if tensor >= 0):
            raise ValueError(f"op {op.index} needs what is computed after it")


def _tensor(table: Table, buffers: list[memoryview]) -> Tensor:
    quantization = table.table(4)
    default_shape = table.vector(0, "i")
    shape = table.vector(7, "i") or default_shape
    if len(shape) > _MOST_DIMENSIONS or any(size < -1 for size in (*shape, *default_shape)):
        raise ValueError("a tensor has an impossible shape")
    data = buffers[table.scalar(2, "I", 0)]
    return Tensor(
        name=table.text(3),
        dtype=_DTYPES.get(table.scalar(1, "b", 0), "unknown"),
        shape=shape,
        scales=quantization.vector(2, "f") if quantization else (),
        zero_points=quantization.vector(3, "q") if quantization else (),
        nbytes=len(data),
        default_shape=default_shape,
        data=data,
        is_variable=bool(table.scalar(5, "B", 0)),
    )
