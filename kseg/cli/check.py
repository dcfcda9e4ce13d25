"""The verb `check`; TensorFlow and Keras are not needed for it."""

import json
from argparse import Namespace

from tabulate import tabulate

from export.devices.edgetpu.checker import CACHE_BYTES, CheckResult, check
from export.devices.edgetpu.compiler import Compilation, compile_file, differences

_PLACES = {"tpu": "Edge TPU", "cpu": "CPU", "uncertain": "uncertain", "dead": "dead"}


def check_file(arguments: Namespace) -> None:
    """Says which ops of a .tflite file run on the Edge TPU."""
    if not arguments.file.is_file():
        raise FileNotFoundError(f"there is no file {arguments.file}.")
    result = check(arguments.file)
    compiled = compile_file(arguments.file) if arguments.compile else None
    if arguments.json:
        report = result.to_json()
        if compiled:
            report["compiler"] = compiled.to_json()
            report["compiler"]["differences"] = differences(result, compiled)
        print(json.dumps(report))
        return
    rows = [[op.index, op.name, _PLACES[op.placement], op.reason] for op in result.ops]
    print(tabulate(rows, ["", "op", "runs on", "reason"]))
    print()
    print(tabulate(_summary(result), tablefmt="plain"))
    for advice in dict.fromkeys(op.advice for op in result.ops if op.advice):
        indices = [str(op.index) for op in result.ops if op.advice == advice]
        shown = ", ".join(indices[:5]) + (", ..." if len(indices) > 5 else "")
        print(f"advice (op {shown}): {advice}")
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
    print(f"edgetpu_compiler {compiled.version} {said}")
    found = differences(result, compiled)
    for difference in found or ["all as predicted"]:
        print(f"  {difference}")
