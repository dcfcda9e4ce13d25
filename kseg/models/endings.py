"""What a network ends in: logits, or scores from 0 to 1."""

import keras

# What may stand between a softmax and the output without undoing it.
_PASSED_THROUGH = (
    "Activation", "Concatenate", "CropLike", "Cropping2D", "Dropout", "Identity", "Reshape",
    "Resize", "Resizing", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
_SCORES = ("softmax", "sigmoid", "hard_sigmoid", "log_softmax")


def ending_of(output: keras.KerasTensor) -> str | None:
    """Returns the softmax or sigmoid that makes an output; None if it is of logits."""
    operation, node, _ = output._keras_history
    while True:
        if isinstance(operation, keras.Model):
            inner = getattr(operation, "outputs", None)  # a subclassed one has none
            return ending_of(inner[0]) if inner else None
        kind = type(operation).__name__
        activation = getattr(getattr(operation, "activation", None), "__name__", kind.lower())
        if activation in _SCORES:
            return f"{activation} (the layer {operation.name!r})"
        if kind not in _PASSED_THROUGH:
            return None
        before = operation._inbound_nodes[node].input_tensors[0]._keras_history
        operation, node = before.operation, before.node_index
