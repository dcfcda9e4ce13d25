"""What other heads and strides than those asked for would cost, by drafts that are timed."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from export.devices.placement import place
from export.errors import GateError
from export.graph.acceptance import heads_of
from export.graph.calibration import calibration
from export.graph.converter import Calibration, draft
from export.graph.ends import strides
from export.graph.fixed import FixedModel, fix_model
from export.graph.rewrites import for_device
from export.options import ExportOptions
from export.proof.describing import Choice
from export.proof.judging import Candidate
from export.targets import HEADS
from export.tflite.benchmark import benchmark
from export.tflite.need import bytes_of
from export.tflite.reader import read_model
from kseg.analysis.graph import trace

_DRAFT_IMAGES = 2  # a draft is timed, not looked at
_DRAFT_RUNS = 10


def alternatives(
    candidate: Candidate, model: keras.Model, size: tuple[int, int], options: ExportOptions
) -> tuple[Choice, ...]:
    """Returns what each head at each stride would cost, the file's own first.

    Args:
        candidate: The file, with what it should be.
        model: The model that it was made of.
        size: (height, width) of its input, in pixels.
        options: What `export.convert` was asked for.
    """
    recipe = candidate.recipe
    graph = trace(model, size)
    heads = {h: heads_of(model, h) for h in HEADS if (recipe.activations, h) != ("int16", "argmax")}
    added = {shown: put for shown, put in heads.values()}
    chosen = (candidate.head, candidate.stride)
    ends = sorted(strides(graph))
    pairs = [chosen, *((h, s) for s in ends for h in added if (h, s) != chosen)]
    with TemporaryDirectory() as name:
        folder, files = Path(name), [candidate.path]
        for head, stride in pairs[1:]:
            fixed = fix_model(model, size, keep_scaling=recipe.keeps_scaling, stride=stride)
            few = recipe.images[:_DRAFT_IMAGES]
            images = partial(calibration, few, size, fixed.scaling, options.working_size)
            files.append(folder / f"{head}-{stride}.tflite")
            files[-1].write_bytes(_draft(fixed, candidate, added[head], images))
        timed = benchmark(files, runs=_DRAFT_RUNS)
        return tuple(
            _choice(candidate, head, stride, path, times)
            for (head, stride), path, times in zip(pairs, files, timed, strict=True)
        )


def _draft(fixed: FixedModel, candidate: Candidate, head: str, images: Calibration) -> bytes:
    return for_device(draft(fixed.model, candidate.recipe, head, images), candidate.target)


def _choice(
    candidate: Candidate, head: str, stride: int, path: Path, timed: dict[str, float]
) -> Choice:
    try:
        placed = place(path, candidate.target, path.parent, with_compiler=False)
    except GateError:  # its compiler refuses this one
        placed = None
    graph = read_model(path)  # a draft has no names by which its outputs could be read
    nbytes = sum(bytes_of(graph.tensors[tensor]) for tensor in graph.outputs)
    off_device = placed.off_device if placed else None
    return Choice(head, stride, nbytes, timed["median_ms"], timed["ratio"], off_device)
