"""Networks with several outputs, of which one kind is known: that which tells objects apart."""

import keras

NAMES = ("semantic", "center", "offset")


def tells_apart(model: keras.Model) -> bool:
    """Returns whether a model has the outputs of `kseg.build_panoptic_deeplab`, by their names."""
    functional = hasattr(model, "_run_through_graph")
    return functional and isinstance(model.output, dict) and set(model.output) == set(NAMES)


def logits_shape(model: keras.Model) -> tuple[int | None, ...]:
    """Returns the shape (N, H, W, num_classes) of the logits."""
    return tuple(model.output["semantic"].shape) if tells_apart(model) else model.output_shape


def semantic_part(model: keras.Model) -> keras.Model:
    """Returns the part of a model that gives logits, on the same weights; others as they are."""
    if not tells_apart(model):
        return model
    part = keras.Model(model.inputs, model.output["semantic"])
    part.kseg_size = getattr(model, "kseg_size", None)
    return part
