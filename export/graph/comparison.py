"""Whether what is converted is the model that was handed in."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from export.errors import GateError
from export.graph.fixed import FixedModel, call_original
from export.tflite.maps import NAMES, named
from kseg.analysis.graph import walk
from kseg.models.endings import is_network

_TOLERANCE = 1e-4  # of the largest value
_OF_HALVES = 2e-2  # where the model itself computes in 16 bits


def check_fixed(model: keras.Model, fixed: FixedModel, images: Iterable[np.ndarray]) -> None:
    """Compares what is converted with the model that was handed in.

    Args:
        model: The model that was handed in.
        fixed: What `fix_model` made of it.
        images: Float32 (1, H, W, channels), 0..255, of the file's size.

    Raises:
        GateError: If anything differs by more than 1e-4 of its largest value; the output and the
            first layer that do are named.
    """
    known = [number for number, tensor in enumerate(fixed.tensors) if tensor is not None]
    allowed = tolerance(model)
    for image in images:
        if fixed.ends is None:
            maps = named(call_original(model, image)), named(fixed.logits(image))
            apart = {name: difference(maps[0][name], maps[1][name]) for name in maps[0]}
        else:  # the maps are at another grid; what comes before the first enlarging is not
            shares = _shares(model, fixed, image, fixed.ends) if fixed.ends else []
            apart = {fixed.names[n]: s for n, s in zip(fixed.ends, shares, strict=True)}
        wrong = {name: share for name, share in apart.items() if not share <= allowed}
        if not wrong:
            continue
        shares = _shares(model, fixed, image, known) if is_network(model) else []
        worse = (number for number, s in zip(known, shares, strict=False) if not s <= allowed)
        where = next(worse, len(fixed.names) - 1)
        name, share = next(iter(wrong.items()))
        of = f"value of {name}" if name in NAMES else "logit"
        raise GateError(
            f"What is converted differs from the model, first in the layer {fixed.names[where]}, "
            f"by {share:.2g} of the largest {of}. Nothing was written; replace this layer by one "
            "of keras.layers that does the same."
        )


def difference(expected: np.ndarray, got: np.ndarray) -> float:
    """Returns the largest difference as a share of the largest expected value."""
    largest = float(np.abs(expected).max())
    apart = float(np.abs(np.asarray(expected, "float32") - np.asarray(got, "float32")).max())
    return apart / largest if largest else float(apart > 0)


def tolerance(model: keras.Model) -> float:
    """Returns how far a float copy of a model may be from it, as `difference` measures it."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.Layer)]
    halves = any(layer.compute_dtype in ("float16", "bfloat16") for layer in layers)
    return _OF_HALVES if halves else _TOLERANCE


def _shares(
    model: keras.Model, fixed: FixedModel, image: np.ndarray, numbers: Sequence[int]
) -> list[float]:
    """Returns how far the results of calls are from those of the model's own layers."""
    expected: list[Any] = []

    def visit(name: str, operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
        expected.append(operation(*args, **kwargs))
        return expected[-1]

    walk(model, keras.ops.convert_to_tensor(image, model.inputs[0].dtype), visit)
    probe = keras.Model(fixed.model.inputs[0], [fixed.tensors[number] for number in numbers])
    found = probe(fixed.scale(image), training=False)
    pairs = zip([expected[number] for number in numbers], found, strict=True)
    return [
        max(
            difference(np.asarray(a), np.asarray(b))
            for a, b in zip(keras.tree.flatten(x), keras.tree.flatten(y), strict=True)
        )
        for x, y in pairs
    ]
