"""Peak memory of the activations in an int8 file, and what the converter folds away."""

import math
from dataclasses import dataclass

import numpy as np
from keras import activations, layers

from kseg.analysis.graph import (
    CONVOLUTIONS,
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
    Graph,
    Step,
    same_padding,
)
from kseg.layers import CropLike, MaxUnpooling, PadToStride, Resize

_PRODUCTS = (*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED, layers.Dense)
_SUMS = (layers.Add, layers.Subtract, layers.Multiply, layers.BatchNormalization)
_IN_PLACE = (layers.Add, layers.Multiply, layers.BatchNormalization)
_NOTHING = (
    layers.Dropout, layers.Identity, layers.ActivityRegularization, layers.Flatten, layers.Reshape,
)  # fmt: skip
_VANISHING = (PadToStride, CropLike, Resize, layers.ZeroPadding2D, layers.Cropping2D)


@dataclass(frozen=True)
class Fusion:
    """The layers for which an int8 file has no op of their own.

    Attributes:
        homes: For each tensor, the tensor whose memory holds it: itself, or the output of the layer
            that the tensor's layer was folded into.
        norms: Number of a step to the batch norm that is folded into it.
    """

    homes: tuple[int, ...]
    norms: dict[int, layers.Layer]

    def folds(self, step: Step) -> bool:
        """Returns whether a step has no op of its own."""
        return all(self.homes[index] != index for index in step.outputs)


def fuse(graph: Graph) -> Fusion:
    """Finds the layers that the converter folds into others.

    These are batch norms after convolutions and dense layers; ReLU and ReLU6 after those and after
    sums and products of maps; zero padding that only makes the next convolution a "same" one; the
    scaling of the image; and layers that change nothing at this size.

    Args:
        graph: The model, as `kseg.analysis.graph.trace` returns it.
    """
    homes = list(range(len(graph.shapes)))
    consumers = graph.consumers()
    open_to_norm: dict[int, int] = {}  # tensor to the step that made it
    open_to_activation: set[int] = set()
    norms = {}
    for number, step in enumerate(graph.steps):
        if not step.inputs:
            continue
        source, target = homes[step.inputs[0]], step.outputs[0]
        alone = len(consumers[step.inputs[0]]) == 1 and step.inputs[0] not in graph.outputs
        if _does_nothing(step, graph) or _pads_for_same(step, graph, consumers):
            homes[target] = source
        elif alone and isinstance(step.layer, layers.BatchNormalization) and source in open_to_norm:
            homes[target] = source
            norms[open_to_norm.pop(source)] = step.layer
        elif alone and source in open_to_activation and _is_relu(step.layer):
            homes[target] = source
            open_to_activation.discard(source)
            open_to_norm.pop(source, None)
        elif isinstance(step.layer, _PRODUCTS):
            if step.layer.activation is activations.linear:
                open_to_norm[target] = number
                open_to_activation.add(target)
        elif isinstance(step.layer, _SUMS):
            open_to_activation.add(target)
    return Fusion(tuple(homes), norms)


def live_bytes(graph: Graph, fusion: Fusion) -> tuple[list[int], int]:
    """Returns the int8 activations in memory while each layer runs, and the peak.

    Layers run in the model's order. A tensor is alive from the layer that makes it to the last
    one that reads it, and takes one byte a value. Sums and products write over an input that no
    later layer reads. As in the files that `export.convert` writes, the image comes as uint8, stays
    to the end, and is copied to int8 first; the outputs are copied to uint8 last. Memory that
    kernels need for themselves, such as the unrolled patches of some of LiteRT's convolutions, is
    not counted.

    Args:
        graph: The model, as `kseg.analysis.graph.trace` returns it.
        fusion: What `fuse` found in the same model.

    Returns:
        Bytes for each step (0 for a step that is folded into another), and the largest number of
        all, in which the copies of the image and of the outputs count too.
    """
    sizes = [math.prod(shape) for shape in graph.shapes]
    last = {fusion.homes[graph.image]: -1}
    for number, step in enumerate(graph.steps):
        for index in (*step.inputs, *step.outputs):
            last[fusion.homes[index]] = number
    for index in graph.outputs:
        last[fusion.homes[index]] = len(graph.steps)
    image, outputs = sizes[graph.image], sum(sizes[index] for index in graph.outputs)
    live, alive = [], {fusion.homes[graph.image]}
    for number, step in enumerate(graph.steps):
        alive |= {fusion.homes[index] for index in step.outputs}
        ending = [index for index in step.inputs if last[fusion.homes[index]] == number]
        total = image + sum(sizes[index] for index in alive) + _inside(step, sizes, ending)
        live.append(0 if fusion.folds(step) else total)
        alive = {index for index in alive if last[index] > number}
    return live, max([2 * image, image + 2 * outputs, *live])


def _inside(step: Step, sizes: list[int], ending: list[int]) -> int:
    """Returns the bytes that a layer needs beyond its inputs and its output; it may be negative.

    `ending` are the inputs that no later layer reads.
    """
    layer, out = step.layer, sizes[step.outputs[0]]
    if isinstance(layer, _IN_PLACE) and out in [sizes[index] for index in ending]:
        return -out
    if isinstance(layer, MaxUnpooling):  # `export` compares halves of the source as int32
        source = out if step.inputs[1] in ending else 0
        return 9 * out // 2 + sizes[step.inputs[0]] - out - source
    if isinstance(layer, SEPARABLE):  # the map between the halves meets one end at a time
        middle = out // layer.filters * math.prod(layer.depthwise_kernel.shape[-2:])
        return middle - (min(sizes[step.inputs[0]], out) if ending else 0)
    return 0


def _does_nothing(step: Step, graph: Graph) -> bool:
    layer = step.layer
    if isinstance(layer, _NOTHING):
        return True
    if isinstance(layer, layers.Activation):
        return layer.activation is activations.linear
    if isinstance(layer, layers.Rescaling):
        one_factor = np.ndim(layer.scale) == np.ndim(layer.offset) == 0
        return one_factor and step.inputs[0] == graph.image
    same = graph.shapes[step.inputs[0]] == graph.shapes[step.outputs[0]]
    return same and isinstance(layer, _VANISHING)


def _pads_for_same(step: Step, graph: Graph, consumers: dict[int, list[int]]) -> bool:
    readers = [graph.steps[number].layer for number in consumers[step.outputs[0]]]
    if not isinstance(step.layer, layers.ZeroPadding2D) or len(readers) != 1:
        return False
    reader = readers[0]
    if not isinstance(reader, (layers.Conv2D, layers.DepthwiseConv2D)) or reader.padding == "same":
        return False
    axes = zip(
        graph.shapes[step.inputs[0]][1:3],
        reader.kernel_size, reader.strides, reader.dilation_rate, strict=True,
    )  # fmt: skip
    return [same_padding(*axis) for axis in axes] == [tuple(pair) for pair in step.layer.padding]


def _is_relu(layer) -> bool:
    if isinstance(layer, layers.ReLU):
        return layer.max_value in (None, 6) and not (layer.negative_slope or layer.threshold)
    known = (activations.relu, activations.relu6)
    return isinstance(layer, layers.Activation) and layer.activation in known
