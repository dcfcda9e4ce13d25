"""A network in the wrappers of tensorflow-model-optimization, for training.

Importing this module changes what `tf.keras` is, so only `export.compression.qat_training` does,
in a process of its own. tfmot's 8-bit scheme is not used: it leaves the kernels of convolutions
that a ReLU follows directly as they are, rounds depthwise kernels with one scale for all channels,
where the file has one for each, and does not fold batch norms behind transposed convolutions. Its
wrapper and quantizers are, with a configuration for each layer.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from export.compression.bridge import CHANNEL_AXES, Network, Node, build
from export.compression.bridge_own import kernel_name
from export.compression.qat_graph import KERNELS, has_one_scale, quantized_outputs
from export.compression.qat_state import Range, State
from kseg.training.averaging import read, write

_quantization: Any = tfmot.quantization.keras


class _ByKernel(_quantization.quantizers.LastValueQuantizer):
    """Rounds a kernel to int8 with one scale."""

    def __init__(self):
        super().__init__(num_bits=8, per_axis=False, symmetric=True, narrow_range=True)


class _ByChannel(_quantization.quantizers.LastValueQuantizer):
    """Rounds a kernel to int8 by output channel, wherever its layer keeps those."""

    def __init__(self, node: Node):
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)
        shape = node.weights[0].shape
        last = [axis % len(shape) for axis in CHANNEL_AXES.get(node.kind, (-1,))]
        self.order = [axis for axis in range(len(shape)) if axis not in last] + last
        self.back = np.argsort(self.order)
        self.moved = [shape[axis] for axis in self.order]
        self.channels = int(np.prod([shape[axis] for axis in last]))

    def build(self, tensor_shape, name, layer):
        return super().build((None, self.channels), name, layer)

    def __call__(self, inputs, training, weights, **kwargs):
        flat = tf.reshape(tf.transpose(inputs, self.order), (-1, self.channels))
        flat = super().__call__(flat, training, weights, **kwargs)
        return tf.transpose(tf.reshape(flat, self.moved), self.back)


class _Running(_quantization.quantizers.MovingAverageQuantizer):
    """Rounds a tensor to the running average of its range."""

    def __init__(self):
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)

    def build(self, tensor_shape, name, layer):
        self.limits = super().build(tensor_shape, name, layer)
        return self.limits


class _Config(_quantization.QuantizeConfig):
    """What tfmot's wrapper rounds of a layer: the kernel, the output, both."""

    def __init__(self, kernel, output):
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer):
        return [(getattr(layer, kernel_name(layer)), self.kernel)] if self.kernel else []

    def set_quantize_weights(self, layer, quantize_weights):
        if self.kernel:
            setattr(layer, kernel_name(layer), quantize_weights[0])

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return [self.output] if self.output else []

    def get_config(self):
        return {}


@dataclass
class Trained:
    """A network under quantization-aware training.

    Attributes:
        network: The tf_keras model in tfmot's wrappers, from scaled images to logits.
        weights: Layer to its variables.
        limits: Layer to the variables of its output's range, lower and upper.
        fixed: Layer to the range of its output where that is fixed.
        per_channel: Whether each output channel of a kernel has a scale of its own.
    """

    network: tf_keras.Model = field(init=False)
    weights: dict[str, list[tf.Variable]] = field(default_factory=dict)
    limits: dict[str, tuple[tf.Variable, tf.Variable]] = field(default_factory=dict)
    fixed: dict[str, Range] = field(default_factory=dict)
    per_channel: bool = True

    def trainable(self) -> list[tf.Variable]:
        """Returns what learns."""
        return [variable for variables in self.weights.values() for variable in variables]

    def state(self) -> State:
        """Returns the weights and the ranges."""
        ranges = {
            name: (min(0.0, float(low)), max(1e-6, float(high)))
            for name, (low, high) in self.limits.items()
        }
        weights = {name: read(variables) for name, variables in self.weights.items()}
        return State(weights, {**self.fixed, **ranges}, self.per_channel)


def wrapped(
    graph: Network, ranges: dict[str, Range], batch_size: int, per_channel: bool = True
) -> Trained:
    """Returns a network whose kernels and outputs tfmot rounds.

    Args:
        graph: The lowered network.
        ranges: The ranges, before the first step, of the outputs to round.
        batch_size: The batch size of the network's input.
        per_channel: Whether each output channel of a kernel has a scale of its own.
    """
    trained = Trained(per_channel=per_channel)
    outputs = quantized_outputs(graph)
    quantizers: dict[str, _Running] = {}

    def wrap(node, layer):
        if node.weights:
            trained.weights[node.name] = list(layer.weights)
        kernel = None
        if node.kind in KERNELS:
            kernel = _ByKernel() if has_one_scale(node.kind, per_channel) else _ByChannel(node)
        output = None
        if node.name in outputs:
            limits = outputs[node.name]
            if limits is None:
                output = quantizers[node.name] = _Running()
            else:
                trained.fixed[node.name] = limits
                output = _quantization.quantizers.FixedQuantizer(8, *limits, narrow_range=False)
        if kernel is None and output is None:
            return layer
        return _quantization.QuantizeWrapperV2(layer, _Config(kernel, output))

    trained.network = build(graph, batch_size=batch_size, wrap=wrap)
    for name, quantizer in quantizers.items():
        limits = (quantizer.limits["min_var"], quantizer.limits["max_var"])
        trained.limits[name] = limits
        write(list(limits), [np.array(value, "float32") for value in ranges[name]])
    return trained
