"""Where a network is quantized, and its float emulation of what the integer file computes.

Batch norms are folded, so that kernels are what the file holds. Every kernel is rounded to int8,
channel by channel, and so is every tensor that the file stores: the outputs of all layers but
those whose ReLU the converter fuses and those that only move numbers about.
"""

import functools
from dataclasses import replace

import numpy as np
import tensorflow as tf

from export.compression.bridge import (
    CHANNEL_AXES,
    Network,
    Node,
    build,
    fold_norms,
    norm_as_scale,
)
from export.compression.bridge_own import hard_sigmoid
from export.compression.qat_state import Range, State
from export.graph.scaling import fits_bytes

CONVOLUTIONS = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D")
KERNELS = (*CONVOLUTIONS, "Dense")
_IMAGE = "image"
# LiteRT fixes what a step of these stands for.
_FIXED: dict[str, Range] = {
    "softmax": (0.0, 255 / 256),
    "sigmoid": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}
# LiteRT's kernels take and give one scale here.
_MOVERS = (
    "AveragePooling2D",
    "Cropping2D",
    "Dropout",
    "Flatten",
    "GlobalMaxPooling2D",
    "MaxPooling2D",
    "Permute",
    "Reshape",
    "SpatialDropout2D",
    "UpSampling2D",
    "ZeroPadding2D",
)
# Not Conv2DTranspose: with a fused ReLU it is an op version that the Edge TPU compiler refuses.
_FUSING = ("Add", "Conv2D", "Dense", "DepthwiseConv2D")


def lower(graph: Network) -> tuple[Network, tuple[float, float]]:
    """Rewrites a network into what its integer file computes.

    Args:
        graph: From `read_graph`.

    Returns:
        The network without batch norms and image scaling, and (factor, offset) of that scaling.
    """
    graph, scaling = _without_scaling(fold_norms(graph, kinds=KERNELS))
    made = max(node.output for node in graph.nodes)
    nodes: list[Node] = []
    for node in graph.nodes:
        parts = _parts(_as_convolution(node))
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            made += not last
            inputs = (nodes[-1].output, *part.inputs[1:]) if index else part.inputs
            nodes.append(replace(part, inputs=inputs, output=node.output if last else made))
    return replace(graph, nodes=tuple(nodes)), scaling


def _without_scaling(graph: Network) -> tuple[Network, tuple[float, float]]:
    fit, (factor, offset) = (graph, (1.0, 0.0)), (1.0, 0.0)
    while graph.uses()[0] == 1:  # else the image itself is used, too
        first = next(node for node in graph.nodes if 0 in node.inputs)
        if first.kind != "Rescaling" or first.output in graph.outputs:
            break
        scale, shift = (first.config[key] for key in ("scale", "offset"))
        if scale.ndim or shift.ndim:
            break
        factor, offset = float(scale) * factor, float(scale * offset + shift)
        nodes = (
            replace(node, inputs=tuple(0 if i == first.output else i for i in node.inputs))
            for node in graph.nodes
            if node is not first
        )
        graph = replace(graph, nodes=tuple(nodes))
        if fits_bytes((factor, offset)):  # else bytes cannot stand for it
            fit = graph, (factor, offset)
    return fit


def _as_convolution(node: Node) -> Node:
    """Turns a factor and an offset for each channel into a 1x1 depthwise convolution."""
    if node.kind == "BatchNormalization":
        scale, offset = norm_as_scale(node)
    elif node.kind == "Rescaling" and max(node.config["scale"].ndim, node.config["offset"].ndim):
        scale, offset = np.broadcast_arrays(node.config["scale"], node.config["offset"])
    else:
        return node
    weights = [scale.reshape(1, 1, -1, 1).copy(), offset.copy()]
    return replace(node, kind="DepthwiseConv2D", config={"kernel_size": 1}, weights=weights)


def _parts(node: Node) -> list[Node]:
    """Splits what the file computes in steps, each of which has a range.

    The first input of all but the first step is what the step before made.
    """
    if node.config.get("activation") is hard_sigmoid:
        relu = replace(node, name=f"{node.name}_relu", kind="ReLU", config={"max_value": 6.0})
        return [_step(node, "shift", 3.0), relu, _step(node, "scale", 1 / 6)]
    if node.kind == "Rescaling":
        scale, offset = (float(node.config[key]) for key in ("scale", "offset"))
        shift = [_step(node, "shift", offset)] if offset else []
        return [_step(node, "scale", scale), *shift] if scale != 1 or not shift else shift
    if node.kind == "Average":
        sums = _parts(replace(node, kind="Add"))
        return [*sums, _step(node, "scale", 1 / len(node.inputs))]
    if node.kind in ("Add", "Maximum", "Multiply") and len(node.inputs) > 2:
        first, *others = node.inputs
        return [
            replace(node, name=f"{node.name}_{index}", inputs=(first, other))
            for index, other in enumerate(others)
        ]
    return [node]


def _step(node: Node, name: str, value: float) -> Node:
    """Returns a multiplication by, or an addition of, a number."""
    operation = {"scale": tf.multiply, "shift": tf.add}[name]
    config = {"activation": functools.partial(operation, tf.constant(value))}
    name = f"{node.name}_{name}"
    return replace(node, name=name, kind="Activation", config=config, inputs=node.inputs[:1])


