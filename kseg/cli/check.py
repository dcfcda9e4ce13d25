"""`kseg check`: says which ops the Edge TPU would run; needs neither TensorFlow nor Keras."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from export.devices.edgetpu.checker import CACHE_BYTES, CheckResult
from export.devices.edgetpu.checker import check as place
from export.devices.edgetpu.compiler import Compilation, compile_file, differences
from kseg.cli.options import Flag, Json
from kseg.cli.output import print_json, print_table, say

_PLACES = {"tpu": "Edge TPU", "cpu": "CPU", "uncertain": "uncertain", "dead": "dead"}
_COLORS = {"Edge TPU": "green", "CPU": "yellow", "uncertain": "yellow", "dead": "red"}


def check(
    file: Annotated[Path, Parameter(help="A .tflite file.")],
    /,
    *,
    compile: Annotated[
        Flag,
        Parameter(help="Run Google's edgetpu_compiler too, where it is on PATH, and compare."),
    ] = False,
    json: Json = False,
) -> None:
    """Says which ops of a .tflite file the Edge TPU would run, and why."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}.")
    result = place(file)
    compiled = compile_file(file) if compile else None
    if json:
        report = result.to_json()
        if compiled:
            report["compiler"] = compiled.to_json()
            report["compiler"]["differences"] = differences(result, compiled)
        print_json(report)
        return
    rows = [[op.index, op.name, _PLACES[op.placement], op.reason] for op in result.ops]
    print_table(rows, ["", "op", "runs on", "reason"], colors=_COLORS)
    say()
    print_table(_summary(result))
    for advice in dict.fromkeys(op.advice for op in result.ops if op.advice):
        indices = [str(op.index) for op in result.ops if op.advice == advice]
        shown = ", ".join(indices[:5]) + (", ..." if len(indices) > 5 else "")
        say(f"advice (op {shown}): {advice}")
    if compiled:
        _print_comparison(result, compiled)


def _summary(result: CheckResult) -> list[list[str]]:
    placements = [op.placement for op in result.ops]
    counts = [
        f"{placements.count(place)} {text}"
        for place, text in _PLACES.items()
        if place in placements
    ]
    share = (
        "none in the file" if result.macs_on_tpu is None else f"{100 * result.macs_on_tpu:.1f} %"
    )
    used = f"{result.parameter_bytes / 2**20:.2f} MiB"
    fits = "fit in" if result.parameter_bytes <= CACHE_BYTES else "are more than"
    return [
        ["compiles", "yes" if result.compiles else f"no: {result.refusal}"],
        ["ops", ", ".join(counts)],
        ["multiply-adds on the Edge TPU", share],
        ["parameters on the Edge TPU", f"{used}, {fits} its {CACHE_BYTES / 2**20:.1f} MiB cache"],
        ["Edge TPU programs", str(result.subgraphs)],
    ]


def _print_comparison(result: CheckResult, compiled: Compilation) -> None:
    said = "compiled it" if compiled.succeeded else f"refused it: {compiled.failure}"
    say(f"edgetpu_compiler {compiled.version} {said}")
    for difference in differences(result, compiled) or ["all as predicted"]:
        say(f"  {difference}")
