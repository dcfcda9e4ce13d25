"""What a file's output says: scores or a class map, and of how many classes."""

import struct
import warnings

import numpy as np

from export.errors import ModelFileError
from export.tflite.process import Endpoint
from export.tflite.reader import ModelFile, Op, Tensor
from export.tflite.scores import MOST_CLASSES, Meaning, has_steps_of_1

# Ops behind which scores are still scores of the same kind, and ids the same ids.
_CARRIES = frozenset(
    """CAST DEQUANTIZE EXPAND_DIMS QUANTIZE RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE
    SQUEEZE STRIDED_SLICE TRANSPOSE""".split()
)
_PROBABLE = ("LOGISTIC", "RELU_0_TO_1")
_ROUNDS = frozenset(("CEIL", "FLOOR", "ROUND"))
_LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_SIGMOID_LEFT, _NOTHING_LEFT = 1, 0  # Activation of MediaPipe's ImageSegmenterOptions


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
    if kind == "b":
        return Meaning("ids", 2)
    origin = _origin(graph, graph.outputs[number])
    if origin is not None and origin.name == "ARG_MAX":
        count = _classes_of(origin, graph)
        _check_steps(tensor, count)
        return Meaning("ids", count)
    if (full := _full_share(graph, graph.outputs[number])) is not None:
        return Meaning("probability", 2, full)
    if kind in "iu" and not tensor.scale:
        return Meaning("either", None)
    return _score(origin, tensor, activation)


def _score(origin: Op | None, tensor: Endpoint, activation: int | None) -> Meaning:
    """Returns what the only number of a pixel is, which is no whole one by its type."""
    name = origin.name if origin else ""
    linear = name in _LINEAR and not (origin and origin.options.get("fused_activation"))
    lowest, highest = _range(tensor)
    shares = lowest == 0 and highest < 1.01  # those of a sigmoid
    if activation != _SIGMOID_LEFT and not linear:
        if name in _PROBABLE or activation == _NOTHING_LEFT or shares:
            return Meaning("probability", 2)
        # int16 has a range below 0 whatever its values are, and so may have ids.
        wide = np.dtype(tensor.dtype).itemsize > 1
        if lowest == 0 or wide or has_steps_of_1(tensor):
            return Meaning("either", None)
    return Meaning("logit", 2)


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


def _check_steps(tensor: Endpoint, num_classes: int | None) -> None:
    """Refuses a quantized class map whose steps are wider than ids, and warns of a short range.

    Raises:
        ValueError: If ids cannot be told apart.
    """
    if tensor.scale > 1.001:
        raise ValueError(f"a class map in steps of {tensor.scale:.4g} cannot tell ids apart")
    lowest, highest = _range(tensor)
    if tensor.scale and num_classes is not None and (lowest > 0.5 or highest < num_classes - 1.5):
        warnings.warn(
            f"The class map {_printable(tensor.name)} is quantized to {lowest:.4g}..{highest:.4g}, "
            f"so that it never gives some of its {num_classes} classes; calibrate the file with "
            "images of all of them, or let it give whole numbers.",
            stacklevel=6,
        )


def _range(tensor: Endpoint) -> tuple[float, float]:
    """Returns the lowest and the highest number that a quantized output can hold; 0 for others."""
    if not tensor.scale or np.dtype(tensor.dtype).kind not in "iu":
        return 0.0, float("inf")
    info = np.iinfo(tensor.dtype)
    lowest, highest = ((a - tensor.zero_point) * tensor.scale for a in (info.min, info.max))
    return lowest, highest


def _full_share(graph: ModelFile, tensor: int) -> float | None:
    """Returns by what a sigmoid's or a softmax's output was multiplied, as by 255 for bytes.

    Returns:
        The factor, if it is above 1; None where the tensor is no such product.
    """
    makers = {made: op for op in graph.ops for made in op.outputs}
    factor = 1.0
    while (op := makers.get(tensor)) is not None and op.inputs:
        if op.name == "MUL":
            tensor, by = sorted(op.inputs, key=lambda t: t not in graph.computed)
            factor *= _number(graph.tensors[by])
        elif op.name in _CARRIES | _ROUNDS:
            tensor = op.inputs[0]
        else:
            break
    probable = op is not None and op.name in (*_PROBABLE, "SOFTMAX")
    return factor if probable and factor > 1.001 else None


def _number(tensor: Tensor) -> float:
    """Returns the only value of a constant; nan if there are others, or it is computed."""
    if tensor.dtype not in ("float32", "int8", "int16", "int32", "uint8"):
        return float("nan")
    values = np.frombuffer(bytes(tensor.data[:8]), tensor.dtype)
    if values.size != 1 or tensor.nbytes != values.nbytes:
        return float("nan")
    if tensor.scales:
        zero_point = tensor.zero_points[0] if tensor.zero_points else 0
        return float((int(values[0]) - zero_point) * tensor.scales[0])
    return float(values[0])


def _printable(name: str) -> str:
    return "".join(c for c in name[:80] if c.isprintable())
