"""Synaptics' compiler for the Coral NPU of its SL2610 boards, where it is on PATH.

Source: synaptics-torq/torq-compiler, doc/user-manual and compiler/torq/Codegen/
AssignAddressesPass.cpp, whose messages are read here; torq-compile 2.3.0 refused three networks of
the zoo at 360 x 480 with them.
"""

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TORQ = "torq-compile"
_SECONDS = 1800
_BOARD = "SL2610"
_ERROR = re.compile(r"(?:^|: )error: (.+)$", re.MULTILINE)
_OVERFLOW = re.compile(r"Memory usage: (\d+) exceeds (\w+) size (\d+) bytes")
_HELD = re.compile(r"^\s*size: (\d+) value: .*?memref<((?:\d+x)+)\w+", re.MULTILINE)
_FIRST, _PEAK = "Memory allocated at first overflow:", "Peak operation at operation"


@dataclass(frozen=True)
class TorqResult:
    """What torq-compile said.

    Attributes:
        succeeded: Whether it wrote a file for the board.
        failure: Why not; "" if it did.
        needed_bytes: Memory that the first op over the limit needs; 0 if none is.
        limit_bytes: What there is of that memory; 0 likewise.
        held: Shapes of the tensors in that memory, with the bytes of each, the largest first.
    """

    succeeded: bool
    failure: str = ""
    needed_bytes: int = 0
    limit_bytes: int = 0
    held: tuple[tuple[tuple[int, ...], int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns it as it stands in a report."""
        return asdict(self)


def run_torq(tosa: Path, out: Path) -> TorqResult | None:
    """Compiles TOSA for a Synaptics board.

    Args:
        tosa: The .mlirbc file.
        out: The .vmfb file to write.

    Returns:
        What the compiler said; None where it is not on PATH.
    """
    program = shutil.which(TORQ)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, str(tosa), "-o", str(out), f"--torq-hw={_BOARD}"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return TorqResult(False, f"it took longer than {_SECONDS // 60} minutes")
    if done.returncode == 0 and out.is_file():
        return TorqResult(True)
    out.unlink(missing_ok=True)
    return read_failure(done.stdout + done.stderr)


def read_failure(said: str) -> TorqResult:
    """Returns what a failed compilation said.

    Args:
        said: What the compiler printed. It prints much that is no error even where it succeeds.
    """
    if overflow := _OVERFLOW.search(said):
        needed, memory, limit = overflow.groups()
        part = said.partition(_FIRST)[2].partition(_PEAK)[0]
        held = [(_shape(sizes), int(count)) for count, sizes in _HELD.findall(part)]
        held.sort(key=lambda entry: -entry[1])
        largest = f"; the largest tensor there is {_times(held[0][0])}" if held else ""
        failure = (
            f"an op needs {int(needed):,} bytes of {memory}, which has {int(limit):,}{largest}"
        )
        return TorqResult(False, failure, int(needed), int(limit), tuple(held))
    errors = _ERROR.findall(said)
    lines = said.strip().splitlines()
    reason = errors[0] if errors else lines[-1] if lines else "no reason given"
    return TorqResult(False, "".join(c for c in reason[:200] if c.isprintable()))


def _shape(sizes: str) -> tuple[int, ...]:
    return tuple(int(size) for size in sizes.rstrip("x").split("x"))


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
