"""The report beside a file as lines and tables, for the page and the terminal."""

from typing import Any

OBJECTS = ("objects and areas", "PQ float", "PQ file", "change")
CHOICES = ("head", "stride", "output bytes", "median ms", "ratio", "ops off the accelerator")
_NOISIEST = 10  # layers that are shown


def summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what a report says in lines of (what, how)."""
    found, latency = report["verification"], report["latency"]
    by_scale = "the input's quantization" if report["input"]["scale"] else "layers of the graph"
    if report["scaling"] == [1.0, 0.0]:
        by_scale = "layers of the graph"
    lines = [
        ("file", f"{report['file']['name']} ({report['file']['bytes'] / 1e6:.2f} MB)"),
        ("input", f"{_endpoint(report['input'])}; scaled by {by_scale}"),
        *_output_lines(report),
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
    if objects := found.get("objects"):
        lines += _object_lines(objects)
    if "mean_iou" in found:
        lines.append(("mean IoU, float", f"{found['mean_iou_float']:.4f}"))
        lines.append(("mean IoU, file", f"{found['mean_iou']:.4f}"))
    if found["saturated"] is not None:
        lines.append(("outputs at an end of their range", f"{100 * found['saturated']:.2f} %"))
    if report["rescued"]:
        lines.append(("kept in float", ", ".join(report["rescued"])))
    lines.append(("certified", "yes" if found["certified"] else "no: no labelled images (--data)"))
    return lines


def _output_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    labelling = f"{report['head']}, stride {report['stride']}"
    if "outputs" not in report:
        return [("output", f"{_endpoint(report['output'])}; {labelling}")]
    lines = []
    for name, output in report["outputs"].items():
        text = [_endpoint(output), *([labelling] if name == "semantic" else [])]
        if output["max_difference"] is not None:
            text.append(f"differs by up to {output['max_difference']:.3g}")
        if output["saturated"]:
            text.append(f"{100 * output['saturated']:.2f} % at an end of its range")
        lines.append((f"output {name}", "; ".join(text)))
    return lines


def _object_lines(objects: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if (alike := objects["agreement"]) is not None and alike["tp_over_all"]["0.5"] is not None:
        lines.append(
            ("objects like the float model's", f"{100 * alike['tp_over_all']['0.5']:.2f} %")
        )
    if objects["offset_error"] is not None:
        lines.append(("mean error of offsets", f"{objects['offset_error']:.3f} pixels"))
    if objects["file"] is not None:
        for key, who in (("float", "float"), ("file", "file")):
            lines.append((f"PQ, {who}", f"{objects[key]['all']['pq']:.4f}"))
    return lines


def object_rows(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Returns (what, its panoptic quality in the model, in the file, change); [] without labels."""
    objects = report["verification"].get("objects")
    if objects is None or objects["file"] is None:
        return []
    before, after = (_qualities(objects[key]) for key in ("float", "file"))
    rows: list[tuple[Any, ...]] = []
    for name in before:
        if before[name] is None or after[name] is None:
            rows.append((name, "n/a", "n/a", "n/a"))
        else:
            old, new = before[name]["pq"], after[name]["pq"]
            rows.append((name, f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}"))
    return rows


def _qualities(scores: dict[str, Any]) -> dict[str, Any]:
    groups = {f"all {kind}": scores[kind] for kind in ("things", "stuff")}
    return {"all classes": scores["all"], **groups, **scores["per_class"]}


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
