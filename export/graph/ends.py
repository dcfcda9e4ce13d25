"""The strides at which a network can end: its last upsampling may be left to the app."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from kseg.analysis.graph import Graph, Step
from kseg.grids import whole_stride
from kseg.layers import CropLike, Resize


def strides(graph: Graph) -> dict[int, frozenset[int]]:
    """Returns the strides at which a network can end.

    Walks back from the logits through layers that only enlarge, crop or mix channels: without the
    enlarging ones the same logits come out, at a coarser grid. A network with several maps can end
    where each of them can.

    Args:
        graph: From an image to logits, or to several maps of one size.

    Returns:
        Stride to the numbers of the steps that are then left out or cut to the coarser grid. The
        first is the stride of the network as it is, usually 1, which leaves out nothing.

    Raises:
        ValueError: If the logits are no grid of the image.
    """
    first, *others = (_ends_of(output, graph) for output in graph.outputs)
    consumers = graph.consumers()
    found = {}
    for stride, end in first.items():
        ends = [end, *(other[stride] for other in others if stride in other)]
        left_out = frozenset().union(*(e.left_out for e in ends))
        passed = frozenset().union(*(e.passed for e in ends))
        # What is left out must not be needed by a layer before the end of another map.
        needed = {
            number for n in left_out for t in graph.steps[n].outputs for number in consumers[t]
        }
        if len(ends) == len(graph.outputs) and needed <= passed:
            found[stride] = left_out
    return found


@dataclass(frozen=True)
class _End:
    """A place where a map can end: the steps that are left out then, and all behind it."""

    left_out: frozenset[int]
    passed: frozenset[int]


def _ends_of(output: int, graph: Graph) -> dict[int, _End]:
    """Returns stride to where a map can end, the map as it is first."""
    stride = own_stride(graph)
    ends = {stride: _End(frozenset(), frozenset())}
    makers, left_out, passed = graph.makers(), set(), set()
    shared = {id(step.layer) for step in graph.steps if step.repeated}
    mixed, enlarged, number = False, False, makers.get(output)
    while number is not None:
        step = graph.steps[number]
        factor = _factor(step, graph) if id(step.layer) not in shared and step.inputs else None
        # A crop before an upsampling would need a grid of its own; a learnt upsampling and a
        # mixture of channels do not commute.
        crop = isinstance(step.layer, CropLike)
        learnt = isinstance(step.layer, layers.Conv2DTranspose)
        if factor is None or (crop and enlarged) or (factor > 1 and mixed and learnt):
            break
        mixed |= isinstance(step.layer, layers.Conv2D)
        stride *= factor
        passed.add(number)
        if crop or factor > 1:
            left_out.add(number)
        if factor > 1:
            enlarged = True
            ends[stride] = _End(frozenset(left_out), frozenset(passed))
        number = makers.get(step.inputs[0])
    return ends


def end_at(graph: Graph, stride: int) -> tuple[int, frozenset[int]]:
    """Returns the stride of the output and the steps that are left out, or cut, for it.

    Args:
        graph: From an image to logits.
        stride: The stride of the output; 1 stands for that of the network as it is.

    Raises:
        ValueError: If the network cannot end there.
    """
    ends = strides(graph)
    chosen = min(ends) if stride == 1 else stride
    if chosen not in ends:
        raise ValueError(
            f"stride must be one at which this network can end, {' or '.join(map(str, ends))}; "
            f"got {stride}."
        )
    return chosen, ends[chosen]


def own_stride(graph: Graph) -> int:
    """Returns how many pixels of the image a position of the logits stands for.

    Raises:
        ValueError: If it is no whole number, the same in both directions.
    """
    size, coarse = graph.shapes[graph.image][1:3], graph.shapes[graph.outputs[0]][1:3]
    stride = whole_stride((size[0], size[1]), (coarse[0], coarse[1]))
    if stride is None:
        raise ValueError(
            f"The model makes {coarse} logits of an image of {size}; they must be a grid of the "
            'image, such as (H, W) or (H / 2, W / 2). Pad its convolutions with padding="same", '
            "take multiples of its stride, or crop or resize what it returns."
        )
    return stride


def _factor(step: Step, graph: Graph) -> int | None:
    """Returns by how much a layer enlarges; None if it does more than the end of a network may."""
    layer = step.layer
    if isinstance(layer, Resize):
        return layer.scale
    if isinstance(layer, layers.UpSampling2D):
        return layer.size[0] if layer.size[0] == layer.size[1] else None
    if isinstance(layer, layers.Conv2DTranspose):
        plain = _is_linear(layer) and not layer.use_bias and layer.padding == "same"
        channels = graph.shapes[step.inputs[0]][-1]
        square = layer.strides[0] == layer.strides[1] and layer.filters == channels
        ends = plain and square and layer.strides[0] > 1 and _keeps_channels(layer)
        return layer.strides[0] if ends else None
    if isinstance(layer, layers.Conv2D):
        pointwise = (*layer.kernel_size, *layer.strides) == (1, 1, 1, 1)
        return 1 if pointwise and _is_linear(layer) else None
    if isinstance(layer, layers.Activation):
        return 1 if _is_linear(layer) else None
    return 1 if isinstance(layer, CropLike | layers.Dropout | layers.SpatialDropout2D) else None


def _keeps_channels(layer: layers.Conv2DTranspose) -> bool:
    """Says whether each channel is made of itself more than of any other, as interpolation does."""
    taps = keras.ops.convert_to_numpy(layer.kernel).sum(axis=(0, 1))
    channels = np.arange(len(taps))
    return bool((taps.argmax(0) == channels).all() and (taps.argmax(1) == channels).all())


def _is_linear(layer: keras.layers.Layer) -> bool:
    return layer.activation is keras.activations.linear
