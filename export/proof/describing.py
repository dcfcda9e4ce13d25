"""The second step of a delivery: the report of a file that was found good."""

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import keras

from export.graph.rescue import LayerNoise
from export.options import ExportOptions
from export.proof.comparing import ObjectComparison
from export.proof.judging import Candidate, Judgement
from export.proof.verification import Verification
from export.tflite.benchmark import host_facts
from export.tflite.maps import SEMANTIC
from export.tflite.runtime import Endpoint

_PACKAGES = ("kseg", "keras", "tensorflow", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class Choice:
    """What a head at a stride would cost.

    Attributes:
        head: One of `export.targets.HEADS`.
        stride: Pixels of the input for one of the output.
        output_bytes: The size of the output in bytes.
        median_ms: The median time of an inference on this machine, in milliseconds.
        ratio: That time as a fraction of the first choice's.
        off_device: Ops that do not run on the accelerator; None if that is unknown.
    """

    head: str
    stride: int
    output_bytes: int
    median_ms: float
    ratio: float
    off_device: int | None


@dataclass(frozen=True)
class Explanation:
    """What a report says beyond the file itself.

    Attributes:
        choices: What each head at each stride would cost, the file's own first.
        noise: The layers that quantization harms, the noisiest first.
        training: How a quantization-aware training went; None without one.
    """

    choices: tuple[Choice, ...] = ()
    noise: tuple[LayerNoise, ...] = ()
    training: dict[str, Any] | None = None


@dataclass(frozen=True)
class OpRow:
    """An op of the file.

    Attributes:
        index: In the order of execution.
        name: Builtin name, such as "CONV_2D".
        version: The version of the op.
        output: The shape of its first output.
        tensor: The name of its first output.
        placement: Where it runs.
        reason: Why there; "" if there is nothing to say.
        advice: What would help; "" if nothing is known to.
    """

    index: int
    name: str
    version: int
    output: tuple[int, ...]
    tensor: str
    placement: str
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """What a file is, how it was made, and how good it is.

    Attributes:
        name: The name under which the file is delivered.
        nbytes: The size of the file in bytes.
        candidate: What the file should be.
        judgement: What was found out about it.
        options: What was asked for.
        network: The model's `kseg_spec`; None for one of the user's own.
        explanation: What the report says beyond the file itself.
        op_table: The ops of the file, in order of execution.
        host: The machine on which it was timed.
        versions: The versions of the packages that the file depends on.
    """

    name: str
    nbytes: int
    candidate: Candidate
    judgement: Judgement
    options: ExportOptions
    network: dict[str, Any] | None
    explanation: Explanation
    op_table: tuple[OpRow, ...] = field(repr=False)
    host: dict[str, Any] = field(repr=False)
    versions: dict[str, str] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Returns what the .json file says."""
        made, found, options = self.candidate, self.judgement, self.options
        extra = self.explanation
        report: dict[str, Any] = {
            "format": 1,
            "file": {"name": self.name, "bytes": self.nbytes, "sha256": found.sha256},
            "input": asdict(found.input),
            "output": asdict(next(iter(found.outputs.values()))),
            "ops": found.graph.op_counts(),
            "network": self.network,
            "target": made.target.name,
            "recipe": {
                "name": made.recipe.name,
                "images": len(made.recipe.images),
                "per_channel": made.recipe.per_channel,
            },
            "head": made.head,
            "stride": made.stride,
            "scaling": list(made.scaling),
            "working_size": options.working_size,
            "bits": made.bits,
            "gate": {"min_ratio": options.min_ratio, "max_drop": options.max_drop},
            "classes": asdict(made.classes) if made.classes is not None else None,
            "rescued": list(made.rescued),
            "verification": _compared(found.comparison, made.head),
            "runtimes": [trial.to_json() for trial in found.trials],
            "latency": {**found.latency, "file": self.name, "host": self.host},
            "placement": found.placement.to_json() if found.placement is not None else None,
            "op_table": [asdict(row) | {"output": list(row.output)} for row in self.op_table],
            "choices": [asdict(choice) for choice in extra.choices],
            "noise": [asdict(layer) for layer in extra.noise],
            "versions": self.versions,
        }
        if extra.training is not None:
            report["quantization_aware"] = extra.training
        if (objects := found.comparison.objects) is not None:
            report["things"] = list(made.things)
            report["outputs"] = _outputs(found.outputs, objects, made.head)
            report["verification"]["objects"] = _objects(objects)
        return report


def describe(
    candidate: Candidate,
    judgement: Judgement,
    options: ExportOptions,
    name: str,
    model: keras.Model,
    explanation: Explanation,
) -> Report:
    """Puts together what is known of a file.

    Args:
        candidate: The file.
        judgement: What `judge` found out.
        options: What was asked for.
        name: The name under which the file is delivered.
        model: The model that the file was made of.
        explanation: What the report says beyond the file itself.

    Returns:
        The report.
    """
    return Report(
        name,
        candidate.path.stat().st_size,
        candidate,
        judgement,
        options,
        getattr(model, "kseg_spec", None),
        explanation,
        _op_table(judgement),
        host_facts(),
        {package: version(package) for package in _PACKAGES},
    )


def _op_table(judgement: Judgement) -> tuple[OpRow, ...]:
    graph, placement = judgement.graph, judgement.placement
    rows = []
    for op in graph.ops:
        tensor = graph.tensors[op.outputs[0]]
        # Where no accelerator is asked, all ops run where the app's runtime does.
        where = asdict(placement.ops[op.index]) if placement else {"placement": "cpu or gpu"}
        rows.append(OpRow(op.index, op.name, op.version, tensor.shape, tensor.name, **where))
    return tuple(rows)


def _outputs(
    outputs: dict[str, Endpoint], objects: ObjectComparison, head: str
) -> dict[str, dict[str, Any]]:
    """Returns the three outputs, each with how far it is from the model's at most."""
    apart: dict[str, float | None] = dict(objects.differences)
    if head != "logits":
        apart[SEMANTIC] = None
    return {
        name: {
            **asdict(tensor),
            "max_difference": apart[name],
            "saturated": objects.saturated[name],
        }
        for name, tensor in outputs.items()
    }


def _objects(found: ObjectComparison) -> dict[str, Any]:
    """Returns how a file's objects compare with its model's."""
    scores = {"agreement": found.agreement, "float": found.scores_float, "file": found.scores}
    return {
        **{name: each and each.to_json() for name, each in scores.items()},
        "offset_error": found.offset_error,
    }


def _compared(result: Verification, head: str) -> dict[str, Any]:
    """Returns how a file, with its head, compares with its model."""
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
