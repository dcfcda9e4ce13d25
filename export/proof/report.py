"""The report beside a file: what it is, how it was made, and how good it is."""

import hashlib
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from export.proof.verification import Verification
from export.tflite.reader import ModelFile
from export.tflite.runtime import TFLiteModel

CHOICES = ("head", "stride", "output bytes", "median ms", "ratio", "ops off the accelerator")
_NOISIEST = 10  # layers that are shown


def describe_file(name: str, content: bytes, graph: ModelFile, file: TFLiteModel) -> dict[str, Any]:
    """Returns the part of a report that is about the file itself.

    Args:
        name: Of the file.
        content: Of the file.
        graph: Its graph.
        file: It, loaded.
    """
    digest = hashlib.sha256(content).hexdigest()
    return {
        "format": 1,
        "file": {"name": name, "bytes": len(content), "sha256": digest},
        "input": asdict(file.input),
        "output": asdict(file.output),
        "ops": graph.op_counts(),
    }


def compare(result: Verification, head: str) -> dict[str, Any]:
    """Returns the part of a report that is about how a file, with its head, compares."""
    compared: dict[str, Any] = {
        "images": result.images,
        "agreement": result.agreement,
        "max_difference": result.max_difference if head == "logits" else None,
        "saturated": result.saturated,
        "certified": result.scores is not None,
    }
    if result.scores is not None and result.scores_float is not None:
        before, after = result.scores_float.iou_per_class, result.scores.iou_per_class
        compared |= {
            "mean_iou_float": result.scores_float.mean_iou,
            "mean_iou": result.scores.mean_iou,
            "iou_per_class": {name: [before[name], after[name]] for name in before},
        }
    return compared


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a file depends on."""
    packages = ("kseg", "keras", "tensorflow", "ai-edge-litert", "numpy")
    return {package: version(package) for package in packages}


def op_table(graph: ModelFile, placement: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Returns a row for each op, in execution order.

    Args:
        graph: Of the file.
        placement: As `export.devices.placement.place` returns it.
    """
    rows = [
        {
            "index": op.index,
            "name": op.name,
            "version": op.version,
            "output": list(graph.tensors[op.outputs[0]].shape),
            "tensor": graph.tensors[op.outputs[0]].name,
            "placement": "cpu or gpu" if placement is None else "",
            "reason": "",
            "advice": "",
        }
        for op in graph.ops
    ]
    for op in (placement or {}).get("ops", ()):  # the Edge TPU, by index
        rows[op["index"]] |= {key: op[key] or "" for key in ("placement", "reason", "advice")}
    left = {op["tensor"]: op["reason"] for op in (placement or {}).get("cpu", ())}
    if (placement or {}).get("available"):  # Vela names what it leaves, by tensor
        for row in rows:
            row["placement"] = "cpu" if row["tensor"] in left else "npu"
            row["reason"] = left.get(row["tensor"], "")
    return rows


def summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what a report says in lines of (what, how)."""
    found, latency = report["verification"], report["latency"]
    by_scale = "the input's quantization" if report["input"]["scale"] else "layers of the graph"
    if report["scaling"] == [1.0, 0.0]:
        by_scale = "layers of the graph"
    lines = [
        ("file", f"{report['file']['name']} ({report['file']['bytes'] / 1e6:.2f} MB)"),
        ("input", f"{_endpoint(report['input'])}; scaled by {by_scale}"),
        ("output", f"{_endpoint(report['output'])}; {report['head']}, stride {report['stride']}"),
        ("ops", ", ".join(f"{count} {name}" for name, count in report["ops"].items())),
    ]
    if report["placement"]:
        lines.append((f"on {report['target']}", report["placement"]["sentence"]))
    lines.append(
        (
            "latency here",
            f"{latency['median_ms']:.2f} ms median, {latency['threads']} thread, "
            f"{latency['host']['processor']}",
        )
    )
    lines.append(("labels like the float model's", f"{100 * found['agreement']:.2f} %"))
    if "mean_iou" in found:
        lines.append(("mean IoU, float", f"{found['mean_iou_float']:.4f}"))
        lines.append(("mean IoU, file", f"{found['mean_iou']:.4f}"))
    if found["saturated"] is not None:
        lines.append(("outputs at an end of their range", f"{100 * found['saturated']:.2f} %"))
    if report["rescued"]:
        lines.append(("kept in float", ", ".join(report["rescued"])))
    lines.append(("certified", "yes" if found["certified"] else "no: no labelled images (--data)"))
    return lines


def class_rows(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Returns (class, IoU of the model, IoU of the file, change)."""
    rows: list[tuple[Any, ...]] = []
    for name, (before, after) in report["verification"].get("iou_per_class", {}).items():
        if before is None or after is None:
            rows.append((name, "n/a", "n/a", "n/a"))
        else:
            rows.append((name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"))
    return rows


def choice_rows(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Returns what each head and stride costs, in the columns `CHOICES`."""
    return [
        (
            choice["head"],
            choice["stride"],
            choice["output_bytes"],
            f"{choice['median_ms']:.2f}",
            f"{choice['ratio']:.2f}",
            "-" if choice["off_device"] is None else choice["off_device"],
        )
        for choice in report["choices"]
    ]


def noise_rows(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Returns (layer, signal to noise in dB), the worst first."""
    return [(n["layer"], f"{n['signal_to_noise']:.1f}") for n in report["noise"][:_NOISIEST]]


def op_rows(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Returns (index, op, version, output, placement, why, advice)."""
    return [
        (
            op["index"],
            op["name"],
            op["version"],
            " x ".join(map(str, op["output"])),
            op["placement"],
            op["reason"],
            op["advice"],
        )
        for op in report["op_table"]
    ]


def _endpoint(facts: dict[str, Any]) -> str:
    text = f"{facts['dtype']} {' x '.join(map(str, facts['shape']))}"
    if facts["scale"]:
        text += f", scale {facts['scale']:.6g}, zero point {facts['zero_point']}"
    return text
