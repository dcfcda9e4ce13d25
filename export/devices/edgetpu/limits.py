"""Limits of single ops on the Edge TPU: shapes, sizes and options.

Source: coral.ai/docs/edgetpu/models-intro (its table of ops and limits), issues of
google-coral/edgetpu (named where used), and what compiler 16.0 made of Google's own models
(github.com/google-coral/test_data). Reasons are the compiler's own status words.
"""

import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from export.tflite.reader import ModelFile, Op, Tensor

LIMIT = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
_TWO_D = "For example, a fully-connected or softmax layer with 2D output"

LOGITS = "end at logits (--head logits)"
BATCH = "convert with a fixed batch of 1"

# Bytes of a resize's output. Doubling to 524,288 was mapped (issue 31); 5,000,211 (DeepLab v3 at
# 513x513) were not, and 8,388,608 (issue 31) neither. Where between them it ends is not known;
# 2 MB are taken to be safe, as tensors of 6 MB between convolutions are.
_RESIZE_MAPPED, _RESIZE_REFUSED = 2_000_000, 5_000_000
# Pixels that a mean goes over. Pooling 33x33 was mapped; 256x128 was not (issue 461).
_MEAN_MAPPED, _MEAN_REFUSED = 33 * 33, 256 * 128
# Elements of a softmax. The documents say 16,000, but compiler 16.0 maps 16,384; more is not known.
_SOFTMAX_MAPPED = 16_384
_PADDING = 32  # pixels; the coarsest stride of kseg's networks


class Verdict(NamedTuple):
    """What the compiler says to an op.

    Attributes:
        placement: "tpu", "cpu", or "uncertain" where neither documents nor outcomes decide.
        reason: The compiler's status.
        advice: What would help, if anything is known to.
    """

    placement: str
    reason: str
    advice: str | None = None


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """Returns a tensor's sizes as the compiler takes them: an open batch is 1."""
    return tensor.default_shape or tensor.shape


