"""From Keras 3 to tf_keras, which tensorflow-model-optimization needs: the same graph and weights.

A model is read at a fixed size into a list of `Node`s, one for each tf_keras layer to be. The list
can be rewritten (`fold_norms`) before `build` makes the tf_keras model of it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tf_keras

from export.compression.bridge_layers import Part, translate
from export.compression.bridge_operations import translate_operation
from export.compression.bridge_own import OWN
from export.errors import GateError
from export.graph.comparison import difference, tolerance
from export.graph.fixed import free_name
from kseg.analysis.graph import Step, trace

# With tfmot's own names a layer of the network would be taken for one that tfmot adds.
_PREFIX = "k_"
# Where the output channels of a kernel are, if not on its last axis.
CHANNEL_AXES = {"Conv2DTranspose": (2,), "DepthwiseConv2D": (2, 3)}


@dataclass(frozen=True)
class Node:
    """One call of one tf_keras layer.

    Attributes:
        name: The name of the layer; nodes of one name share a layer.
        kind: Its class, a name of `tf_keras.layers` or of `export.compression.bridge_own.OWN`.
        config: Its arguments.
        weights: Its weights.
        inputs: Numbers of the tensors that it takes.
        output: Number of the tensor that it makes.
    """

    name: str
    kind: str
    config: dict[str, Any]
    weights: list[np.ndarray] = field(repr=False)
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class Network:
    """A network as a list of nodes, each after those it takes tensors of; tensor 0 is the image.

    Attributes:
        nodes: The calls.
        shape: The shape of the image, (H, W, channels).
        outputs: Numbers of the tensors that the network returns.
        names: What it calls them; empty where it does not return a dict.
    """

    nodes: tuple[Node, ...]
    shape: tuple[int, ...]
    outputs: tuple[int, ...]
    names: tuple[str, ...] = ()

    def uses(self) -> Counter:
        """Returns how often each tensor is taken, by a node or as an output."""
        taken = [number for node in self.nodes for number in node.inputs]
        return Counter([*taken, *self.outputs])

    def calls(self) -> Counter:
        """Returns how often each layer is called."""
        return Counter(node.name for node in self.nodes)


def to_tf_keras(
    model: keras.Model, input_size: tuple[int, int], images: np.ndarray | None = None
) -> tf_keras.Model:
    """Returns an equal tf_keras model at a fixed size.

    Separable convolutions become their two parts, activations layers of their own, and a batch
    norm behind a transposed convolution is folded into it; kseg's layers become stock ones.

    Args:
        model: A functional (or Sequential) model of one image (N, H, W, channels); nested models
            are flattened.
        input_size: (height, width).
        images: What to compare the two on, float32 (N, H, W, channels), 0..255; random numbers
            by default.

    Returns:
        The model; its outputs are the original's.

    Raises:
        ValueError: If a layer or a setting is not in the table of
            `export.compression.bridge_layers`; the layer is named.
        GateError: If the outputs differ: a bug in the table.
    """
    graph = fold_norms(read_graph(model, input_size), kinds=("Conv2DTranspose",))
    made = build(graph)
    if images is None:
        images = np.random.default_rng(0).uniform(0, 255, (2, *graph.shape)).astype("float32")
    check_equal(model, made, images)
    return made


def check_equal(model: keras.Model, made: Callable[[np.ndarray], Any], images: np.ndarray) -> None:
    """Compares a network with its copy.

    Args:
        model: The network, as it was handed in.
        made: The copy.
        images: Float32 (N, H, W, channels), 0..255.

    Raises:
        GateError: If an output differs by more than 1e-4 of its largest value.
    """
    both = (keras.tree.flatten(each) for each in (model(images, training=False), made(images)))
    pairs = zip(*both, strict=True)
    for expected, got in ((np.asarray(a), np.asarray(b)) for a, b in pairs):
        share = difference(expected, got)
        if not share <= tolerance(model):
            raise GateError(
                f"The tf_keras copy of {model.name} differs from it by {share:.2g} of the largest "
                "value; this is a bug in export/compression/bridge_layers.py."
            )


def read_graph(model: keras.Model, input_size: tuple[int, int]) -> Network:
    """Reads a model at a fixed size.

    Args:
        model: A functional or Sequential model of one image (N, H, W, channels).
        input_size: (height, width) of the image.

    Raises:
        ValueError: If a layer, a setting or a bare call does not cross; it is named.
    """
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        raise ValueError(
            "The bridge to tf_keras needs a functional model of one image; got "
            f"{type(model).__name__} {model.name}."
        )
    graph = trace(model, input_size)
    nodes: list[Node] = []
    numbers = {graph.image: 0}  # of a tensor of the model: of its counterpart
    names: dict[int, str] = {}
    for step in graph.steps:
        if id(step.layer) not in names:
            names[id(step.layer)] = free_name(step.name, set(names.values()))
        taken = tuple(numbers[index] for index in step.inputs)
        sizes = (*step.inputs, *(() if step.reference is None else (step.reference,)))
        for part in _translate(step, graph.shapes_of(sizes)):
            made = len(nodes) + 1
            name = f"{_PREFIX}{names[id(step.layer)]}{part.suffix}"
            nodes.append(Node(name, part.kind, part.config, part.weights, taken, made))
            taken = (made,)
        numbers[step.outputs[0]] = taken[0]  # for a layer without parts, its first input
    outputs = tuple(numbers[index] for index in graph.outputs)
    return Network(tuple(nodes), graph.shapes[graph.image][1:], outputs, graph.names)


def _translate(step: Step, shapes: list[tuple[int, ...]]) -> list[Part]:
    if not isinstance(step.layer, keras.Layer):
        return translate_operation(step)
    plain = (keras.KerasTensor, bool, type(None))
    if not all(isinstance(value, plain) for value in step.arguments):
        raise ValueError(
            f"The layer {step.name} is called with more than tensors, which the bridge to "
            "tf_keras does not take; call it on tensors alone."
        )
    return translate(step.layer, list(shapes))


def fold_norms(graph: Network, *, kinds: tuple[str, ...]) -> Network:
    """Multiplies batch norms into the convolutions before them.

    Args:
        graph: The network.
        kinds: The kinds of layers that take a norm in, of "Conv2D", "DepthwiseConv2D",
            "Conv2DTranspose" and "Dense".

    Returns:
        The network without those norms that were alone behind such a convolution.
    """
    uses, calls = graph.uses(), graph.calls()
    makers = {node.output: index for index, node in enumerate(graph.nodes)}
    nodes: list[Node | None] = list(graph.nodes)
    for index, node in enumerate(graph.nodes):
        before = makers.get(node.inputs[0])
        if node.kind != "BatchNormalization" or before is None:
            continue
        convolution = nodes[before]
        if (
            convolution is not None
            and convolution.kind in kinds
            and uses[convolution.output] == calls[convolution.name] == calls[node.name] == 1
        ):
            scale, offset = norm_as_scale(node)
            kernel, *bias = convolution.weights
            shape = [1] * kernel.ndim
            for axis in CHANNEL_AXES.get(convolution.kind, (-1,)):
                shape[axis] = kernel.shape[axis]
            folded = [kernel * scale.reshape(shape), offset + (bias[0] * scale if bias else 0)]
            config = {**convolution.config, "use_bias": True}
            nodes[before] = None
            nodes[index] = replace(convolution, config=config, weights=folded, output=node.output)
            makers[node.output] = index
    return replace(graph, nodes=tuple(node for node in nodes if node is not None))


def norm_as_scale(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Returns (scale, offset) that a batch norm multiplies and adds outside training."""
    *affine, mean, variance = node.weights
    parts = iter(affine)
    gamma = next(parts) if node.config["scale"] else np.ones_like(mean)
    beta = next(parts) if node.config["center"] else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + node.config["epsilon"])
    return scale, beta - mean * scale


