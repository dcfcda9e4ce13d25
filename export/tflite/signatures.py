"""The signatures of a .tflite file: the functions that it holds, by their names.

Each is a graph of its own. Runtimes that are not told which one to run take the first graph.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (field numbers).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from export.errors import ModelFileError
from export.tflite.table import Table

_MOST_SIGNATURES = 64
_MOST_SHOWN = 80  # characters of a name


@dataclass(frozen=True)
class Signature:
    """A function that a file holds.

    Attributes:
        name: Its name.
        graph: The place of its graph in the file.
        inputs: What it calls its inputs, by their tensors.
        outputs: What it calls its outputs, likewise.
    """

    name: str = ""
    graph: int = 0
    inputs: dict[int, str] = field(default_factory=dict)
    outputs: dict[int, str] = field(default_factory=dict)

    def to_run(self, inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, Any]:
        """Returns what the process of a file is told: the name, "" for the first graph, and ends.

        Args:
            inputs: Those of its graph, in order.
            outputs: Likewise.

        Raises:
            ModelFileError: If it does not name each of them.
        """
        if self.graph == 0:
            return {"signature": ""}
        if {*inputs} != {*self.inputs} or {*outputs} != {*self.outputs}:
            raise ModelFileError(
                f"The signature {self.name!r} does not name each input and output of its graph; "
                "convert the file again."
            )
        takes, gives = [self.inputs[t] for t in inputs], [self.outputs[t] for t in outputs]
        return {"signature": self.name, "takes": takes, "gives": gives}


def read_signatures(root: Table, wanted: str | None) -> tuple[Signature, tuple[Signature, ...]]:
    """Returns the signature that is read, and all that a file has.

    Args:
        root: The file's root table.
        wanted: Its name; where there is none of that name, it is that of the first graph.
    """

    def names(table: Table, slot: int) -> dict[int, str]:
        return {entry.scalar(1, "I", 0): entry.text(0) for entry in table.tables(slot)}

    found = tuple(
        Signature(table.text(2), table.scalar(4, "I", 0), names(table, 0), names(table, 1))
        for table in root.tables(7)[:_MOST_SIGNATURES]
    )
    first = next((each for each in found if each.graph == 0), Signature())
    return next((each for each in found if each.name == wanted), first), found


def check_signature(signatures: Sequence[Signature], wanted: str | None, path: object) -> None:
    """Refuses to guess which of a file's functions is meant.

    Args:
        signatures: Those of the file.
        wanted: What the user named, or None.
        path: For messages.

    Raises:
        ModelFileError: If there are several, and none is named.
        ValueError: If there is none of that name.
    """
    names = names_of(signatures)
    if wanted is None and len({each.graph for each in signatures}) > 1:
        raise ModelFileError(
            f"{path} has {len(signatures)} signatures, functions of their own: {names}; say which "
            "one is meant (--signature NAME)."
        )
    if wanted not in (None, *(each.name for each in signatures)):
        has = f"it has {names}" if names else "it has none"
        raise ValueError(f"{path} has no signature {wanted!r}; {has}.")


def names_of(signatures: Sequence[Signature]) -> str:
    """Returns the names of signatures, for messages."""
    return ", ".join(
        "".join(c for c in each.name[:_MOST_SHOWN] if c.isprintable()) for each in signatures
    )
