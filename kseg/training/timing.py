"""How fast a machine trains and scores, measured by a few steps and images."""

import time

import keras
import numpy as np

from kseg.data import Data
from kseg.inference import predict
from kseg.instances import predict_instances, tells_objects_apart
from kseg.training.averaging import read, write
from kseg.training.compile import compile_model
from kseg.training.devices import alone
from kseg.training.images import Stream, training_split
from kseg.training.norms import norms_of
from kseg.training.pace import Speed
from kseg.training.recipe import Recipe

_TIMED_STEPS = 6
_TIMED_IMAGES = 3


def measure(model: keras.Model, data: Data, recipe: Recipe, loss: keras.losses.Loss) -> Speed:
    """Times a few steps and images; afterwards the model is as before, but for being compiled.

    Args:
        model: The network.
        data: The data set.
        recipe: Whose steps are timed.
        loss: Takes label maps and logits.
    """
    split = training_split(data, recipe, instances=tells_objects_apart(model))
    momenta = [norm.momentum for norm in norms_of(model)]
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
    for norm, momentum in zip(norms_of(model), momenta, strict=True):
        norm.momentum = momentum
    images = []
    for pair in () if recipe.with_val else data.files("val")[:_TIMED_IMAGES]:
        with alone(model):
            begin = time.monotonic()
            image = np.asarray(data.read(pair)[0])
            if tells_objects_apart(model):
                predict_instances(model, image, things=data.things, size=recipe.size)
            else:
                predict(model, image, size=recipe.size)
            images.append(time.monotonic() - begin)
    return Speed(clock.step_seconds(), min(images, default=0.0))


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
