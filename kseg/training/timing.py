"""How many epochs fit into some minutes."""

import time

import keras
import numpy as np

from kseg.data import Data
from kseg.inference import predict
from kseg.training.callbacks import read, write
from kseg.training.compile import compile_model
from kseg.training.images import Stream, training_split
from kseg.training.recipe import Recipe

_TIMED_STEPS = 6


def epochs_in_minutes(
    model: keras.Model, data: Data, recipe: Recipe, loss: keras.losses.Loss
) -> int:
    """Returns how many epochs fit into recipe.minutes, by timing a few steps and images."""
    started = time.monotonic()
    split = training_split(data, recipe)
    compile_model(model, recipe, len(split), loss)
    before = read(model.variables)
    clock = Clock()
    model.fit(
        Stream(split, 0, recipe.workers),
        steps_per_epoch=_TIMED_STEPS,
        shuffle=False,
        verbose=0,
        callbacks=[clock],
    )
    write(model.variables, before)
    images = []
    for pair in () if recipe.with_val else data.files("val")[:3]:
        begin = time.monotonic()
        predict(model, np.asarray(data.read(pair)[0]), size=recipe.size)
        images.append(time.monotonic() - begin)
    validation = min(images, default=0.0) * len(data.files("val")) / recipe.validate_every
    left = (recipe.minutes or 0) * 60 - 2 * (time.monotonic() - started)
    return max(1, int(left / (clock.step_seconds() * len(split) + validation)))


class Clock(keras.callbacks.Callback):
    """Times steps."""

    def on_train_begin(self, logs=None):
        """Forgets the times of an earlier training."""
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        """Notes the time."""
        self.times.append(time.monotonic())

    def step_seconds(self) -> float:
        """Returns the usual time of a step; the first ones compile and fill queues."""
        return float(np.median(np.diff(self.times)[1:]))
