"""`kseg check`: says which ops a Coral chip would run; needs neither TensorFlow nor Keras."""

import tempfile
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from export.devices.edgetpu.checker import CACHE_BYTES, CheckResult
from export.devices.edgetpu.checker import check as place
from export.devices.edgetpu.compiler import Compilation, compile_file, differences
from export.devices.tosa import check_tosa
from export.tflite.reader import read_model
from export.tflite.signatures import names_of
from kseg.cli.options import Flag, Json
from kseg.cli.output import print_json, print_table, say

_PLACES = {"tpu": "Edge TPU", "cpu": "CPU", "uncertain": "uncertain", "dead": "dead"}
_ON_NPU = {"npu": "Coral NPU", "cpu": "nothing", "uncertain": "uncertain"}
_COLORS = {"Coral NPU": "green", "nothing": "red"}
_COLORS |= {"Edge TPU": "green", "CPU": "yellow", "uncertain": "yellow", "dead": "red"}


def check(
    file: Annotated[Path, Parameter(help="A .tflite file.")],
    /,
    *,
    target: Annotated[
        Literal["edgetpu", "coral-npu"],
        Parameter(help="The chip: Coral's first generation, or its successor, which takes TOSA."),
    ] = "edgetpu",
    compile: Annotated[
        Flag,
        Parameter(
            help="Run the target's compiler too, and compare: Google's edgetpu_compiler, or Arm's "
            "TOSA converter and Synaptics' torq-compile."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Says which ops of a .tflite file a Coral chip would run, and why."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}.")
    _warn_of_functions(file)
    if target == "coral-npu":
        _check_tosa(file, compile, json)
        return
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
    _print_advice(result.ops)
    if compiled:
        _print_comparison(result, compiled)


def _warn_of_functions(file: Path) -> None:
    """Warns where the ops that are looked at are those of one of several functions."""
    graph = read_model(file)
    if len({each.graph for each in graph.signatures}) > 1:
        warnings.warn(
            f"{file} has the signatures {names_of(graph.signatures)}; the ops are those of "
            f"{names_of([graph.signature])}.",
            stacklevel=2,
        )


def _check_tosa(file: Path, compile: bool, json: bool) -> None:
    result = check_tosa(file)
    compiled = _compile_tosa(file) if compile else None
    if json:
        print_json(result.to_json() | ({"compiler": compiled} if compiled else {}))
        return
    rows = [[op.index, op.name, _ON_NPU[op.placement], op.reason] for op in result.ops]
    print_table(rows, ["", "op", "runs on", "reason"], colors=_COLORS)
    say()
    legal = "all, as far as is known" if result.unknown else "all"
    print_table(
        [
            ["TOSA, which the Coral NPU takes", legal if result.legal else "not all"],
            ["ops that it says", f"{result.said} of {len(result.ops)}"],
            *([name, sentence] for name, sentence in (compiled or {}).items()),
        ]
    )
    _print_advice(result.ops)


def _compile_tosa(file: Path) -> dict[str, str]:
    """Returns what the converter and the compiler say, each in a sentence."""
    from export.devices.coral_npu import converter_says, torq_says

    with tempfile.TemporaryDirectory() as folder:
        sentence, tosa = converter_says(file, Path(folder))
        return {"Arm's converter": sentence, "torq-compile": torq_says(tosa)}


def _print_advice(ops: tuple[Any, ...]) -> None:
    for advice in dict.fromkeys(op.advice for op in ops if op.advice):
        indices = [str(op.index) for op in ops if op.advice == advice]
        shown = ", ".join(indices[:5]) + (", ..." if len(indices) > 5 else "")
        say(f"advice (op {shown}): {advice}")


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
