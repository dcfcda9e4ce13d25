"""Running a converted file beside the model it came from, on real images."""

import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from export.errors import GateError
from export.graph.rescue import layer_of
from export.proof.comparing import (
    Example,
    InstanceComparison,
    LabelComparison,
    ObjectComparison,
)
from export.recipes import QuantizationRecipe
from export.targets import Target
from export.tflite.reader import ModelFile, Op
from export.tflite.runtime import TFLiteModel
from kseg.data import Data
from kseg.instances import tells_objects_apart
from kseg.instances.predicting import things_of
from kseg.metrics import Scores
from kseg.seeing import Segmenter, input_size, working_size

# A model no better than naming one class everywhere agrees with any quantization of itself.
_ABOVE_MAJORITY = 0.05
_LEAST_QUALITY = 0.05  # panoptic quality of things, below which hardly an object is found
_INT16_STEPS = 32767  # from 0 to the largest
_ROUNDING = 1e-3  # of a zero point computed in float32


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
        objects: How their objects compare; None where none are told apart.
    """

    images: int
    agreement: float
    max_difference: float
    saturated: float | None
    scores_float: Scores | None = field(default=None)
    scores: Scores | None = field(default=None)
    worst: tuple[Example, ...] = field(default=(), repr=False)
    objects: ObjectComparison | None = None

    def figures(self) -> list[tuple[str, float, float]]:
        """Returns (what, the model's, the file's) of the scores that decide; [] without any."""
        if self.scores_float is None or self.scores is None:
            return []
        if self.objects is None:
            return [("Mean IoU", self.scores_float.mean_iou, self.scores.mean_iou)]
        before, after = self.objects.scores_float, self.objects.scores
        if before is None or after is None:
            return []
        figures = [("PQ", before.pq, after.pq)]
        if before.things is not None:
            found = after.things.pq if after.things is not None else 0.0
            figures.append(("PQ of things", before.things.pq, found))
        return figures


def verify(
    file: TFLiteModel,
    model: Segmenter,
    images: Iterable[np.ndarray] | Data,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    things: Collection[int] | None = None,
) -> Verification:
    """Compares a file with its model.

    Args:
        file: The loaded file.
        model: From images (N, H, W, channels), 0..255, to logits, or to the three maps that tell
            objects apart.
        images: A data set, whose split is also scored, or images (H, W, channels), 0..255. Images
            larger than the file's input are fitted into it.
        split: The split of the data set that is looked at.
        size: Working size, as for `kseg.predict`; None takes that of `shared_size`.
        things: Ids of the classes whose objects are told apart; None takes those of the data set,
            or else of the file.

    Returns:
        The comparison.
    """
    size = size or shared_size(file, model)
    data = images if isinstance(images, Data) else None
    names = data.classes.names if data is not None else ()
    if tells_objects_apart(file):
        told = things_of(file, things or (data.things if data is not None else None))
        compared: LabelComparison = InstanceComparison(names, told)
    else:
        compared = LabelComparison(names)
    for image, *truth in _looked_at(images, split, tells_objects_apart(file)):
        both = [compared.see(each, image, size) for each in (model, file)]
        compared.update(image, tuple(truth), both)
    scores = compared.scores
    return Verification(
        images=compared.images,
        agreement=compared.equal / max(1, compared.pixels),
        max_difference=next(iter(compared.differences.values()), 0.0),
        saturated=file.saturated(),
        scores_float=scores[0],
        scores=scores[1],
        worst=compared.worst,
        objects=compared.objects(file),
    )


def shared_size(file: TFLiteModel, model: Segmenter) -> tuple[int, int] | None:
    """Returns the size at which a file and its model see images alike, or None for their own.

    It is what the file carries; or else what the model does, as far as the file takes it.
    """
    size, limit = working_size(file) or working_size(model), input_size(file)
    if size is not None and limit is not None and (size[0] > limit[0] or size[1] > limit[1]):
        return limit
    return size


def _looked_at(
    images: Iterable[np.ndarray] | Data, split: str, instances: bool
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields images with their label maps and, where objects are told apart, their ids."""
    if isinstance(images, Data):
        read = images.read_instances if instances else images.read
        yield from (read(pair) for pair in images.files(split))
    else:
        yield from ((image, np.zeros(np.shape(image)[:2], "uint8")) for image in images)


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
    for what, quality, _ in result.figures() if result.objects is not None else ():
        if quality < _LEAST_QUALITY:
            raise GateError(
                f"The float model has a {what} of {quality:.4f}, so it finds hardly anything; "
                "nothing can be certified from it. Train it first."
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
        min_ratio: Smallest score of the file as a fraction of the model's: of the mean IoU, or of
            the panoptic quality where objects are told apart.
        max_drop: Largest loss of it, 0..1.
        advice: What may help, a sentence.

    Raises:
        GateError: If the file is refused; the sentence has both figures.
    """
    check_model(result)
    for what, before, after in result.figures():
        if after < min_ratio * before or before - after > max_drop:
            raise GateError(
                f"{what} falls from {before:.4f} to {after:.4f} by the conversion; allowed are a "
                f"ratio of {min_ratio} and a drop of {max_drop}. Nothing was written. "
                f"{advice}".rstrip()
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


def warn_of_cut_weights(graph: ModelFile) -> None:
    """Warns of a file whose float16 weights were cut to what float16 holds, as converters do."""
    largest = float(np.finfo("float16").max)
    names = []
    for tensor in graph.tensors:
        values = np.frombuffer(tensor.data, "float16") if tensor.dtype == "float16" else np.empty(0)
        if values.size and not np.abs(values).max() < largest:
            names.append(layer_of(tensor.name))
    if names:
        warnings.warn(
            f"Weights of {', '.join(dict.fromkeys(names))} are beyond {largest:,.0f}, the largest "
            "number of float16, and were cut to it in the file; its labels may differ. Take "
            "float32 or dynamic_range (--quantization none or dynamic_range), or scale them down.",
            stacklevel=2,
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
