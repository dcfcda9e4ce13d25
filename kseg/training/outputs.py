"""Networks with several outputs, of which one kind is known: that which tells objects apart."""

from typing import Any

import keras

from kseg.instances.predicting import OUTPUTS, tells_objects_apart

NAMES = tuple(OUTPUTS)


def output_shapes(model: keras.Model) -> dict[str, tuple[Any, ...]]:
    """Returns the shapes (N, H, W, C) of the outputs by their names; one alone is "logits"."""
    if not tells_objects_apart(model):
        return {"logits": model.output_shape}
    return {name: tuple(model.output[name].shape) for name in NAMES}


def num_classes_of(model: keras.Model) -> int:
    """Returns how many classes a model has logits for."""
    return next(iter(output_shapes(model).values()))[-1]
