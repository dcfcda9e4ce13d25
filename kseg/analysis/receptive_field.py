"""The theoretical receptive field: how many pixels a position of a map depends on.

It is computed from strides, kernels and dilation, backwards from the map: which run of positions of
each earlier map do the positions of this map need?
"""

import math
from typing import Literal

import keras
import numpy as np
from keras import layers

from kseg.analysis.graph import (
    CONVOLUTIONS,
    DEPTHWISE,
    NORMS,
    SEPARABLE,
    TRANSPOSED,
    Graph,
    Step,
    same_padding,
)
from kseg.layers import BedOfNails, CropLike, MaxUnpooling, PadToStride, Resize

# (height, width) in pixels; "image" if the whole image counts, however large it is; None where the
# kind of a layer is not known here.
ReceptiveField = tuple[int, int] | Literal["image"] | None

_WINDOWS = (*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, layers.MaxPooling2D, layers.AveragePooling2D)
_WHOLE = (
    layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Flatten,
    layers.GroupNormalization,
)  # fmt: skip
_POINTWISE = (
    *NORMS, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU,
    layers.Softmax, layers.Dense, layers.Dropout, layers.SpatialDropout2D, layers.Identity,
    layers.ActivityRegularization, layers.GaussianNoise, layers.Rescaling, layers.Add,
    layers.Average, layers.Concatenate, layers.Maximum, layers.Minimum, layers.Multiply,
    layers.Subtract, CropLike, PadToStride,
)  # fmt: skip
# Bare calls of keras.ops, by the names of their operations.
_POINTWISE_CALLS = {
    "Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Relu", "Relu6", "Sigmoid",
    "HardSigmoid", "Silu", "Softmax",
}  # fmt: skip
_UPSAMPLINGS = (Resize, layers.UpSampling2D, layers.Resizing)

# First and last positions along one axis that a run of positions depends on.
_Range = tuple[np.ndarray, np.ndarray]


def theoretical_receptive_field(graph: Graph, tensor: int) -> ReceptiveField:
    """Returns the largest receptive field among the positions of a map.

    Positions differ where maps were enlarged: one may lie between two coarse positions, the next
    on one. The field is not cut at the border of the image. The holes of dilated convolutions
    count, and so do the pixels that only decide where max unpooling puts a value.

    Args:
        graph: The model, as `kseg.analysis.graph.trace` returns it.
        tensor: Index in the graph of the map (1, H, W, C).
    """
    height, width = (_pixels(graph, tensor, axis) for axis in (1, 2))
    if height is None or width is None:
        return None
    return "image" if math.inf in (height, width) else (int(height), int(width))


def _pixels(graph: Graph, tensor: int, axis: int) -> float | None:
    """Returns the receptive field along an axis in pixels, or None if a layer is not known."""
    positions = np.arange(_length(graph.shapes[tensor], axis), dtype=float)
    needed: dict[int, _Range] = {tensor: (positions, positions)}
    for step in reversed(graph.steps):
        for output in step.outputs:
            if output not in needed:
                continue
            first, last = needed.pop(output)
            # Between the values that bed of nails spreads there is nothing: the run is empty.
            empty = first > last
            run = np.where(empty, np.inf, first), np.where(empty, -np.inf, last)
            for number, source in enumerate(step.inputs):
                shapes = graph.shapes[source], graph.shapes[output]
                found = _before(step, number, run, axis, shapes)
                if found is None:
                    return None
                seen = needed.get(source, found)
                needed[source] = np.minimum(seen[0], found[0]), np.maximum(seen[1], found[1])
    first, last = needed[graph.image]
    return float(np.max(last - first)) + 1


def _before(step: Step, number: int, run: _Range, axis: int, shapes) -> _Range | None:
    """Returns the run of positions of an input that a run of positions of the output needs."""
    layer, (first, last) = step.layer, run
    size, out_size = (_length(shape, axis) for shape in shapes)
    if isinstance(layer, _WHOLE) or _mixes(layer, axis, len(shapes[0])):
        return np.full_like(first, -np.inf), np.full_like(last, np.inf)
    if isinstance(layer, _POINTWISE) or type(layer).__name__ in _POINTWISE_CALLS:
        return _spread(run) if size == 1 != out_size else run
    if size == out_size == 1 and isinstance(layer, layers.Reshape):
        return run
    if len(shapes[0]) != 4 or getattr(layer, "data_format", None) == "channels_first":
        return None
    if isinstance(layer, (*_WINDOWS, *TRANSPOSED)):
        return _window(layer, run, axis, size, out_size)
    if isinstance(layer, _UPSAMPLINGS):
        return _resized(layer.interpolation, run, size, out_size)
    return _moved(layer, number, run, axis)


def _mixes(layer: keras.Operation, axis: int, rank: int) -> bool:
    """Says whether a layer whose axes may be any takes all positions along an axis together."""
    if not isinstance(layer, layers.LayerNormalization | layers.RMSNormalization | layers.Softmax):
        return False
    return axis in {one % rank for one in keras.tree.flatten(layer.axis)}


def _moved(layer, number: int, run: _Range, axis: int) -> _Range | None:
    first, last = run
    if isinstance(layer, layers.ZeroPadding2D):
        return first - layer.padding[axis - 1][0], last - layer.padding[axis - 1][0]
    if isinstance(layer, layers.Cropping2D):
        return first + layer.cropping[axis - 1][0], last + layer.cropping[axis - 1][0]
    if isinstance(layer, BedOfNails):
        return np.ceil(first / 2), np.floor(last / 2)
    if isinstance(layer, MaxUnpooling):
        first, last = np.floor(first / 2), np.floor(last / 2)
        return (first, last) if number == 0 else (2 * first, 2 * last + 1)
    return None


def _window(layer, run: _Range, axis: int, size: int, out_size: int) -> _Range:
    first, last = run
    kernel_size = getattr(layer, "kernel_size", None) or layer.pool_size
    taps, stride = kernel_size[axis - 1], layer.strides[axis - 1]
    dilation_rate = getattr(layer, "dilation_rate", (1, 1))[axis - 1]
    reach = (taps - 1) * dilation_rate
    transposed = isinstance(layer, TRANSPOSED)
    padding = 0
    if layer.padding == "same":
        length = out_size if transposed else size
        padding = same_padding(length, taps, stride, dilation_rate)[0]
    if transposed:
        return np.ceil((first + padding - reach) / stride), np.floor((last + padding) / stride)
    return first * stride - padding, last * stride - padding + reach


def _resized(interpolation: str, run: _Range, size: int, out_size: int) -> _Range | None:
    # Whole numbers up to the division, so that rounding down and up is exact.
    first, last = ((2 * end + 1) * size for end in run)
    if interpolation == "nearest":
        return np.floor(first / (2 * out_size)), np.floor(last / (2 * out_size))
    if interpolation == "bilinear":
        first, last = first - out_size, last - out_size
        return np.floor(first / (2 * out_size)), np.ceil(last / (2 * out_size))
    return None


def _spread(run: _Range) -> _Range:
    """Returns the run for a map of one position that is spread over a larger one."""
    empty = run[0] > run[1]
    return np.where(empty, np.inf, 0.0), np.where(empty, -np.inf, 0.0)


def _length(shape: tuple[int, ...], axis: int) -> int:
    return shape[axis] if len(shape) == 4 else 1
