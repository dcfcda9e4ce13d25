"""Reading a .tflite file without an interpreter: its tensors and ops.

Every offset is checked against the file's length, so that a damaged or hostile file ends in a
`ModelFileError` and never in a crash.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (field numbers) and the FlatBuffers
binary format.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from export.errors import ModelFileError

_OP_NAMES = {v: k for k, v in vars(BuiltinOperator).items() if isinstance(v, int)}
_DTYPES = {v: k.lower() for k, v in vars(TensorType).items() if isinstance(v, int)}
_LONGEST = 1_000_000  # entries of a vector that is not a weight


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: As the converter named it.
        dtype: "int8", "uint8", "float32", ...
        shape: All sizes; a size known only at run time is -1.
        scales: Of the quantization; one, one for each channel, or none.
        zero_points: Likewise.
        nbytes: Of the constant it holds; 0 if it is computed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class Op:
    """An op of the graph.

    Attributes:
        index: In execution order.
        name: Builtin name, such as "CONV_2D"; "CUSTOM" for others.
        version: Of the op.
        inputs: Indices of tensors; -1 where an optional one is missing.
        outputs: Indices of tensors.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class ModelFile:
    """What a .tflite file says.

    Attributes:
        tensors: Of the first subgraph.
        ops: Of the first subgraph, in execution order.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        size_bytes: Of the file.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    size_bytes: int

    def op_counts(self) -> dict[str, int]:
        """Returns how often each op occurs, most often first."""
        counts: dict[str, int] = {}
        for op in self.ops:
            counts[op.name] = counts.get(op.name, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_model(path: str | Path) -> ModelFile:
    """Reads a .tflite file.

    Args:
        path: The file.

    Returns:
        Its graph.

    Raises:
        ModelFileError: If it is missing, no .tflite file, or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from None
    if content[4:8] != b"TFL3":
        raise ModelFileError(f"{path} is no .tflite file: it lacks the mark TFL3.")
    try:
        return _read(content)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path} is damaged: {error}.") from None


def _read(content: bytes) -> ModelFile:
    root = _Table(content, struct.unpack_from("<I", content, 0)[0])
    codes = [_op_code(code) for code in root.tables(1)]
    sizes = [len(buffer.vector(0, "B")) for buffer in root.tables(4)]
    graphs = root.tables(2)
    if not graphs:
        raise ValueError("it has no graph")
    graph = graphs[0]
    tensors = tuple(_tensor(table, sizes) for table in graph.tables(0))
    ops = []
    for index, table in enumerate(graph.tables(3)):
        name, version = codes[table.scalar(0, "I", 0)]
        inputs, outputs = table.vector(1, "i"), table.vector(2, "i")
        for tensor in (*inputs, *outputs):
            if not -1 <= tensor < len(tensors):
                raise ValueError(f"op {index} names the tensor {tensor}, which does not exist")
        ops.append(Op(index, name, version, inputs, outputs))
    inputs, outputs = graph.vector(1, "i"), graph.vector(2, "i")
    if not inputs or not outputs or not all(0 <= t < len(tensors) for t in (*inputs, *outputs)):
        raise ValueError("its inputs or outputs do not exist")
    return ModelFile(tensors, tuple(ops), inputs, outputs, len(content))


def _op_code(table: "_Table") -> tuple[str, int]:
    # Old files have only the first field, a byte; newer ones put 127 there for high codes.
    code = max(table.scalar(0, "b", 0), table.scalar(3, "i", 0))
    return _OP_NAMES.get(code, f"UNKNOWN_{code}"), table.scalar(2, "i", 1)


def _tensor(table: "_Table", sizes: list[int]) -> Tensor:
    quantization = table.table(4)
    shape = table.vector(7, "i") or table.vector(0, "i")
    return Tensor(
        name=table.text(3),
        dtype=_DTYPES.get(table.scalar(1, "b", 0), "unknown"),
        shape=shape,
        scales=quantization.vector(2, "f") if quantization else (),
        zero_points=quantization.vector(3, "q") if quantization else (),
        nbytes=sizes[table.scalar(2, "I", 0)],
    )


class _Table:
    """A FlatBuffers table; fields are asked for by number."""

    def __init__(self, content: bytes, position: int):
        self.content, self.position = content, position
        self.slots = position - self._unpack("<i", position)
        self.slots_size = self._unpack("<H", self.slots)

    def scalar(self, field: int, kind: str, default: int) -> int:
        at = self._find(field)
        return self._unpack(f"<{kind}", at) if at else default

    def table(self, field: int) -> "_Table | None":
        at = self._find(field)
        return _Table(self.content, at + self._unpack("<I", at)) if at else None

    def tables(self, field: int) -> list["_Table"]:
        start, count = self._span(field, 4)
        positions = range(start, start + 4 * count, 4)
        return [_Table(self.content, at + self._unpack("<I", at)) for at in positions]

    def vector(self, field: int, kind: str) -> Any:
        size = struct.calcsize(kind)
        start, count = self._span(field, size)
        if kind == "B":  # weights: only their length is of interest
            return memoryview(self.content)[start : start + count]
        return struct.unpack_from(f"<{count}{kind}", self.content, start)

    def text(self, field: int) -> str:
        return bytes(self.vector(field, "B")).decode("utf-8", "replace")

    def _find(self, field: int) -> int:
        """Returns where a field is, or 0 if the table lacks it."""
        slot = 4 + 2 * field
        if slot + 2 > self.slots_size:
            return 0
        offset = self._unpack("<H", self.slots + slot)
        return self.position + offset if offset else 0

    def _span(self, field: int, size: int) -> tuple[int, int]:
        """Returns the start and the length of a vector, checked against the file."""
        at = self._find(field)
        if not at:
            return 0, 0
        start = at + self._unpack("<I", at)
        count = self._unpack("<I", start)
        if start + 4 + count * size > len(self.content) or (size > 1 and count > _LONGEST):
            raise ValueError("a vector reaches past the end")
        return start + 4, count

    def _unpack(self, kind: str, at: int) -> int:
        if at < 0:  # struct would count from the end
            raise ValueError("an offset points before the start")
        return struct.unpack_from(kind, self.content, at)[0]
