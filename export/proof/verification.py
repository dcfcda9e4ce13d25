"""Running a converted file beside the model it came from, on real images."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from export.errors import GateError
from export.graph.rescue import layer_of
from export.recipes import QuantizationRecipe
from export.targets import Target
from export.tflite.reader import ModelFile, Op
from export.tflite.runtime import TFLiteModel
from kseg.classes import IGNORE_CLASS
from kseg.data import Data
from kseg.inference import Segmenter, predict_logits
from kseg.metrics import ConfusionMatrix, Scores

# A model no better than naming one class everywhere agrees with any quantization of itself.
_ABOVE_MAJORITY = 0.05
_WORST = 3  # images that are kept to be looked at
_INT16_STEPS = 32767  # from 0 to the largest
_ROUNDING = 1e-3  # of a zero point computed in float32


@dataclass(frozen=True)
class Example:
    """An image and how it was labelled.

    Attributes:
        agreement: Share of the pixels, not ignored, with equal labels.
        image: The image, 0..255, (H, W, channels).
        labels_float: The label map that the model gives, uint8 (H, W).
        labels: The label map that the file gives, uint8 (H, W).
    """

    agreement: float
    image: np.ndarray
    labels_float: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Verification:
    """How a file compares with its model.

    Attributes:
        images: How many both saw.
        agreement: Share of the pixels, not ignored, with equal labels.
        max_difference: Largest difference of two logits, where the file gives logits.
        saturated: Share of output values at the ends of their integer range; None where the
            output is not quantized.
        scores_float: Scores of the model; None without label maps.
        scores: Scores of the file; None without label maps.
        worst: The images on which the two agree least, the worst first.
    """

    images: int
    agreement: float
    max_difference: float
    saturated: float | None
    scores_float: Scores | None = field(default=None)
    scores: Scores | None = field(default=None)
    worst: tuple[Example, ...] = field(default=(), repr=False)


def verify(
    file: TFLiteModel,
    model: Segmenter,
    images: Iterable[np.ndarray] | Data,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
) -> Verification:
    """Compares a file with its model.

    Args:
        file: The loaded file.
        model: From images (N, H, W, channels), 0..255, to logits.
        images: A data set, whose split is also scored, or images (H, W, channels), 0..255. Images
            larger than the file's input are fitted into it.
        split: The split of the data set that is looked at.
        size: Working size, as for `kseg.predict`.

    Returns:
        The comparison.
    """
    matrices: list[ConfusionMatrix] = []
    names: tuple[str, ...] = ()
    if isinstance(images, Data):
        names = images.classes.names
        matrices = [ConfusionMatrix(len(names)) for _ in range(2)]
        pairs = (images.read(pair) for pair in images.files(split))
    else:
        pairs = ((image, np.zeros(np.shape(image)[:2], "uint8")) for image in images)
    equal, pixels, largest = 0, 0, 0.0
    worst: list[tuple[float, int, Example]] = []  # a heap: the number breaks ties
    order = count()
    for image, label_map in pairs:
        logits = [predict_logits(m, image, size) for m in (model, file)]
        labels = [np.argmax(values, -1).astype("uint8") for values in logits]
        valid = label_map != IGNORE_CLASS
        alike, counted = int((labels[0] == labels[1])[valid].sum()), int(valid.sum())
        equal += alike
        pixels += counted
        largest = max(largest, float(np.abs(logits[0] - logits[1]).max()))
        example = Example(alike / max(1, counted), image, *labels)
        item = (-example.agreement, -next(order), example)
        heapq.heappush(worst, item) if len(worst) < _WORST else heapq.heappushpop(worst, item)
        for matrix, prediction in zip(matrices, labels, strict=False):
            matrix.update(label_map, prediction)
    scores = [matrix.scores(names) for matrix in matrices] or (None, None)
    return Verification(
        images=next(order),
        agreement=equal / max(1, pixels),
        max_difference=largest,
        saturated=file.saturated(),
        scores_float=scores[0],
        scores=scores[1],
        worst=tuple(item[2] for item in sorted(worst, reverse=True)),
    )


def check_model(result: Verification) -> None:
    """Refuses to certify anything from a model that is hardly better than a constant.

    Args:
        result: A comparison with scores.

    Raises:
        GateError: If the model is so.
    """
    before = result.scores_float
    if before is None:
        raise ValueError("check_gate needs a comparison with label maps.")
    constant = majority(before)
    if before.mean_iou <= constant + _ABOVE_MAJORITY:
        raise GateError(
            f"The float model has a mean IoU of {before.mean_iou:.4f}, hardly more than naming "
            f"one class everywhere ({constant:.4f}); nothing can be certified from it. Train it "
            "first."
        )


def majority(scores: Scores) -> float:
    """Returns the mean IoU of naming the most frequent class everywhere."""
    labelled = scores.confusion.sum(1)
    # The IoU of that class; the other classes' are 0.
    return float(labelled.max() / labelled.sum() / np.count_nonzero(labelled))


def check_gate(
    result: Verification, *, min_ratio: float, max_drop: float, advice: str = ""
) -> None:
    """Refuses a file that lost too much, or whose model is too bad to tell.

    Args:
        result: A comparison with scores.
        min_ratio: Smallest mean IoU of the file as a fraction of the model's.
        max_drop: Largest loss of mean IoU, 0..1.
        advice: What may help, a sentence.

    Raises:
        GateError: If the file is refused; the sentence has both figures.
    """
    before, after = result.scores_float, result.scores
    if before is None or after is None:
        raise ValueError("check_gate needs a comparison with label maps.")
    check_model(result)
    drop = before.mean_iou - after.mean_iou
    if after.mean_iou < min_ratio * before.mean_iou or drop > max_drop:
        raise GateError(
            f"Mean IoU falls from {before.mean_iou:.4f} to {after.mean_iou:.4f} by the "
            f"conversion; allowed are a ratio of {min_ratio} and a drop of {max_drop}. Nothing "
            f"was written. {advice}".rstrip()
        )


def check_graph(
    graph: ModelFile,
    recipe: QuantizationRecipe,
    device: Target,
    scaling: tuple[float, float],
    *,
    rescued: bool = False,
) -> None:
    """Refuses a file with tensors or ops that its device does not take.

    Args:
        graph: The file as it was read.
        recipe: What it was converted with.
        device: The device that it is for.
        scaling: (factor, offset) that its input's quantization must stand for.
        rescued: Whether some layers were kept in float on purpose.

    Raises:
        GateError: If there are such; they are named.
    """
    problems = _wrong_input(graph, recipe, scaling) if recipe.is_integer else []
    culprits: list[Op] = []
    if recipe.is_integer and not rescued:
        floats = [t.name for t in graph.tensors if t.dtype in ("float16", "float32", "float64")]
        if floats:
            problems.append(f"{len(floats)} float tensors, the first of them {floats[0]}")
        refused = sorted({op.name for op in graph.ops} & device.refused_ops)
        if refused:
            problems.append(f"the ops {', '.join(refused)}")
        deep = [op for op in graph.ops if len(graph.tensors[op.outputs[0]].shape) > 4]
        problems += [f"{op.name} with a tensor of 5 dimensions" for op in deep]
        culprits = [*deep, *(op for op in graph.ops if op.name in device.refused_ops)]
    for op in graph.ops:
        if device.op_versions and op.version > device.op_versions.get(op.name, 0):
            problems.append(f"{op.name} of version {op.version}, which its compiler cannot parse")
            culprits.append(op)
    if problems:
        names = [layer_of(graph.tensors[op.outputs[0]].name) for op in culprits]
        layers = ", ".join(dict.fromkeys(name for name in names if name != "output"))
        advice = f" They come from the layer(s) {layers}: use others there." if layers else ""
        raise GateError(
            f"The converted model has {'; '.join(sorted(set(problems)))}, which the target "
            f"{device.name} does not take. Nothing was written.{advice}"
        )


def _wrong_input(
    graph: ModelFile, recipe: QuantizationRecipe, scaling: tuple[float, float]
) -> list[str]:
    """Says where the input's quantization is not what (x * factor + offset) makes of a byte x."""
    image = graph.tensors[graph.inputs[0]]
    if recipe.ends == "int16":  # symmetric
        scale, zero_point = 255 * scaling[0] / _INT16_STEPS, 0.0
    else:
        scale, zero_point = scaling[0], -scaling[1] / scaling[0]
    got = (image.scales[0], image.zero_points[0]) if image.scales else (0.0, 0)
    # Halfway between two whole numbers, both are right: of 1 / 127.5 and -1, 127 and 128.
    near = abs(got[1] - zero_point) <= 0.5 + _ROUNDING
    if image.dtype == recipe.ends and near and np.isclose(got[0], scale, rtol=1e-4):
        return []
    return [
        f"an input of {image.dtype}, scale {got[0]:.6g} and zero point {got[1]}, where "
        f"bytes need {recipe.ends}, {scale:.6g} and {round(zero_point)}"
    ]
