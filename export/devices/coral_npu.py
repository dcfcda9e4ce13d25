"""The Coral NPU: a file as TOSA, compiled by IREE and run on this machine's CPU.

`pip install kseg[coral-npu]` brings Arm's converter and IREE. Google's and Synaptics' compilers for
the NPU are plug-ins of IREE that take the same TOSA.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from export.devices.placement import OpPlace, Placement
from export.devices.torq import run_torq
from export.devices.tosa import TosaCheck, check_tosa
from export.errors import GateError
from export.targets import Target
from export.tflite.runtime import load_tflite
from kseg.inference import predict

_SECONDS = 1800
_CONVERT = "import sys; from tosa_converter_for_tflite.cli import main; sys.exit(main())"
_LEFT = re.compile(r'= "?tfl\.(\w+)')
_FLAGS = (
    "--iree-input-type=tosa",
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
)
INSTALL = "pip install kseg[coral-npu]"


def on_coral_npu(path: Path, target: Target, folder: Path, with_compiler: bool) -> Placement:
    """Says what TOSA can say of a file, and writes it as TOSA; see `placement.place`.

    X.mlirbc comes into the folder where Arm's converter is installed, and X.vmfb where Synaptics'
    torq-compile is on PATH.
    """
    checked = check_tosa(path)
    if not checked.legal:
        raise GateError(f"TOSA, which the Coral NPU takes, cannot say {_problems(checked)}.")
    places = tuple(OpPlace(op.placement, op.reason, op.advice) for op in checked.ops)
    doubts = [op for op in checked.ops if op.placement == "uncertain"]
    sentence = f"TOSA can say {checked.said} of {len(places)} ops"
    if doubts:
        sentence += f"; uncertain: {_names(doubts)}"
    details: dict[str, Any] = {"tosa": None, "torq": None}
    if not is_installed():
        sentence += f"; Arm's converter is not installed ({INSTALL}), so it is not written as TOSA"
        return Placement(sentence, len(doubts), places, details)
    tosa = to_tosa(path, folder)
    details["tosa"] = tosa.name
    if with_compiler and (compiled := run_torq(tosa, folder / f"{path.stem}.vmfb")) is not None:
        details["torq"] = compiled.to_json()
        if not compiled.succeeded:
            advice = next((f" {op.advice.capitalize()}." for op in doubts if op.advice), "")
            raise GateError(f"torq-compile refuses the file: {compiled.failure}.{advice}")
        sentence += "; torq-compile compiles it"
    return Placement(sentence, len(doubts), places, details)


def to_tosa(path: Path, folder: Path) -> Path:
    """Writes a .tflite file as TOSA, with Arm's converter.

    Args:
        path: The file.
        folder: Where X.mlirbc is written.

    Returns:
        X.mlirbc.

    Raises:
        GateError: If the converter refuses it, or leaves ops that are not TOSA's.
    """
    made = folder / f"{path.stem}.mlirbc"
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "text.mlir"
        for form, out in (("--text", text), ("--bytecode", made)):
            done = _run([sys.executable, "-P", "-c", _CONVERT, str(path), form, "-o", str(out)])
            if done.returncode or not out.is_file():
                made.unlink(missing_ok=True)
                raise GateError(f"Arm's TOSA converter refuses {path.name}: {_last(done)}.")
        with text.open(encoding="utf-8", errors="replace") as lines:
            left = sorted({name for line in lines for name in _LEFT.findall(line[:200])})
    if left:
        made.unlink()
        raise GateError(f"{path.name} keeps ops that are not TOSA's: {', '.join(left)}.")
    return made


def converter_says(path: Path, folder: Path) -> tuple[str, Path | None]:
    """Returns what Arm's converter makes of a file, as a sentence, and X.mlirbc where it does."""
    if not is_installed():
        return f"not installed: {INSTALL}", None
    try:
        return "the file is TOSA", to_tosa(path, folder)
    except GateError as error:
        return str(error), None


def torq_says(tosa: Path | None) -> str:
    """Returns what torq-compile makes of X.mlirbc, as a sentence."""
    if tosa is None:
        return "not run: there is no TOSA"
    result = run_torq(tosa, tosa.with_suffix(".vmfb"))
    if result is None:
        return "not run: it is not on PATH"
    return "compiles it" if result.succeeded else f"refuses it: {result.failure}"


def is_installed() -> bool:
    """Says whether Arm's converter is there."""
    return importlib.util.find_spec("tosa_converter_for_tflite") is not None


def label(subject: Any) -> list[np.ndarray]:
    """Labels images with what IREE makes of a file's TOSA, on the CPU.

    Args:
        subject: An `export.proof.runtimes.Subject`.

    Raises:
        GateError: If the file cannot be said in TOSA, or IREE cannot compile it.
        ModelFileError: If IREE cannot run it.
    """
    with tempfile.TemporaryDirectory(prefix="kseg-iree-") as name:
        copied = Path(name) / "file.tflite"
        shutil.copyfile(subject.path, copied)
        compile_for_cpu(to_tosa(copied, copied.parent), copied.with_suffix(".vmfb"))
        with load_tflite(copied, kernels="iree", **subject.options) as file:
            return [predict(file, image, size=subject.size) for image in subject.images]


def compile_for_cpu(tosa: Path, out: Path) -> None:
    """Compiles TOSA with IREE for this machine's CPU, which takes about a minute.

    Args:
        tosa: The .mlirbc file.
        out: The .vmfb file to write.

    Raises:
        GateError: If IREE refuses it.
    """
    from iree.compiler.tools.binaries import find_tool

    done = _run([find_tool("iree-compile"), str(tosa), *_FLAGS, "-o", str(out)])
    if done.returncode or not out.is_file():
        raise GateError(f"IREE cannot compile {tosa.name}: {_last(done)}.")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            command, 1, "", f"it took longer than {_SECONDS // 60} minutes"
        )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the last line that says what is wrong."""
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    line = (errors or lines or ["no reason given"])[-1]
    return "".join(c for c in line[:300] if c.isprintable()).strip().rstrip(".")


def _problems(checked: TosaCheck) -> str:
    wrong = [op for op in checked.ops if op.placement == "cpu"]
    reasons = dict.fromkeys((op.reason, op.advice) for op in wrong)
    return "; ".join(
        f"{_names([op for op in wrong if (op.reason, op.advice) == key])} ({key[0]}; {key[1]})"
        for key in reasons
    )


def _names(ops: Any) -> str:
    return ", ".join(sorted({op.name for op in ops}))
