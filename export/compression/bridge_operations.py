"""What bare calls, such as `x / 255.0`, `a + b` or `keras.ops.relu(x)`, are in tf_keras."""

from typing import Any

import numpy as np

from export.compression.bridge_layers import ACTIVATIONS, Part
from export.graph.scaling import line_of
from kseg.analysis.graph import Step

# Operations of two tensors, whose layers have the same names.
_MERGES = ("Add", "Maximum", "Multiply", "Subtract")
_FUNCTIONS = {
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Tanh": "tanh",
}


def translate_operation(step: Step) -> list[Part]:
    """Returns a bare call as tf_keras layers; none for no change.

    Args:
        step: The call of an operation that is no layer.

    Raises:
        ValueError: If it is not one of those that cross.
    """
    operation: Any = step.layer
    kind, tensors_alone = type(operation).__name__, len(step.arguments) == len(step.inputs)
    if kind == "Cast" and operation.dtype == "float32":
        return []
    if tensors_alone and kind in _FUNCTIONS:
        return [Part("", *ACTIVATIONS[_FUNCTIONS[kind]], [])]
    if tensors_alone and kind in _MERGES:
        return [Part("", kind, {}, [])]
    if tensors_alone and kind == "Concatenate":
        return [Part("", kind, {"axis": operation.axis}, [])]
    line = None if kind == "Cast" else line_of(step)
    if line is None:
        known = ", ".join(sorted([*_FUNCTIONS, *_MERGES, "Concatenate"]))
        raise ValueError(
            f"The network calls {step.name} ({kind}) directly, which the bridge to tf_keras does "
            f"not take; of bare calls it takes {known} and arithmetic with a number or one number "
            "for each channel. Use a layer of keras.layers that does the same."
        )
    scale, offset = (np.asarray(value, "float32") for value in line)
    return [Part("", "Rescaling", {"scale": scale, "offset": offset}, [])]
