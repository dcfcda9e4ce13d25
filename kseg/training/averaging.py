"""The running average of a model's weights, and reading and setting them."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


class WeightAverage(keras.callbacks.Callback):
    """Keeps a running average of all variables, batch-norm statistics included.

    Keras's own `use_ema` leaves those statistics out. The decay grows from 0.1 to its value over
    the first steps, so that the start is forgotten.
    """

    def __init__(self, decay: float):
        """Makes the average.

        Args:
            decay: Share of the old average that a step keeps; 0 makes the average the weights.
        """
        super().__init__()
        self.decay = decay
        self.steps = 0
        # numpy's arrays; on JAX from the first step on its own, on the device that trains.
        self.values: list[Any] = []
        self.finite = True

    def on_train_begin(self, logs=None):
        """Starts from the model's variables, unless an average was restored."""
        self._places: list[tuple[str, int]] = []
        if not self.values:
            self.values = read(self.model.variables)

    def on_train_batch_end(self, batch, logs=None):
        """Takes in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (9 + self.steps))
        if keras.backend.backend() == "jax":
            renew, new = _renew_on_device(), self._newest()
        else:
            renew, new = _renewed, [np.asarray(variable) for variable in self.model.variables]
        self.values, finite = renew(self.values, new, decay)
        self.finite = bool(finite)

    def _newest(self) -> list:
        """Returns the values of the variables, which JAX keeps elsewhere while it trains."""
        model = self._model  # `self.model` would bring all variables up to date, one by one
        state = getattr(model, "_jax_state", None)
        if not state or model._jax_state_synced:
            return [variable.value for variable in model.variables]
        self._places = self._places or _order(model)
        return [state[kind][index] for kind, index in self._places]


def _renewed(averages: list, newest: list, decay: float) -> tuple[list, Any]:
    """Returns averages with new values taken in, and whether all are finite; of numpy or JAX."""
    renewed, finite = [], True
    for average, new in zip(averages, newest, strict=True):
        if new.dtype.kind == "f":
            average = average + (1 - decay) * (new - average)
            finite = finite & (abs(average) < np.inf).all()
            if new.ndim > 1:  # in a kernel, an exact 0 is a pruned weight, gone at once
                average = average * (new != 0)
        else:  # states of random generators
            average = new + 0
        renewed.append(average)
    return renewed, finite


@functools.cache
def _renew_on_device() -> Callable[[list, list, float], tuple[list, Any]]:
    """Returns `_renewed` compiled by JAX; to bring weights to numpy takes longer than a step."""
    import jax

    return jax.jit(_renewed)


def _order(model: keras.Model) -> list[tuple[str, int]]:
    """Returns where JAX keeps the value of each variable of a model while it trains."""
    places = {
        id(variable): (kind, index)
        for kind in ("trainable_variables", "non_trainable_variables")
        for index, variable in enumerate(getattr(model, kind))
    }
    return [places[id(variable)] for variable in model.variables]


def read(variables: list) -> list[np.ndarray]:
    """Returns copies of the values of variables, or of arrays of the backend."""
    return [np.asarray(variable).copy() for variable in variables]


def write(variables: list, values: list[np.ndarray]) -> None:
    """Sets variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value))  # JAX deletes an array that a training step was given


def synchronize(model: keras.Model) -> None:
    """Brings a model's variables up to date; on JAX, training keeps them elsewhere."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
