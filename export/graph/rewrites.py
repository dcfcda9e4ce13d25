"""Replacing what the converter turns into ops that devices refuse, with equal outputs.

| layer | becomes | instead |
|---|---|---|
| UpSampling2D nearest | RESHAPE and TILE of five dimensions | one RESIZE_NEAREST_NEIGHBOR |
| Conv2D with groups | CONV_2D version 6 | SPLIT, one CONV_2D a group, CONCATENATION; or depthwise |
| channels that `ops.stack` reorders | PACK, whose parts share the image's scale | a 1x1 CONV_2D |
| Conv2DTranspose, then ReLU | TRANSPOSE_CONV version 4 | version 3: see `unfuse_activations` |
| MaxUnpooling | comparisons of int8 | comparisons of int32: see `widen_comparisons` |

Google's Edge TPU compiler refuses a whole file for one op of a version it does not know.
"""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.schema_py_generated import (
    ActivationFunctionType,
    BuiltinOperator,
    Model,
    TransposeConvOptions,
)
from keras import layers, ops

from export.graph.comparisons import widen_comparisons
from export.targets import Target
from export.tflite.maps import named
from export.tflite.runtime import load_tflite

# Field numbers of the schema, as FlatBuffers counts them in bytes: 4 + 2 * number.
_ACTIVATION_FIELD = 4 + 2 * 3  # of TransposeConvOptions
_VERSION_FIELD = 4 + 2 * 2  # of OperatorCode
_RELU6_TOP = 6.0


def rewrite(layer: keras.Operation, args: tuple) -> keras.KerasTensor | None:
    """Calls another layer in place of one that converts badly.

    Args:
        layer: The layer, with its weights.
        args: What the layer is called with.

    Returns:
        The result, or None if the layer is fine as it is.
    """
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        height, width = (side * by for side, by in zip(args[0].shape[1:3], layer.size, strict=True))
        return ops.image.resize(
            args[0], (height, width), interpolation="nearest", data_format="channels_last"
        )
    if isinstance(layer, layers.Conv2D) and layer.groups > 1:
        return _ungroup(layer, args[0])
    if type(layer).__name__ == "Stack" and layer.axis in (-1, 3):
        return _reorder(layer, args[0])
    return None


def _reorder(layer: keras.Operation, parts: list[keras.KerasTensor]) -> keras.KerasTensor | None:
    """Returns single channels of one tensor side by side, as RGB becomes BGR; None for others."""
    sources, kernel = [], np.zeros((1, 1, 0, len(parts)), "float32")
    for place, part in enumerate(parts):
        maker, index = part._keras_history[:2]
        source, *key = keras.tree.flatten(maker._inbound_nodes[index].arguments.args)
        if type(maker).__name__ != "GetItem" or key[:-1] != [...] or not isinstance(key[-1], int):
            return None
        if not kernel.shape[2]:
            kernel = np.zeros((1, 1, source.shape[-1], len(parts)), "float32")
        kernel[0, 0, key[-1], place] = 1
        sources.append(source)
    if any(source is not sources[0] for source in sources):
        return None
    convolution = layers.Conv2D(len(parts), 1, use_bias=False, name=layer.name, dtype="float32")
    result = convolution(sources[0])
    convolution.set_weights([kernel])
    return result