def _integers(op: Op, graph: ModelFile, place: int) -> tuple[int, ...]:
    """Returns a short constant input, such as axes."""
    if place >= len(op.inputs) or op.inputs[place] < 0:
        return ()
    tensor = graph.tensors[op.inputs[place]]
    kind, size = ("q", 8) if tensor.dtype == "int64" else ("i", 4)
    count = min(len(tensor.data) // size, 64)
    return struct.unpack_from(f"<{count}{kind}", tensor.data)


def _input(op: Op, graph: ModelFile, place: int = 0) -> tuple[int, ...]:
    return shape_of(graph.tensors[op.inputs[place]])


def _output(op: Op, graph: ModelFile) -> tuple[int, ...]:
    return shape_of(graph.tensors[op.outputs[0]])


def _window(op: Op, graph: ModelFile) -> Verdict | None:
    kernel = _input(op, graph, 1)
    # Along an axis on which the kernel is one weight wide, dilation changes nothing.
    wide = len(kernel) == 4 and kernel[1] != 1 and kernel[2] != 1
    if wide and op.options["dilation_w"] != op.options["dilation_h"]:
        return Verdict("cpu", LIMIT, "dilate height and width alike")
    return None


def _pool(op: Op, graph: ModelFile) -> Verdict | None:
    if op.options["fused_activation"]:
        return Verdict("cpu", LIMIT, "keep the activation out of the pooling or concatenation")
    return None


def _concatenation(op: Op, graph: ModelFile) -> Verdict | None:
    constants = [t for t in op.inputs if t >= 0 and graph.tensors[t].nbytes]
    if constants and (len(op.inputs) != 2 or not all(map(graph.is_zero, constants))):
        return Verdict("cpu", LIMIT, "concatenate no constants")
    return _pool(op, graph)


def _fully_connected(op: Op, graph: ModelFile) -> Verdict | None:
    if any(size != 1 for size in _output(op, graph)[:-1]):
        return Verdict("cpu", _TWO_D, "use a 1x1 convolution")
    if op.options["weights_format"]:
        return Verdict("cpu", LIMIT, "use the default format of weights")
    return None


def _softmax(op: Op, graph: ModelFile) -> Verdict | None:
    shape = _output(op, graph)
    if any(size != 1 for size in shape[:-1]):
        return Verdict("cpu", _TWO_D, LOGITS)
    return Verdict("uncertain", LIMIT, LOGITS) if math.prod(shape) > _SOFTMAX_MAPPED else None


def _resize(op: Op, graph: ModelFile) -> Verdict | None:
    before, after = _input(op, graph), _output(op, graph)
    if len(before) != 4 or len(after) != 4 or before == after:
        return None
    size = math.prod(after)
    if before[1:3] == (1, 1):
        return Verdict("cpu", LIMIT, "leave out the branch that pools the whole image")
    image = shape_of(graph.tensors[graph.inputs[0]])
    stride = round(after[1] / max(1, before[1]))
    # The last resize makes the image's size, or that and a network's padding up to its stride.
    last = len(image) == 4 and all(0 <= after[i] - image[i] < _PADDING for i in (1, 2))
    if last and stride > 1:
        advice = f"resize output {size / 1e6:.1f} MB: export with --stride {stride}"
    else:
        advice = f"resize output {size / 1e6:.1f} MB: resize less, or fewer channels"
    if size >= _RESIZE_REFUSED:
        return Verdict("cpu", LIMIT, advice)
    # An odd grid is a little more than doubled where a network pads: 33 to 67.
    doubled = all(after[i] <= 2 * before[i] + 1 for i in (1, 2))
    return None if doubled and size <= _RESIZE_MAPPED else Verdict("uncertain", LIMIT, advice)


def _axes(op: Op, graph: ModelFile) -> set[int]:
    rank = len(_input(op, graph))
    return {axis % rank for axis in _integers(op, graph, 1)} if rank else set()


def _reduce(op: Op, graph: ModelFile) -> Verdict | None:
    shape, axes = _input(op, graph), _axes(op, graph)
    if any(shape[axis] != 1 for axis in axes if axis == 0 and len(shape) > 3):
        return Verdict("cpu", LIMIT, BATCH)
    return None


def _mean(op: Op, graph: ModelFile) -> Verdict | None:
    shape, axes = _input(op, graph), _axes(op, graph)
    last = len(shape) - 1
    if last in axes and shape[last] != 1 and shape[last] % 4:
        return Verdict("cpu", LIMIT, "take the mean over a multiple of 4 channels")
    pixels = math.prod(shape[axis] for axis in axes - {last})
    if pixels >= _MEAN_REFUSED:
        return Verdict("cpu", LIMIT, "take the mean at a coarser stride")
    if pixels > _MEAN_MAPPED:
        return Verdict("uncertain", LIMIT, "take the mean at a coarser stride")
    return _reduce(op, graph)


def _pack(op: Op, graph: ModelFile) -> Verdict | None:
    # One tensor is packed by a leading 1, which is no batch.
    split = op.options["axis"] == 0 and len(op.inputs) > 1
    return Verdict("cpu", LIMIT, BATCH) if split else None


def _split(op: Op, graph: ModelFile) -> Verdict | None:
    axis, rank = _integers(op, graph, 0)[:1], len(_input(op, graph, 1))
    along_batch = bool(axis) and rank > 0 and axis[0] % rank == 0
    # One part is the tensor itself, along whatever axis.
    return Verdict("cpu", LIMIT, BATCH) if along_batch and len(op.outputs) > 1 else None


def _strided_slice(op: Op, graph: ModelFile) -> Verdict | None:
    shape, advice = _input(op, graph), "slice with strides of 1"
    steps = [(step, shape[axis : axis + 1]) for axis, step in enumerate(_integers(op, graph, 3))]
    if any(step != 1 and size != (1,) for step, size in steps):
        return Verdict("cpu", LIMIT, advice)
    if op.options["ellipsis_mask"] or op.options["new_axis_mask"]:
        return Verdict("cpu", LIMIT, "slice without ellipsis and new axes")
    # A stride along an axis of size 1 changes nothing; whether the compiler sees that, none knows.
    return Verdict("uncertain", LIMIT, advice) if any(step != 1 for step, _ in steps) else None


def _prelu(op: Op, graph: ModelFile) -> Verdict | None:
    if any(size != 1 for size in _input(op, graph, 1)[:-1]):
        return Verdict("cpu", LIMIT, "share PReLU's slopes over the image (shared_axes=[1, 2])")
    return None


def _transpose(op: Op, graph: ModelFile) -> Verdict | None:
    shape = _input(op, graph)
    order = [axis for axis in _integers(op, graph, 1) if axis < len(shape) and shape[axis] != 1]
    # The table has no limit, but logs of compiler 16.0 show some mapped and some not (issue 433).
    return None if order == sorted(order) else Verdict("uncertain", LIMIT)


LIMITS: dict[str, Callable[[Op, ModelFile], Verdict | None]] = {
    "AVERAGE_POOL_2D": _pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _window,
    "DEPTHWISE_CONV_2D": _window,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "PACK": _pack,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduce,
    "REDUCE_MIN": _reduce,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduce,
    "TRANSPOSE": _transpose,
}
