"""Arm's Ethos-U: what its compiler, Vela, makes of a file.

Vela is open and runs anywhere (`pip install ethos-u-vela`). It turns what the NPU can run into one
op and leaves the rest to the CPU.
"""

import csv
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from export.errors import GateError

_SECONDS = 1800
_START = "import sys; from ethosu.vela.vela import main; sys.exit(main())"
_COUNT = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_LEFT = re.compile(
    r"^Warning \(supported operators\) operator: (\w+), ofm: '(.*)'\n(?:Reason: (.*))?",
    re.MULTILINE,
)
_MEMORY = {"sram_kib": "sram", "dram_kib": "dram", "flash_kib": "off_chip_flash"}


def run_vela(path: Path, accelerator: str, folder: Path) -> dict[str, Any]:
    """Compiles a file with Vela.

    Args:
        path: An int8 .tflite file.
        accelerator: Vela's name of the processor, such as "ethos-u55-128".
        folder: Where X_vela.tflite is written, the file for the device.

    Returns:
        "available" False and "sentence" where Vela is not installed. Else "available" True and
        "system" (that it estimates for), "npu_ops", "cpu_ops", "cpu" (a list of "op", "tensor" and
        "reason"), "sram_kib", "dram_kib", "flash_kib", "macs", "estimated_ms" and "file".

    Raises:
        GateError: If Vela refuses the file.
    """
    if importlib.util.find_spec("ethosu") is None:
        return {
            "available": False,
            "sentence": "Vela is not installed, so nothing is known of the NPU; install it with "
            "pip install kseg[ethos].",
        }
    compiled = f"{path.stem}_vela.tflite"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [sys.executable, "-c", _START, str(path), "--output-dir", temporary]
        done = _compile([*command, "--accelerator-config", accelerator], path)
        summaries = list(Path(temporary).glob("*_summary_*.csv"))
        if done.returncode or not summaries:
            said = done.stderr.strip().splitlines()
            raise GateError(
                f"Vela cannot compile {path.name} for {accelerator}: "
                f"{said[-1].rstrip('.') if said else 'no reason given'}."
            )
        with summaries[0].open(encoding="utf-8", newline="") as file:
            facts = next(csv.DictReader(file))
        os.replace(Path(temporary) / compiled, folder / compiled)
    counts = dict(_COUNT.findall(done.stdout))
    return {
        "available": True,
        "system": facts["system_config"],
        "npu_ops": int(counts.get("NPU", 0)),
        "cpu_ops": int(counts.get("CPU", 0)),
        "cpu": [
            {"op": op, "tensor": tensor, "reason": reason}
            for op, tensor, reason in _LEFT.findall(done.stdout)
        ],
        **{key: float(facts[f"{name}_memory_used"]) for key, name in _MEMORY.items()},
        "macs": int(facts["nn_macs"]),
        "estimated_ms": 1000 * float(facts["inference_time"]),
        "file": compiled,
    }


def _compile(command: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise GateError(
            f"Vela took longer than {_SECONDS // 60} minutes over {path.name}; export a smaller "
            "--size."
        ) from None
