"""What a file's output says: scores or a class map, of which size and how many classes."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.errors import ModelFileError
from export.tflite.process import MOST_BYTES, Endpoint
from export.tflite.reader import ModelFile, Op

MOST_CLASSES = 255  # 255 itself is the ignored class
_WHOLE_IMAGE = 32  # pixels of an image that one answer may stand for
# Ops behind which scores are still scores of the same kind, and ids the same ids.
_CARRIES = frozenset(
    """CAST DEQUANTIZE EXPAND_DIMS QUANTIZE RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE
    SQUEEZE STRIDED_SLICE TRANSPOSE""".split()
)
_PROBABLE = ("LOGISTIC", "RELU_0_TO_1")
_LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_SIGMOID_LEFT, _NOTHING_LEFT = 1, 0  # Activation of MediaPipe's ImageSegmenterOptions


@dataclass(frozen=True)
class Meaning:
    """What the values of an output are.

    Attributes:
        kind: "scores", one channel for each class; "ids", a class map; "probability" or "logit"
            of the second of two classes; "either" of these three, as the values say.
        num_classes: None where the file does not say.
    """

    kind: str
    num_classes: int | None


def choose_output(graph: ModelFile, wanted: str | int | None, path: object) -> int:
    """Returns the number of the output that is read.

    Args:
        graph: What `read_model` returns.
        wanted: Name or number; None for the only one.
        path: For messages.

    Raises:
        ModelFileError: If there are several and none is named.
        ValueError: If there is no such output.
    """
    count = len(graph.outputs)
    if wanted is None and count == 1:
        return 0
    listed = ", ".join(
        f"{number}: {_printable(name)} {graph.tensors[t].shape}"
        for number, (name, t) in enumerate(
            zip(graph.output_names[:20], graph.outputs, strict=False)
        )
    )
    if wanted is None:
        raise ModelFileError(
            f"{path} has {count} outputs: {listed}; say which one labels the image (--output NAME "
            "or number)."
        )
    for number, tensor in enumerate(graph.outputs):
        if wanted in (graph.output_names[number], graph.tensors[tensor].name):
            return number
    text = str(wanted)
    if text.isascii() and text.isdigit() and int(text[:9]) < count:
        return int(text[:9])
    raise ValueError(f"{path} has no output {wanted!r}; it has {listed}.")


def grid(shape: Sequence[int], image: tuple[int, int]) -> tuple[int, int, int]:
    """Reads height, width and channels off an output's shape.

    Args:
        shape: The output's, with or without a batch.
        image: (height, width) of the input.

    Returns:
        They; one channel where the shape has none.

    Raises:
        ValueError: If the shape is no map of the image.
    """
    shape = tuple(shape)
    if len(shape) >= 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) == 3:
        height, width, channels = shape
        _check_order(height, width, channels, image)
    elif len(shape) == 2 and _alike(shape, image):
        height, width, channels = *shape, 1
    elif len(shape) == 2 and (found := _unflattened(shape[0], image)):
        height, width, channels = *found, shape[1]
    elif shape in (
        (math.prod(image),),
        (1, math.prod(image)),
    ):  # others may be those of a classifier
        height, width, channels = *image, 1
    else:
        raise ValueError("that is no map of the image")
    if min(height, width, channels) < 1:
        raise ValueError("that is an empty map")
    if min(height, width) == 1 and not _alike((height, width), image):
        raise ValueError("that is no map of the image")
    if height == width == 1 and max(image) > _WHOLE_IMAGE:
        raise ValueError("that is one answer for the whole image")
    return height, width, channels


def _check_order(height: int, width: int, channels: int, image: tuple[int, int]) -> None:
    """Refuses a map whose axes are those of the image in another order."""
    if _alike((height, width), image):
        return
    if _alike((width, channels), image):
        raise ValueError("it has its channels first; convert it with channels last (NHWC)")
    if _alike((width, height), image):
        raise ValueError("it has its width before its height; convert it with height first")


def read_meaning(
    graph: ModelFile, number: int, tensor: Endpoint, channels: int, activation: int | None
) -> Meaning:
    """Returns what the values of an output are.

    Args:
        graph: What `read_model` returns.
        number: The output's place in the file.
        tensor: The output, as the runtime allocated it.
        channels: How many the output has.
        activation: What the metadata says is left to do; None if they say nothing.

    Raises:
        ValueError: If it is neither scores nor a class map, or has too many classes.
    """
    kind = np.dtype(tensor.dtype).kind
    if kind not in "biuf" or (kind == "b" and channels > 1):
        raise ValueError("scores are numbers, and so are the ids of classes")
    if channels > MOST_CLASSES:
        raise ValueError(f"a segmentation model has up to {MOST_CLASSES} classes")
    if channels > 1:
        return Meaning("scores", channels)
    origin = _origin(graph, graph.outputs[number])
    name = origin.name if origin else ""
    if kind == "b":
        return Meaning("ids", 2)
    if name == "ARG_MAX" or (kind in "iu" and not tensor.scale):
        return Meaning("ids", _classes_of(origin, graph) if origin and name == "ARG_MAX" else None)
    if activation == _SIGMOID_LEFT:
        return Meaning("logit", 2)
    if name in _LINEAR and not (origin and origin.options.get("fused_activation")):
        return Meaning("logit", 2)
    if name in _PROBABLE or activation == _NOTHING_LEFT or _stands_for_shares(tensor):
        return Meaning("probability", 2)
    return Meaning("logit", 2) if kind in "iu" else Meaning("either", None)


def settled(output: np.ndarray, meaning: Meaning) -> Meaning:
    """Returns what the values of an output look like where the file does not say."""
    lowest, highest = output.min(), output.max()
    if lowest >= 0 and highest > 1 and (output == np.rint(output)).all():
        return Meaning("ids", meaning.num_classes)
    return Meaning("probability" if lowest >= 0 and highest <= 1 else "logit", meaning.num_classes)


def to_scores(
    output: np.ndarray, size: tuple[int, int, int], meaning: Meaning, tensor: Endpoint
) -> np.ndarray:
    """Turns an output into scores.

    Args:
        output: The array that the file gives.
        size: (height, width, channels) of the output.
        meaning: What its values mean.
        tensor: The output.

    Returns:
        Scores float32 (1, height, width, classes), the largest at the class.

    Raises:
        ValueError: If a value is no number, or an id no class.
    """
    values = output.reshape(1, *size)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("gives scores that are no numbers (nan or inf)")
    if meaning.kind == "ids":
        return _one_hot(values[..., 0], meaning.num_classes)
    if tensor.scale and values.dtype.kind in "iu":
        values = (values.astype("float32") - tensor.zero_point) * tensor.scale
    values = np.asarray(values, "float32")
    if meaning.kind == "scores":
        return values
    other = 1 - values if meaning.kind == "probability" else np.zeros_like(values)
    scores = np.concatenate([other, values], axis=-1)
    if meaning.num_classes not in (None, 2):
        raise ValueError(f"gives one score, which tells 2 classes apart, not {meaning.num_classes}")
    return scores


def _one_hot(ids: np.ndarray, num_classes: int | None) -> np.ndarray:
    """Returns 1 for the class and 0 for the others."""
    lowest, highest = ids.min(), ids.max()
    if ids.dtype.kind == "f" and (ids != np.rint(ids)).any():
        raise ValueError("gives a class map with broken numbers")
    most = MOST_CLASSES if num_classes is None else num_classes
    if lowest < 0 or highest >= most:
        wrong = int(lowest if lowest < 0 else highest)
        known = "" if num_classes is None else f" of its {num_classes} classes"
        raise ValueError(f"gives the class {wrong}, and the ids{known} go from 0 to {most - 1}")
    count = num_classes or max(2, int(highest) + 1)
    if 4 * ids.size * count > MOST_BYTES:
        raise ValueError(
            f"gives {count} classes on {ids.shape[1]} x {ids.shape[2]} pixels, which take more "
            f"than {MOST_BYTES >> 30} GiB as scores"
        )
    return (ids[..., None] == np.arange(count, dtype=ids.dtype)).astype("float32")


def _alike(size: Sequence[int], image: tuple[int, int]) -> bool:
    """Says whether a map has about the image's aspect; sizes are rounded."""
    across, along = size[0] * image[1], size[1] * image[0]
    return min(size) > 0 and abs(across - along) <= max(image)


