"""Which axes of a file's output are height, width and channels."""

import math
from collections.abc import Sequence

import numpy as np

from export.tflite.reader import ModelFile, Op
from kseg.grids import whole_stride

_WHOLE_IMAGE = 32  # pixels of an image that one answer may stand for
# Ops of LiteRT that take the last axis for the channels.
_CHANNELS_LAST = frozenset(
    """AVERAGE_POOL_2D CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE LOG_SOFTMAX MAX_POOL_2D
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SOFTMAX SPACE_TO_DEPTH TRANSPOSE_CONV""".split()
)
# Ops that leave the axes where they are.
_KEEPS = frozenset(
    """ABS ADD BATCH_TO_SPACE_ND CAST CONCATENATION DEQUANTIZE DIV ELU EXP FLOOR GELU HARD_SWISH
    LEAKY_RELU LOG LOGISTIC MAXIMUM MINIMUM MIRROR_PAD MUL NEG PAD PADV2 POW PRELU QUANTIZE RELU
    RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SELECT_V2 SLICE SPACE_TO_BATCH_ND SQRT SQUARE
    STRIDED_SLICE SUB TANH TILE""".split()
)
_FIRST = "it has its channels first; convert it with channels last (NHWC)"


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
        raise ValueError(_FIRST)
    if _alike((width, height), image):
        raise ValueError("it has its width before its height; convert it with height first")


def check_order(
    graph: ModelFile, number: int, shape: Sequence[int], image: tuple[int, int]
) -> None:
    """Refuses a map whose shape fits with its channels last and first, if they are not last.

    `grid` takes such a map to have them last. That must be what the ops before it say, or else
    what the sizes say: those of a network's grid are the image's at a whole stride.

    Args:
        graph: What `read_model` returns.
        number: The output's place in the file.
        shape: The output's shape for an image.
        image: (height, width) of the input.

    Raises:
        ValueError: If they are first, or nothing tells.
    """
    shape = tuple(shape[1:] if len(shape) >= 3 and shape[0] == 1 else shape)
    if len(shape) == 3:
        ways = [way if _alike(way, image) else None for way in (shape[:2], shape[1:])]
        right = [way is not None and whole_stride(image, way) is not None for way in ways]
    elif len(shape) == 2 and not _alike(shape, image):
        ways = [_unflattened(count, image) for count in shape]
        right = [count == math.prod(image) for count in shape]
    else:
        return
    if None in ways:
        return
    last = _channels_last(graph, graph.outputs[number])
    if last is None and right[0] == right[1]:
        raise ValueError(
            "it may have its channels last or first, as its shape fits both; convert it with "
            "another size, or so that it ends in channels last (NHWC)"
        )
    if not (right[0] if last is None else last):
        raise ValueError(_FIRST)


def _channels_last(graph: ModelFile, tensor: int) -> bool | None:
    """Says by the ops before a tensor whether its channels are last; None if they do not tell."""
    makers = {made: op for op in graph.ops for made in op.outputs}
    last = True  # of what is looked at, if so of the tensor
    while (op := makers.get(tensor)) is not None:  # ops come after what they need, so this ends
        if op.name in _CHANNELS_LAST:
            return last
        order = _order(op, graph) if op.name == "TRANSPOSE" else None
        if order in ((0, 3, 1, 2), (2, 0, 1)):
            return not last
        if order in ((0, 2, 3, 1), (1, 2, 0)):
            return last
        if order in ((0, 2, 1), (1, 0)):
            last = not last
        elif order is not None or not _keeps(op, graph):
            return None
        shape = graph.tensors[tensor].shape
        before = [t for t in op.inputs if t in graph.computed]
        before.sort(key=lambda t: graph.tensors[t].shape != shape)  # stable: the map goes first
        if not before:
            return None
        tensor = before[0]
    return last if tensor in graph.inputs else None


def _keeps(op: Op, graph: ModelFile) -> bool:
    """Says whether an op leaves the channels at the end they are at."""
    if op.name not in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS") or not op.inputs:
        return op.name in _KEEPS
    before, after = (
        [side for side in graph.tensors[t].shape if side != 1]
        for t in (op.inputs[0], op.outputs[0])
    )
    return bool(before and after) and (before[-1] == after[-1] or before[0] == after[0])


def _order(op: Op, graph: ModelFile) -> tuple[int, ...]:
    """Returns the order into which a TRANSPOSE brings the axes; () where it is computed."""
    data = bytes(graph.tensors[op.inputs[1]].data[:64]) if len(op.inputs) > 1 else b""
    return tuple(np.frombuffer(data[: len(data) // 4 * 4], "<i4").tolist())


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
