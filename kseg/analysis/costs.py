"""Params, MACs and int8 weights of a layer, counted by the kind of layer."""

import math

import keras
from keras import layers

from kseg.analysis.graph import CONVOLUTIONS, DEPTHWISE, NORMS, SEPARABLE, TRANSPOSED, Step

# Bare calls of keras.ops that multiply and add. Only their names are known here, not their costs.
_PRODUCTS = {
    "Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv", "Dot", "Einsum", "Inner", "Matmul",
    "Outer", "Tensordot", "Vdot", "DotProductAttention",
}  # fmt: skip
_PRODUCT_LAYERS = (layers.Dot, layers.Attention, layers.AdditiveAttention)


def count_macs(
    layer: keras.Operation, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]]
) -> int | None:
    """Counts the multiply-adds of a layer for one image.

    Convolutions of every kind and dense layers are counted, with border positions in full. Biases,
    norms, activations, pooling, interpolation and sums of maps are not: in an exported file norms
    are part of the convolutions, and the others cost little and are no multiply-adds.

    Args:
        layer: The layer, which must be built.
        inputs: Shapes of its inputs, with a batch of 1.
        outputs: Shapes of its outputs, with a batch of 1.

    Returns:
        MACs, or None for a layer with weights or products whose kind is not known here.
    """
    if isinstance(layer, layers.Dense):
        return _size(outputs) * layer.kernel.shape[0]
    if isinstance(layer, CONVOLUTIONS):
        return _size(outputs) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, DEPTHWISE):
        return _size(outputs) * math.prod(layer.kernel.shape[:-2])
    if isinstance(layer, TRANSPOSED):  # every input value meets the whole kernel
        return _size(inputs) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, SEPARABLE):
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return _size(outputs) // layer.filters * kernels
    if isinstance(layer, (*NORMS, layers.PReLU)):
        return 0
    if isinstance(layer, _PRODUCT_LAYERS) or type(layer).__name__ in _PRODUCTS:
        return None
    return None if count_params(layer) else 0


def count_params(layer: keras.Operation) -> int:
    """Counts the weights of a layer, moving statistics of batch norms included."""
    return layer.count_params() if isinstance(layer, keras.Layer) else 0


def count_weights_bytes(step: Step, fused_norm: keras.Layer | None, fused: bool) -> int:
    """Returns the bytes of a layer's weights in an int8 file.

    Kernels are int8, one byte a value. A convolution or a dense layer has an int32 bias for each
    channel, whether the layer has one or not; a transposed convolution has one if the layer or
    the batch norm folded into it does. A batch norm that cannot be folded is an int8 factor and
    an int8 summand for each channel. Weights of other layers are counted as int8.

    Args:
        step: The layer, at its place in the graph.
        fused_norm: The batch norm that is folded into the layer, if any.
        fused: Whether the layer itself is folded into another.
    """
    layer = step.layer
    params = count_params(layer)
    if step.repeated or not params:
        return 0
    if isinstance(layer, layers.BatchNormalization):
        return 0 if fused else 2 * layer.moving_mean.shape[0]
    biases = 0
    if isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE, *TRANSPOSED, *SEPARABLE, layers.Dense)):
        params -= math.prod(layer.bias.shape) if layer.use_bias else 0
        if not isinstance(layer, TRANSPOSED) or layer.use_bias or fused_norm is not None:
            biases += _channels(layer)
        if isinstance(layer, SEPARABLE):  # two convolutions
            biases += math.prod(layer.depthwise_kernel.shape[-2:])
    return params + 4 * biases


def _channels(layer) -> int:
    if isinstance(layer, layers.Dense):
        return layer.units
    return math.prod(layer.kernel.shape[-2:]) if isinstance(layer, DEPTHWISE) else layer.filters


def _size(shapes) -> int:
    return sum(math.prod(shape) for shape in shapes)