def build(
    graph: Network,
    *,
    batch_size: int | None = None,
    wrap: Callable[[Node, tf_keras.layers.Layer], Any] = lambda node, layer: layer,
) -> tf_keras.Model:
    """Makes the tf_keras model.

    Args:
        graph: The network.
        batch_size: The batch size of the model's input; None for any.
        wrap: From a node and its layer to what is called instead of the layer.
    """
    image = tf_keras.Input(graph.shape, batch_size, name="image")
    tensors, layers = {0: image}, {}
    for node in graph.nodes:
        inputs: Any = [tensors[number] for number in node.inputs]
        inputs = inputs if len(inputs) > 1 else inputs[0]
        if node.name not in layers:
            kind = OWN.get(node.kind) or getattr(tf_keras.layers, node.kind)
            layer = kind(**node.config, name=node.name)
            if node.weights:
                layer.build(inputs.shape)
                layer.set_weights(node.weights)
            layers[node.name] = wrap(node, layer)
        tensors[node.output] = layers[node.name](inputs)
    outputs = [tensors[number] for number in graph.outputs]
    if graph.names:
        return tf_keras.Model(image, dict(zip(graph.names, outputs, strict=True)))
    return tf_keras.Model(image, outputs if len(outputs) > 1 else outputs[0])