def _ungroup(layer: layers.Conv2D, x: keras.KerasTensor) -> keras.KerasTensor:
    kernel = np.asarray(layer.kernel).copy()  # (h, w, channels in a group, filters)
    bias = np.asarray(layer.bias).copy() if layer.use_bias else None
    same: dict[str, Any] = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "activation": layer.activation,
        "use_bias": layer.use_bias,
        "dtype": "float32",
    }
    if layer.groups == x.shape[-1]:
        multiplier = layer.filters // layer.groups
        depthwise = layers.DepthwiseConv2D(
            layer.kernel_size, depth_multiplier=multiplier, name=f"{layer.name}_depthwise", **same
        )
        result = depthwise(x)
        kernel = kernel.reshape((*kernel.shape[:2], layer.groups, multiplier))
        depthwise.set_weights([kernel] if bias is None else [kernel, bias])
        return result
    width, results = layer.filters // layer.groups, []
    for group, part in enumerate(ops.split(x, layer.groups, axis=-1)):
        own = slice(group * width, (group + 1) * width)
        name = f"{layer.name}_group{group}"
        convolution = layers.Conv2D(width, layer.kernel_size, name=name, **same)
        results.append(convolution(part))
        weights = [kernel[..., own]] + ([] if bias is None else [bias[own]])
        convolution.set_weights(weights)
    return layers.Concatenate(name=f"{layer.name}_concat", dtype="float32")(results)


def for_device(content: bytes, target: Target) -> bytes:
    """Takes out what a target's compiler cannot parse, and proves the outputs equal.

    Args:
        content: The content of a .tflite file.
        target: What it is for.

    Returns:
        The content for the target.

    Raises:
        RuntimeError: If the outputs are not equal: a bug.
    """
    patched = widen_comparisons(content)
    if target.op_versions:
        patched = unfuse_activations(patched)
    if patched == content:
        return content
    with tempfile.TemporaryDirectory() as folder:
        outputs = []
        for index, candidate in enumerate((content, patched)):
            path = Path(folder) / f"{index}.tflite"
            path.write_bytes(candidate)
            with load_tflite(path) as file:
                noise = np.random.default_rng(0).uniform(0, 255, file.input.shape)
                outputs.append(named(file.run(file.quantize(noise))[0]))
    if not all(np.array_equal(outputs[0][name], outputs[1][name]) for name in outputs[0]):
        raise RuntimeError("Rewriting the file for its target changed the output.")
    return patched


def unfuse_activations(content: bytes) -> bytes:
    """Takes ReLU and ReLU6 out of the transposed convolutions of an int8 file.

    An int8 output whose lowest value stands for 0 cuts off what is below by itself, and one whose
    highest value stands for 6 or less what is above. There the activation does nothing, and the op
    without it has a version that old compilers know. The outputs are equal bit by bit.

    Args:
        content: A .tflite file.

    Returns:
        The file; the same where there is nothing to take out.
    """
    patched = bytearray(content)
    model = Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    versions: dict[int, int] = {}  # index of an op code to the version it needs
    for index in range(graph.OperatorsLength()):
        op = graph.Operators(index)
        code = model.OperatorCodes(op.OpcodeIndex())
        if code.BuiltinCode() != BuiltinOperator.TRANSPOSE_CONV:
            continue
        options = TransposeConvOptions()
        options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        activation = options.FusedActivationFunction()
        if activation != ActivationFunctionType.NONE:
            if not _does_nothing(activation, graph.Tensors(op.Outputs(0)).Quantization()):
                return content
            at = options._tab.Pos + options._tab.Offset(_ACTIVATION_FIELD)
            patched[at] = ActivationFunctionType.NONE
        needed = 3 if op.InputsLength() == 4 else 2  # with and without bias
        versions[op.OpcodeIndex()] = max(needed, versions.get(op.OpcodeIndex(), 0))
    for index, version in versions.items():
        code = model.OperatorCodes(index)
        if code.Version() > version:
            at = code._tab.Pos + code._tab.Offset(_VERSION_FIELD)
            patched[at : at + 4] = version.to_bytes(4, "little")
    return bytes(patched)


def _does_nothing(activation: int, quantization: Any) -> bool:
    info = np.iinfo("int8")
    if quantization.ZeroPointLength() != 1 or quantization.ZeroPoint(0) != info.min:
        return False
    if activation == ActivationFunctionType.RELU:
        return True
    top = round(_RELU6_TOP / quantization.Scale(0)) + info.min
    return activation == ActivationFunctionType.RELU6 and top >= info.max
