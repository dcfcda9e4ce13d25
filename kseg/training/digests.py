"""Hashes of networks, teachers and losses, which tell them apart where no name does."""

import json
from hashlib import sha256
from typing import Any

import keras
import numpy as np

from kseg.analysis.graph import Step, follow

# Names and numbers that Keras counts up, the size of the images, and what a training sets.
_NO_OPTION = (
    "name", "batch_shape", "build_config", "shared_object_id", "momentum", "trainable",
)  # fmt: skip


def digests(
    model: keras.Model, teacher: keras.Model | None, loss: keras.losses.Loss | None
) -> dict[str, str]:
    """Returns hashes of what no name tells: a network of one's own, a teacher, a loss's options."""
    found = {}
    if not hasattr(model, "kseg_spec"):
        found["network"] = digest_of(model)
        found |= {"network wiring": wiring} if (wiring := wiring_of(model)) else {}
    if teacher is not None:
        weights = (np.ascontiguousarray(weight).tobytes() for weight in teacher.get_weights())
        found["teacher"] = digest_of(teacher, *weights)
        found |= {"teacher wiring": wiring} if (wiring := wiring_of(teacher)) else {}
    if loss is not None:
        found["loss"] = _digest(_options_of(loss))
    return found


def digest_of(model: keras.Model, *contents: bytes) -> str:
    """Returns a hash of the kinds and options of a model's layers, and of bytes beside them."""
    layers = [each for each in model._flatten_layers() if not isinstance(each, keras.Model)]
    return _digest([(_kind(each), _options_of(each)) for each in layers], *contents)


def wiring_of(model: keras.Model) -> str | None:
    """Returns a hash of how a model's layers are joined, or None where that cannot be followed.

    It says which weights each layer has, and what operators and `keras.ops` are given beside maps,
    such as the 255 of `image / 255`. Options of layers are in `digest_of`.
    """
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    try:
        graph = follow(model)
        made = {graph.image: ""}
        for step in graph.steps:
            weights = [places.get(id(x)) for x in getattr(step.layer, "variables", ())]
            facts = [_kind(step.layer), weights, _numbers(step), [made[i] for i in step.inputs]]
            made |= {index: _digest([*facts, n]) for n, index in enumerate(step.outputs)}
    except Exception:  # of a layer of one's own, which takes no open size or says no options
        return None
    return _digest([made[index] for index in graph.outputs])


def _numbers(step: Step) -> list[Any]:
    """Returns the numbers that a call is given, and the fractions that an operation was made of."""
    plain = [x for x in step.arguments if not keras.backend.is_keras_tensor(x)]
    values = [x for x in plain if isinstance(x, int | float | np.ndarray) or hasattr(x, "dtype")]
    numbers = [np.asarray(x, "float32").tolist() for x in values]
    if not isinstance(step.layer, keras.Layer):  # whole numbers may be sizes or axes
        options = keras.tree.flatten(_options_of(step.layer))
        numbers += [x for x in options if isinstance(x, float)]
    return numbers


def _digest(facts: Any, *contents: bytes) -> str:
    made = sha256(json.dumps(facts, default=_kind, sort_keys=True).encode())
    for content in contents:
        made.update(content)
    return made.hexdigest()


def _options_of(what: Any) -> Any:
    try:
        return _plain(what.get_config())
    except NotImplementedError:  # a layer of one's own that cannot say them: its kind must do
        return {}


def _plain(options: Any) -> Any:
    """Returns options, those of layers within layers too, without what is no part of a network."""
    if isinstance(options, dict):
        return {name: _plain(option) for name, option in options.items() if name not in _NO_OPTION}
    if isinstance(options, list | tuple):
        return [_plain(option) for option in options]
    return options


def _kind(what: Any) -> str:
    return type(what).__name__
