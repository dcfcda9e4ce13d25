"""What a network ends in: logits, or scores from 0 to 1."""

import contextlib

import keras
import numpy as np

# What may stand between a softmax and the output without undoing it.
_PASSED_THROUGH = (
    "Activation", "Average", "AveragePooling2D", "Cast", "Clip", "Concatenate", "CropLike",
    "Cropping2D", "Dropout", "GetItem", "Identity", "MaxPooling2D", "Permute", "Reshape", "Resize",
    "Resizing", "Transpose", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
_SCORES = ("softmax", "sigmoid", "hard_sigmoid", "log_softmax")
_SIDE = 64  # pixels of the image that a network is tried on


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


def _activation(output: keras.KerasTensor) -> str | None:
    """Returns the softmax or sigmoid that makes an output, as far as layers tell."""
    operation, node, index = output._keras_history
    while True:
        if isinstance(operation, keras.Model):
            inner = getattr(operation, "outputs", None)  # a subclassed one has none
            return _activation(inner[index]) if inner else None
        kind = type(operation).__name__
        activation = getattr(getattr(operation, "activation", None), "__name__", kind.lower())
        if activation in _SCORES:
            return f"{activation} (the layer {operation.name!r})"
        if kind not in _PASSED_THROUGH:
            return None
        before = operation._inbound_nodes[node].input_tensors[0]._keras_history
        operation, node, index = before