def _unflattened(count: int, image: tuple[int, int]) -> tuple[int, int] | None:
    """Returns the (height, width) of a map of so many pixels, at a whole stride."""
    for stride in range(1, max(image) + 1):
        size = -(-image[0] // stride), -(-image[1] // stride)
        if size[0] * size[1] == count and count > 1:
            return size
    return None


def _origin(graph: ModelFile, tensor: int) -> Op | None:
    """Returns the op that an output comes from, whatever merely carries it on."""
    makers = {made: op for op in graph.ops for made in op.outputs}
    while (op := makers.get(tensor)) is not None and op.name in _CARRIES and op.inputs:
        tensor = op.inputs[0]  # ops come after what they need, so this ends
    return op


def _classes_of(op: Op, graph: ModelFile) -> int | None:
    """Returns over how many classes an ARG_MAX goes."""
    scores = graph.tensors[op.inputs[0]].shape
    axis = -1
    data = bytes(graph.tensors[op.inputs[1]].data[:8]) if len(op.inputs) > 1 else b""
    if len(data) in (4, 8):
        axis = struct.unpack("<q" if len(data) == 8 else "<i", data)[0]
    if not -len(scores) <= axis < len(scores) or not 1 < scores[axis] <= MOST_CLASSES:
        return None
    return scores[axis]


def _stands_for_shares(tensor: Endpoint) -> bool:
    """Says whether a quantized output goes from 0 to 1 at most, as that of a sigmoid does."""
    if not tensor.scale or np.dtype(tensor.dtype).itemsize != 1:
        return False
    info = np.iinfo(tensor.dtype)
    lowest, highest = ((a - tensor.zero_point) * tensor.scale for a in (info.min, info.max))
    return lowest == 0 and highest < 1.01


def _printable(name: str) -> str:
    return "".join(c for c in name[:80] if c.isprintable())