def quantized_outputs(graph: Network) -> dict[str, Range | None]:
    """Returns the layers whose outputs are quantized, with their range where it is fixed."""
    uses = graph.uses()
    readers = {number: node for node in graph.nodes for number in node.inputs}
    found: dict[str, Range | None] = {}
    for node in graph.nodes:
        fused = node.kind in _FUSING and uses[node.output] == 1 and _is_fused(readers, node)
        if node.kind not in _MOVERS and not fused:
            name = "softmax" if node.kind == "Softmax" else node.config.get("activation")
            found[node.name] = _FIXED.get(name) if isinstance(name, str) else None
    return found


def _averages(graph: Network) -> dict[str, str]:
    """Returns layers that average and round at the scale of their input, with its layer."""
    makers = {node.output: node for node in graph.nodes}
    ranged = quantized_outputs(graph)
    found = {}
    for node in graph.nodes:
        if node.kind == "AveragePooling2D" or node.config.get("interpolation") == "bilinear":
            source: Node | None = node
            while source is not None and source.name not in ranged:
                source = makers.get(source.inputs[0])
            found[node.name] = source.name if source is not None else _IMAGE
    return found


def _is_fused(readers: dict[int, Node], node: Node) -> bool:
    reader = readers.get(node.output)
    return (
        reader is not None
        and reader.kind == "ReLU"
        and reader.config.get("max_value") in (None, 6)
        and not reader.config.get("negative_slope")
        and not reader.config.get("threshold")
    )


def calibrate(graph: Network, batches: list[np.ndarray]) -> dict[str, Range]:
    """Returns the average range of each output that is rounded, over scaled batches."""
    makers = {node.name: node.output for node in graph.nodes}
    names = list(quantized_outputs(graph))
    every = replace(graph, outputs=tuple(makers[name] for name in names), names=())
    network = build(every, batch_size=len(batches[0]))

    @tf.function(jit_compile=False)
    def limits(images):
        outputs = tf.nest.flatten(network(images, training=False))
        return [(tf.minimum(tf.reduce_min(x), 0), tf.maximum(tf.reduce_max(x), 0)) for x in outputs]

    found = np.mean([np.array(limits(tf.constant(batch))) for batch in batches], axis=0)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, found, strict=True)}


def has_one_scale(kind: str, per_channel: bool) -> bool:
    """Whether all channels of a layer's kernel share a scale.

    Those of transposed convolutions never do: the converter turns them about, and loses it.
    """
    return not per_channel and kind in KERNELS and kind != "Conv2DTranspose"


def round_kernel(kernel: np.ndarray, kind: str, per_channel: bool = True) -> np.ndarray:
    """Returns a kernel as int8 holds it: 127 steps up to the largest value, of each channel."""
    axes = () if has_one_scale(kind, per_channel) else CHANNEL_AXES.get(kind, (-1,))
    others = tuple(set(range(kernel.ndim)) - {axis % kernel.ndim for axis in axes})
    step = np.abs(kernel).max(others, keepdims=True) / np.float32(127)
    return np.rint(kernel / np.where(step == 0, 1, step)) * step


def rounded(graph: Network, state: State, scaling: tuple[float, float]) -> Network:
    """Returns a network with all roundings of its integer file.

    Args:
        graph: The lowered network.
        state: Its weights and ranges.
        scaling: (factor, offset) that makes its images from 0..255.

    Raises:
        ValueError: If the state is of another network.
    """
    ranges = {**state.ranges, _IMAGE: (scaling[1], 255 * scaling[0] + scaling[1])}
    ranges |= {name: ranges[source] for name, source in _averages(graph).items()}
    nodes = [_rounding(_IMAGE, 0, -1, ranges[_IMAGE])]
    for node in graph.nodes:
        weights = node.weights
        if weights:
            weights = state.weights.get(node.name, [])
            if [np.shape(w) for w in weights] != [np.shape(w) for w in node.weights]:
                raise ValueError(
                    f"The layer {node.name} has no trained weights; convert the network that was "
                    "quantized."
                )
        if node.kind in KERNELS:
            kernel, *biases = weights
            kernel = round_kernel(kernel, node.kind, state.per_channel)
            weights = [kernel, *(_uneven(bias) for bias in biases)]
        inputs = tuple(number or -1 for number in node.inputs)  # -1: the image, rounded
        if node.name not in ranges:
            nodes.append(replace(node, weights=weights, inputs=inputs))
            continue
        raw = -1 - node.output  # numbers below -1: tensors before they are rounded
        nodes.append(replace(node, weights=weights, inputs=inputs, output=raw))
        nodes.append(_rounding(node.name, raw, node.output, ranges[node.name]))
    return replace(graph, nodes=tuple(nodes))


def _uneven(bias: np.ndarray) -> np.ndarray:
    """Returns a bias of which not all values are equal.

    The converter (TensorFlow 2.21) takes equal ones for one number and gives each channel what
    that is at the scale of the first.
    """
    if bias.size > 1 and (bias == bias[0]).all():
        bias = bias.copy()
        bias[0] = np.nextafter(bias[0], np.float32(np.inf))
    return bias


def _rounding(name: str, taken: int, made: int, limits: Range) -> Node:
    ends = [np.asarray(value, "float32") for value in limits]
    return Node(f"{name}_range", "FakeQuant", {}, ends, (taken,), made)
