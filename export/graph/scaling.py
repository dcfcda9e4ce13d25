"""What a network does to the image before anything else, as far as it is one straight line.

In an integer file the quantization of the input says what a byte stands for, so a factor and an
offset for all channels need no op: Rescaling, `x / 255.0`, several of them in a row.
"""

import keras
import numpy as np
from keras import layers

from kseg.analysis.graph import Graph, Step

Scaling = tuple[float, float]  # (factor, offset): x becomes factor * x + offset
_NOTHING = (1.0, 0.0)


def scaling_steps(graph: Graph) -> tuple[frozenset[int], Scaling]:
    """Finds the steps that only scale the image.

    Args:
        graph: The graph of a network.

    Returns:
        The numbers of these steps, and what they do to a pixel together. Without steps, where the
        scaled image is no range that the bytes of an input can stand for, as it lacks 0.
    """
    consumers = graph.consumers()
    tensor, found, scaling = graph.image, [], _NOTHING
    fit: tuple[frozenset[int], Scaling] = (frozenset(), _NOTHING)
    while len(consumers[tensor]) == 1 and tensor not in graph.outputs:
        number = consumers[tensor][0]
        line = _line(graph.steps[number])
        if line is None:
            break
        found.append(number)
        scaling = (line[0] * scaling[0], line[0] * scaling[1] + line[1])
        if fits_bytes(scaling):
            fit = frozenset(found), scaling
        tensor = graph.steps[number].outputs[0]
    return fit


def fits_bytes(scaling: Scaling) -> bool:
    """Whether the quantization of bytes can stand for a scaling: its range must hold 0."""
    return scaling[0] > 0 and scaling[1] <= 0 <= 255 * scaling[0] + scaling[1]


def _line(step: Step) -> Scaling | None:
    """Returns (factor, offset) of a step, or None where it does anything else."""
    layer = step.layer
    if isinstance(layer, layers.Rescaling):
        return _pair(layer.scale, layer.offset)
    if isinstance(layer, layers.Normalization) and not layer.invert:
        deviation = np.maximum(np.sqrt(np.asarray(layer.variance)), keras.config.epsilon())
        return _pair(1 / deviation, -np.asarray(layer.mean) / deviation)
    if isinstance(layer, layers.Identity):
        return _NOTHING
    line = None if isinstance(layer, keras.Layer) else line_of(step)
    return _pair(*line) if line is not None else None


def line_of(step: Step) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (factor, offset) of a bare call such as `x / 255.0`, or None for any other call.

    Each is one number, or one for each channel.
    """
    kind, one, nothing = type(step.layer).__name__, np.array(1.0), np.array(0.0)
    if kind == "Cast":
        return one, nothing
    if kind == "Negative":
        return -one, nothing
    if len(step.arguments) != 2 or len(step.inputs) != 1:
        return None
    image_first = keras.backend.is_keras_tensor(step.arguments[0])
    number = np.asarray(step.arguments[1 if image_first else 0])
    if number.dtype.kind not in "fiu" or number.size not in (1, *number.shape[-1:]):
        return None
    value = number.astype("float64").reshape(() if number.size == 1 else -1)
    if kind == "Add":
        return one, value
    if kind == "Multiply":
        return value, nothing
    if kind == "Subtract":
        return (one, -value) if image_first else (-one, value)
    if kind in ("TrueDivide", "Divide") and image_first and value.all():
        return 1 / value, nothing
    return None


def _pair(factor: object, offset: object) -> Scaling | None:
    """Returns two numbers, or None where channels differ."""
    both = [np.asarray(value, "float64").ravel() for value in (factor, offset)]
    if any((value != value[0]).any() for value in both):
        return None
    return float(both[0][0]), float(both[1][0])
