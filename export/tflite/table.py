"""Tables of a FlatBuffers file, every access checked.

Source: the FlatBuffers binary format (flatbuffers.dev/internals).
"""

import struct
from typing import Any

_MOST_WORK = 1_000_000  # about a second; offsets may point at one place many times


class TooMuchWork(ValueError):
    """A file asks for far more work than an honest one."""

    def __init__(self) -> None:
        """Says so."""
        super().__init__("it holds far more than a model needs")


def root_table(content: bytes) -> "Table":
    """Returns the table that a file begins with.

    Args:
        content: The file.

    Returns:
        Its root. It and what is reached from it raise ValueError or struct.error where an offset
        leaves the file, and TooMuchWork once more was decoded than an honest file holds.
    """
    source = _Source(content)
    return Table(source, source.unpack("<I", 0))


class _Source:
    """The file, and how much of it was decoded."""

    __slots__ = ("content", "work")

    def __init__(self, content: bytes):
        self.content, self.work = content, 0

    def unpack(self, kind: str, at: int) -> Any:
        self.spend(1)
        if at < 0:  # struct would count from the end
            raise ValueError("an offset points before the start")
        return struct.unpack_from(kind, self.content, at)[0]

    def spend(self, amount: int) -> None:
        self.work += amount
        if self.work > _MOST_WORK:
            raise TooMuchWork


class Table:
    """A table; fields are asked for by their number in the schema."""

    __slots__ = ("position", "slots", "slots_size", "source")

    def __init__(self, source: _Source, position: int):
        """Opens the table that lies at a position."""
        source.spend(4)
        self.source, self.position = source, position
        self.slots = position - source.unpack("<i", position)
        self.slots_size = source.unpack("<H", self.slots)

    def scalar(self, field: int, kind: str, default: int) -> int:
        """Returns a number; `kind` is its letter in `struct`."""
        at = self._find(field)
        return self.source.unpack(f"<{kind}", at) if at else default

    def table(self, field: int) -> "Table | None":
        """Returns a table."""
        at = self._find(field)
        return Table(self.source, at + self.source.unpack("<I", at)) if at else None

    def tables(self, field: int) -> list["Table"]:
        """Returns a vector of tables."""
        start, count = self._span(field, 4)
        positions = range(start, start + 4 * count, 4)
        return [Table(self.source, at + self.source.unpack("<I", at)) for at in positions]

    def vector(self, field: int, kind: str) -> Any:
        """Returns a vector of numbers as a tuple."""
        start, count = self._span(field, struct.calcsize(kind))
        self.source.spend(count // 4)
        return struct.unpack_from(f"<{count}{kind}", self.source.content, start)

    def raw(self, field: int) -> memoryview:
        """Returns a vector of bytes without copying it."""
        start, count = self._span(field, 1)
        return memoryview(self.source.content)[start : start + count]

    def text(self, field: int) -> str:
        """Returns a string."""
        content = self.raw(field)
        self.source.spend(len(content) // 16)
        return bytes(content).decode("utf-8", "replace")

    def _find(self, field: int) -> int:
        """Returns where a field is, or 0 if the table lacks it."""
        slot = 4 + 2 * field
        if slot + 2 > self.slots_size:
            return 0
        offset = self.source.unpack("<H", self.slots + slot)
        return self.position + offset if offset else 0

    def _span(self, field: int, size: int) -> tuple[int, int]:
        """Returns the start and the length of a vector, checked against the file."""
        at = self._find(field)
        if not at:
            return 0, 0
        start = at + self.source.unpack("<I", at)
        count = self.source.unpack("<I", start)
        if start + 4 + count * size > len(self.source.content):
            raise ValueError("a vector reaches past the end")
        return start + 4, count
