"""Google's own Edge TPU compiler, where it is installed, and how well it was predicted.

Source: output and logs of compiler 2.0 to 16.0 in issues of google-coral/edgetpu (60, 356, 439,
651, 671, 829).
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.devices.edgetpu.checker import CheckResult
from export.devices.edgetpu.rules import MAPPED

COMPILER = "edgetpu_compiler"
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_FAILURES = (
    re.compile(r"Compilation failed: (.+)"),
    re.compile(r"ERROR: (.+)"),
    re.compile(r"(Internal compiler error)"),
    re.compile(r"(Invalid model.*)"),
)


@dataclass(frozen=True)
class Compilation:
    """What the compiler said.

    Attributes:
        version: Which compiler it was; "" if it did not say.
        succeeded: Whether it wrote a file.
        failure: Why not; None if it did.
        ops: (op, status) to how many there are.
        subgraphs: Edge TPU programs in the compiled file.
        on_chip_bytes: Parameters that stay on the chip.
        streamed_bytes: Parameters sent at every inference.
    """

    version: str
    succeeded: bool
    failure: str | None
    ops: dict[tuple[str, str], int]
    subgraphs: int = 0
    on_chip_bytes: int = 0
    streamed_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns it as `kseg check --compile --json` prints it."""
        ops = [
            {"name": name, "status": status, "count": count}
            for (name, status), count in sorted(self.ops.items())
        ]
        return {
            "version": self.version,
            "succeeded": self.succeeded,
            "failure": self.failure,
            "ops": ops,
            "subgraphs": self.subgraphs,
            "on_chip_bytes": self.on_chip_bytes,
            "streamed_bytes": self.streamed_bytes,
        }


def compile_file(path: str | Path, *, seconds: float = 200.0) -> Compilation:
    """Compiles a file with Google's compiler; what it writes is thrown away.

    Args:
        path: The .tflite file.
        seconds: When to give up; the compiler itself does after 180.

    Returns:
        What it said.

    Raises:
        FileNotFoundError: If the compiler is not on PATH.
    """
    program = shutil.which(COMPILER)
    if program is None:
        raise FileNotFoundError(
            f"{COMPILER} is not on PATH; it exists for x86-64 Linux "
            "(coral.ai/docs/edgetpu/compiler), and `kseg check` without --compile needs none."
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-s", "-o", folder, str(Path(path).resolve())]
        # It forks; killing the group ends the child that compiles, too.
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output = process.communicate(timeout=seconds)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return Compilation("", False, f"it took longer than {seconds:g} s", {})
        logs = [log.read_text(errors="replace") for log in Path(folder).glob("*_edgetpu.log")]
    return parse(output, "\n".join(logs))


def parse(output: str, log: str = "") -> Compilation:
    """Reads what the compiler printed and logged.

    Args:
        output: Its standard output and error.
        log: Content of `NAME_edgetpu.log`; the table in `output` is used if it has none.

    Returns:
        What they say.
    """
    version = _find(r"Edge TPU Compiler version (\S+)", output) or ""
    last = output[output.rfind("Try to compile segment") + 1 :]  # with -d, after failed attempts
    succeeded = "Model compiled successfully" in last
    failure = None
    if not succeeded:
        found = (pattern.search(last) for pattern in _FAILURES)
        failure = next((match[1].strip() for match in found if match), "it did not say why")
    return Compilation(
        version=version,
        succeeded=succeeded,
        failure=failure,
        ops=_table(log) or _table(last),
        subgraphs=int(_find(r"Number of Edge TPU subgraphs: (\d+)", last) or 0),
        on_chip_bytes=_bytes("On-chip memory used for caching model parameters", last),
        streamed_bytes=_bytes("Off-chip memory used for streaming uncached model parameters", last),
    )


def differences(predicted: CheckResult, compiled: Compilation) -> list[str]:
    """Compares a prediction with what the compiler did.

    The compiler counts by op and status and does not say which op it means, so this does, too.

    Args:
        predicted: What `check` says of the same file.
        compiled: What the compiler said.

    Returns:
        One sentence for each difference; none if all came as predicted.
    """
    if predicted.compiles != compiled.succeeded:
        if compiled.succeeded:
            return [f"predicted a refusal ({predicted.refusal}), but it compiled"]
        return [f"predicted that it compiles, but: {compiled.failure}"]
    if not compiled.succeeded:
        return []
    found = []
    for name in sorted({op.name for op in predicted.ops} | {op for op, _ in compiled.ops}):
        ops = [op for op in predicted.ops if op.name == name]
        sure = sum(op.placement == "tpu" for op in ops)
        possible = sure + sum(op.placement in ("uncertain", "dead") for op in ops)
        mapped = compiled.ops.get((name, MAPPED), 0)
        total = sum(count for (op, _), count in compiled.ops.items() if op == name)
        if total != len(ops) and not any(op.placement == "dead" for op in ops):
            found.append(f"{name}: the file has {len(ops)}, the compiler counts {total}")
        elif not sure <= mapped <= possible:
            said = str(sure) if sure == possible else f"{sure} to {possible}"
            found.append(f"{name}: predicted {said} on the Edge TPU, the compiler mapped {mapped}")
        elif sure == possible:
            found.extend(_other_reasons(name, ops, compiled))
    return found


def _other_reasons(name: str, ops: list, compiled: Compilation) -> list[str]:
    expected = Counter(op.reason for op in ops if op.placement == "cpu")
    given = {
        status: count
        for (op, status), count in compiled.ops.items()
        if op == name and status != MAPPED
    }
    if expected == given:
        return []
    reasons = [
        ", ".join(f"{n} x {what!r}" for what, n in sorted(r.items())) for r in (expected, given)
    ]
    return [f"{name}: predicted {reasons[0]}, the compiler says {reasons[1]}"]


def _table(text: str) -> dict[tuple[str, str], int]:
    """Reads the table of ops that the log and, with -s, the output end with."""
    ops: Counter[tuple[str, str]] = Counter()
    inside = False
    for line in text.splitlines():
        if re.match(r"Operator\s+Count\s+Status", line):
            inside = True
        elif inside:
            row = re.match(r"([A-Za-z0-9_-]+)\s+(\d+)\s+(\S.*)", line)
            if row:
                ops[row[1], row[3].strip()] += int(row[2])
            elif line.strip():
                inside = False
    return dict(ops)


def _find(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _bytes(label: str, text: str) -> int:
    match = re.search(rf"{label}: ([\d.]+)([KMG]iB|B)", text)
    return round(float(match[1]) * _UNITS[match[2]]) if match else 0
