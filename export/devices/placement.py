"""Where the ops of a file run on its target, by what that target's compiler says."""

import importlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.devices.edgetpu.checker import check
from export.devices.edgetpu.compiler import COMPILER, compile_file, differences
from export.devices.ethos import run_vela
from export.errors import GateError
from export.targets import Target
from export.tflite.reader import read_model


@dataclass(frozen=True)
class OpPlace:
    """Where an op runs.

    Attributes:
        placement: Such as "tpu", "npu" or "cpu"; "" if it is not known.
        reason: Why.
        advice: What would help; "" if nothing is known to.
    """

    placement: str
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Placement:
    """Where the ops of a file run.

    Attributes:
        sentence: The same in a sentence.
        off_device: How many ops do not run on the accelerator; None if that is unknown.
        ops: Op by op, in the file's order.
        details: What the target's own checker and compiler say, as plain data.
    """

    sentence: str
    off_device: int | None
    ops: tuple[OpPlace, ...]
    details: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Returns it as it stands in a report."""
        return {"sentence": self.sentence, "off_device": self.off_device, **self.details}


def place(
    path: Path, target: Target, folder: Path, *, with_compiler: bool = True
) -> Placement | None:
    """Asks the checker and the compiler of a target.

    Args:
        path: The file.
        target: What it is for.
        folder: Where a compiler's file for the device is written, such as Vela's.
        with_compiler: Whether Google's compiler is run, too, where it is on PATH.

    Returns:
        The placement; None where every op runs on the CPU or GPU.

    Raises:
        GateError: If the target's compiler refuses the file.
    """
    if target.placer is None:
        return None
    module, function = target.placer.split(":")
    return getattr(importlib.import_module(module), function)(path, target, folder, with_compiler)


def on_edgetpu(path: Path, target: Target, folder: Path, with_compiler: bool) -> Placement:
    """Asks `export.check`, and Google's compiler where it is on PATH; see `place`."""
    checked = check(path)
    if not checked.compiles:
        raise GateError(f"The Edge TPU compiler would refuse the file: {checked.refusal}.")
    away = [op for op in checked.ops if op.placement != "tpu"]
    sentence = f"{len(checked.ops) - len(away)} of {len(checked.ops)} ops on the Edge TPU"
    if away:
        names = sorted({op.name for op in away if op.placement != "dead"})
        sentence += f"; elsewhere or uncertain: {', '.join(names)}"
    details = checked.to_json()
    if with_compiler and shutil.which(COMPILER) is not None:
        compiled = compile_file(path)
        if not compiled.succeeded:
            raise GateError(f"{COMPILER} refuses the file: {compiled.failure}.")
        found = differences(checked, compiled)
        sentence += f"; {COMPILER} {compiled.version}: " + ("; ".join(found) or "as predicted")
        details |= {"compiled": compiled.to_json(), "differences": found}
    places = [OpPlace(op.placement, op.reason or "", op.advice or "") for op in checked.ops]
    return Placement(sentence, len(away), tuple(places), details)


def on_ethos(path: Path, target: Target, folder: Path, with_compiler: bool) -> Placement:
    """Asks Arm's compiler Vela; see `place`."""
    found = run_vela(path, target.accelerator or "", folder)
    graph = read_model(path)
    if not found["available"]:
        return Placement(found.pop("sentence"), None, (OpPlace(""),) * len(graph.ops), found)
    ops = found["npu_ops"] + found["cpu_ops"]
    sentence = (
        f"{found['npu_ops']} of {ops} ops on the NPU, SRAM {found['sram_kib']:.0f} KiB, "
        f"DRAM {found['dram_kib']:.0f} KiB, flash {found['flash_kib']:.0f} KiB, estimated "
        f"{found['estimated_ms']:.1f} ms ({found['system']})"
    )
    left = {op["tensor"]: op["reason"] for op in found["cpu"]}  # Vela names tensors
    made = [graph.tensors[op.outputs[0]].name for op in graph.ops]
    places = [OpPlace("cpu", left[name]) if name in left else OpPlace("npu") for name in made]
    return Placement(sentence, found["cpu_ops"], tuple(places), found)
