"""Where the ops of a file run on its target, by what that target's compiler says."""

import shutil
from pathlib import Path
from typing import Any

from export.devices.edgetpu.checker import check
from export.devices.edgetpu.compiler import COMPILER, compile_file, differences
from export.devices.ethos import run_vela
from export.errors import GateError
from export.targets import Target


def place(
    path: Path, target: Target, folder: Path, *, with_compiler: bool = True
) -> dict[str, Any] | None:
    """Asks the checker and the compiler of a target.

    Args:
        path: The file.
        target: What it is for.
        folder: Where Vela's compiled file is written.
        with_compiler: Whether Google's compiler is run, too, where it is on PATH.

    Returns:
        None where every op runs on the CPU or GPU. Else "off_device", how many ops do not run on
        the accelerator (None if that is unknown); "sentence" for the report; for the Edge TPU
        what `export.check` says, and "compiled" and "differences" where its compiler was run;
        for Ethos-U what `export.devices.ethos.run_vela` returns.

    Raises:
        GateError: If the target's compiler refuses the file.
    """
    if target.accelerator is not None:
        return _on_ethos(run_vela(path, target.accelerator, folder))
    if target.name != "edgetpu":
        return None
    return _on_edgetpu(path, with_compiler and shutil.which(COMPILER) is not None)


def _on_edgetpu(path: Path, with_compiler: bool) -> dict[str, Any]:
    checked = check(path)
    if not checked.compiles:
        raise GateError(f"The Edge TPU compiler would refuse the file: {checked.refusal}.")
    away = [op for op in checked.ops if op.placement != "tpu"]
    sentence = f"{len(checked.ops) - len(away)} of {len(checked.ops)} ops on the Edge TPU"
    if away:
        names = sorted({op.name for op in away if op.placement != "dead"})
        sentence += f"; elsewhere or uncertain: {', '.join(names)}"
    placed = {"off_device": len(away), **checked.to_json()}
    if with_compiler:
        compiled = compile_file(path)
        if not compiled.succeeded:
            raise GateError(f"{COMPILER} refuses the file: {compiled.failure}.")
        found = differences(checked, compiled)
        sentence += f"; {COMPILER} {compiled.version}: " + ("; ".join(found) or "as predicted")
        placed |= {"compiled": compiled.to_json(), "differences": found}
    return {"sentence": sentence, **placed}


def _on_ethos(summary: dict[str, Any]) -> dict[str, Any]:
    if not summary["available"]:
        return {"off_device": None, **summary}
    ops = summary["npu_ops"] + summary["cpu_ops"]
    sentence = (
        f"{summary['npu_ops']} of {ops} ops on the NPU, SRAM {summary['sram_kib']:.0f} KiB, "
        f"DRAM {summary['dram_kib']:.0f} KiB, flash {summary['flash_kib']:.0f} KiB, estimated "
        f"{summary['estimated_ms']:.1f} ms ({summary['system']})"
    )
    return {"off_device": summary["cpu_ops"], "sentence": sentence, **summary}
