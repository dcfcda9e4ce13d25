"""Whether a network can be followed, and what it ends in: logits, or scores from 0 to 1."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

# What may stand between a softmax and the output without undoing it.
_PASSED_THROUGH = (
    "Activation", "Average", "AveragePooling2D", "Cast", "Clip", "Concatenate", "CropLike",
    "Cropping2D", "Dropout", "GetItem", "Identity", "MaxPooling2D", "Permute", "Reshape", "Resize",
    "Resizing", "Transpose", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
_SCORES = ("softmax", "sigmoid", "hard_sigmoid", "log_softmax")
# These keep scores above a bound, or within two.
_BOUNDED = (
    "celu", "elu", "exponential", "gelu", "hard_silu", "hard_tanh", "mish", "relu", "relu6", "selu",
    "silu", "softplus", "softsign", "tanh",
)  # fmt: skip
_SIDE = 64  # pixels of the image that a network is tried on


def is_network(operation: Any) -> bool:
    """Whether something is a functional or built Sequential model, whose layers can be followed."""
    if isinstance(operation, keras.Sequential):
        return operation.built and type(operation).call is keras.Sequential.call
    return isinstance(operation, Functional) and type(operation).call is Functional.call


def image_shape(model: keras.Model) -> tuple[int | None, ...]:
    """Returns the shape (N, H, W, C) of a model's images, None where it varies or is not known."""
    if inputs := getattr(model, "inputs", None):
        return tuple(inputs[0].shape)
    # A subclassed one knows what it was first called on.
    seen = keras.tree.flatten(getattr(model, "_build_shapes_dict", None) or {})
    known = len(seen) == 4 and isinstance(seen[-1], int)
    return (None, None, None, seen[-1] if known else None)


def ending_of(model: keras.Model, output: keras.KerasTensor | None = None) -> str | None:
    """Returns what makes the scores from 0 to 1 that a network ends in; None if it ends in logits.

    Where the last layers do not tell, the network is tried on an image: what adds up to 1 in each
    pixel is no logits. The networks that kseg builds are not tried.

    Args:
        model: The network.
        output: Which of its outputs; None for the first one.
    """
    output = model.outputs[0] if output is None else output
    if (found := _activation(output)) is not None or hasattr(model, "kseg_spec"):
        return found
    probe = keras.Model(model.inputs[0], output)
    shape = [side or _SIDE for side in model.inputs[0].shape[1:]]
    image = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype("float32")
    scores = np.zeros(1)
    with contextlib.suppress(Exception):  # some take no image of that size; they tell nothing
        scores = np.asarray(keras.ops.convert_to_numpy(probe(image, training=False)))
    if scores.min() >= 0 and np.abs(scores.sum(-1) - 1).max() < 1e-3:
        return "scores that add up to 1"
    return None


def bounds_of(model: keras.Model, output: keras.KerasTensor | None = None) -> str | None:
    """Returns the activation that bounds a network's logits, such as a relu; None without one."""
    return _activation(model.outputs[0] if output is None else output, _BOUNDED)


def _activation(output: keras.KerasTensor, names: tuple[str, ...] = _SCORES) -> str | None:
    """Returns the activation, one of those named, that makes an output, as far as layers tell."""
    operation, node, index = output._keras_history
    while True:
        if isinstance(operation, keras.Model):
            inner = getattr(operation, "outputs", None)  # a subclassed one has none
            return _activation(inner[index], names) if inner else None
        kind = type(operation).__name__
        activation = getattr(getattr(operation, "activation", None), "__name__", kind.lower())
        if activation in names:
            return f"{activation} (the layer {operation.name!r})"
        if kind not in _PASSED_THROUGH:
            return None
        before = operation._inbound_nodes[node].input_tensors[0]._keras_history
        operation, node, index = before
