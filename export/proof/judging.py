"""The first step of a delivery: is a converted file what was ordered, and as good as its model?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.devices.placement import Placement, place
from export.graph.calibration import stand_ins
from export.options import ExportOptions
from export.proof.preprocessing import check_recorded
from export.proof.trials import Trial, prove_export
from export.proof.verification import (
    Verification,
    check_gate,
    check_graph,
    verify,
    warn_of_cut_weights,
)
from export.proof.workshop import save
from export.recipes import QuantizationRecipe
from export.targets import Target
from export.tflite.benchmark import benchmark
from export.tflite.metadata import add_metadata
from export.tflite.reader import ModelFile, read_model
from export.tflite.runtime import Endpoint, FixedSize, TFLiteModel, load_tflite
from kseg.classes import Classes
from kseg.data import Data
from kseg.inference import Segmenter
from kseg.training.writing import sha256

_AGREEMENT_IMAGES = 16
_TIMED_RUNS = 10
_TRIED_IMAGES = 2

Images = Data | Sequence[np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A converted file that is not delivered yet, and what it should be.

    Attributes:
        path: The file, in a temporary folder.
        recipe: The numbers that it computes with.
        target: The device that it is for.
        head: What it returns, one of `export.targets.HEADS`.
        stride: Pixels of its input for one of its output.
        scaling: (factor, offset) of the scaling that its input's quantization stands for.
        classes: Names and colours; None where they are not known.
        rescued: Layers that were kept in float.
        things: Ids of the classes whose objects are told apart; () where none are.
        bits: The bits of the 16-bit images that the model was trained on; None without any.
    """

    path: Path
    recipe: QuantizationRecipe
    target: Target
    head: str
    stride: int
    scaling: tuple[float, float]
    classes: Classes | None
    rescued: tuple[str, ...] = ()
    things: tuple[int, ...] = ()
    bits: int | None = None


@dataclass(frozen=True)
class Judgement:
    """What was found out about a candidate.

    Attributes:
        graph: The file as it was read.
        sha256: The hash of the file.
        input: The input of the file.
        outputs: The outputs of the file, by the names of their maps; the one that labels the
            image first.
        comparison: How it compares with the model that was handed in.
        placement: Where its ops run on the target.
        trials: In which runtimes it was run, and what came of it.
        latency: What `export.tflite.benchmark.benchmark` measured on this machine.
    """

    graph: ModelFile = field(repr=False)
    sha256: str
    input: Endpoint
    outputs: dict[str, Endpoint]
    comparison: Verification
    placement: Placement | None
    trials: tuple[Trial, ...]
    latency: dict[str, Any]


def put(candidate: Candidate, content: bytes, working_size: tuple[int, int] | None) -> None:
    """Writes a candidate's file, with the metadata that apps of its target read.

    Args:
        candidate: What the file is.
        content: What the converter made.
        working_size: (height, width) that images are fitted into before the file sees them.
    """
    # MediaPipe takes no int16.
    if candidate.target.takes_metadata and candidate.recipe.ends != "int16":
        content = add_metadata(
            content,
            candidate.classes,
            head=candidate.head,
            scaling=candidate.scaling,
            working_size=working_size,
            things=candidate.things,
            bits=candidate.bits,
        )
    save(candidate.path, content)


def judged_on(validation: Data | None, recipe: QuantizationRecipe, model: FixedSize) -> Images:
    """Returns what to compare file and model on: labelled images, the recipe's, or made-up ones."""
    if validation is not None:
        return validation
    return recipe.images[:_AGREEMENT_IMAGES] or stand_ins(model.input_size, model.channels)


def judge(
    candidate: Candidate,
    model: Segmenter,
    images: Images,
    options: ExportOptions,
    *,
    advice: str = "",
) -> Judgement:
    """Holds a file against its target and its model.

    Args:
        candidate: The file.
        model: The model that was handed in: from images (N, h, w, channels), 0..255, to logits, or
            to three maps.
        images: What both label; a data set's split "val" also decides whether the file is good
            enough.
        options: The gate and the working size.
        advice: What may help where the gate fails, a sentence.

    Returns:
        What was found out.

    Raises:
        GateError: If the file has ops that the target does not take, or fails the gate.
    """
    path, target = candidate.path, candidate.target
    graph = read_model(path)
    check_graph(graph, candidate.recipe, target, candidate.scaling, rescued=bool(candidate.rescued))
    warn_of_cut_weights(graph)
    with load_tflite(path) as file:
        comparison = verify(file, model, images, size=options.working_size, things=candidate.things)
        ends = file.input, file.outputs
        if comparison.scores is not None:
            check_recorded(comparison, options.recorded)
            check_gate(
                comparison, min_ratio=options.min_ratio, max_drop=options.max_drop, advice=advice
            )
        placement = place(path, target, path.parent)
        trials = _tried(file, model, images, options, candidate)
    (latency,) = benchmark([path], runs=_TIMED_RUNS)
    digest = sha256(path)
    return Judgement(graph, digest, *ends, comparison, placement, trials, latency)


def _tried(
    file: TFLiteModel,
    model: Segmenter,
    images: Images,
    options: ExportOptions,
    candidate: Candidate,
) -> tuple[Trial, ...]:
    labelled = isinstance(images, Data)
    if isinstance(images, Data):
        images = [images.read(pair)[0] for pair in images.files("val")[:_TRIED_IMAGES]]
    more, classes = candidate.target.runtimes, candidate.classes
    certifying = labelled or bool(more)
    return prove_export(
        file,
        model,
        images,
        options,
        classes=classes,
        more=more,
        judged=labelled,
        certifying=certifying,
    )
