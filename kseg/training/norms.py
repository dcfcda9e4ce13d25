"""The batch norms of a network."""

import warnings

import keras


def norms_of(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Returns all batch norms of a model, those of networks within it too."""
    layers = dict.fromkeys(model._flatten_layers(include_self=False))
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def warn_of_single_numbers(model: keras.Model, batch_size: int) -> None:
    """Warns of a batch norm that sees a single number: behind a pooling of the whole image."""
    for norm in norms_of(model) if batch_size == 1 else ():
        tensors = [tensor for node in norm._inbound_nodes for tensor in node.input_tensors]
        if any(tensor.shape[1:3] == (1, 1) for tensor in tensors):
            warnings.warn(
                f"With batch_size=1, {norm.name} is the norm of a single number, which says "
                "nothing: the trained network may be worse than its loss. Take a batch_size of 2 "
                "or more.",
                stacklevel=4,
            )
            return
