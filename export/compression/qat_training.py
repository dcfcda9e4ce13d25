"""The process of a quantization-aware training: a script that `export.compression.qat` starts.

It reads model.keras and job.pickle from the folder it is given, writes result.npz there, and says
on standard output, a line of JSON at a time, how far it is.
"""

import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import kseg.layers  # noqa: F401  registers what a model may hold
from export.compression.bridge import Network, build, check_equal, read_graph
from export.compression.emulation import Emulation
from export.compression.pruning import keeper
from export.compression.qat_graph import KERNELS, calibrate, lower
from export.compression.qat_state import State, pack
from export.compression.qat_wrappers import Trained, wrapped
from export.tflite.maps import LOGITS, named
from kseg.data import Data
from kseg.data.transforms import fit_inside
from kseg.instances import evaluate_instances, tells_objects_apart
from kseg.seeing import Segmenter
from kseg.training import Recipe, evaluate
from kseg.training.averaging import WeightAverage, read, write
from kseg.training.callbacks import TrainingDivergedError
from kseg.training.compile import losses_of_objects, make_loss
from kseg.training.fitting import training_split
from kseg.training.schedule import learning_rate
from kseg.training.scoring import score_of

_CALIBRATION_BATCHES = 16
_BETWEEN_NEWS = 0.2  # seconds


@dataclass
class _Judge:
    """Scores the averaged, rounded network and keeps the best state, or with `with_val` the last.

    Attributes:
        trained: The network.
        average: The running average of its variables.
        emulation: The rounded network at the size of the largest image.
        data: Has the split "val".
        recipe: How to train.
        best: (score, state); see `kseg.training.scoring.score_of`.
    """

    trained: Trained
    average: WeightAverage
    emulation: Emulation
    data: Data
    recipe: Recipe
    best: tuple[float, State]

    def score(self, epoch: int, loss: float | None, seconds: float = 0) -> dict[str, Any]:
        """Returns the row of an epoch; seconds is what its steps took."""
        row: dict[str, Any] = {"epoch": epoch, "loss": loss, "mean_iou": None}
        row["seconds"] = round(seconds, 2)
        last = epoch == self.recipe.epochs
        if self.recipe.with_val:
            if last:
                self.best = (0.0, self._averaged())
        elif epoch % self.recipe.validate_every == 0 or last:
            state = self._averaged()
            self.emulation.set_state(state)
            row |= _scores(self.emulation, self.data, self.recipe.size)
            score = score_of(row) or 0.0
            if score > self.best[0]:
                self.best = (score, state)
        return row

    def _averaged(self) -> State:
        variables = self.trained.network.variables
        current = read(variables)
        write(variables, self.average.values)
        state = self.trained.state()
        write(variables, current)
        return state


def _scores(model: Segmenter, data: Data, size: tuple[int, int] | None) -> dict[str, float]:
    """Returns "mean_iou" on the validation images, and "pq" where objects are told apart."""
    if not tells_objects_apart(model):
        return {"mean_iou": evaluate(model, data, size=size).mean_iou}
    found = evaluate_instances(model, data, size=size)
    return {"mean_iou": found.mean_iou, "pq": found.pq}


def train(model: keras.Model, job: dict[str, Any], say: Callable[..., None]) -> State:
    """Trains and returns the best weights and ranges.

    Args:
        model: The float network.
        job: "data", "recipe", "keep" and "per_channel" as for `export.quantization_aware`, and
            "pixels" of each class in the training label maps.
        say: Is told how far it is.
    """
    data, recipe = job["data"], job["recipe"]
    if recipe.deterministic:
        from export.tensorflow_training import enable_determinism

        enable_determinism()
    split = training_split(data, recipe, instances=tells_objects_apart(model))
    graph, trained, scaling = _start(model, job, split)
    average = WeightAverage(recipe.suited(recipe.average, recipe.epochs * len(split)))
    average.set_model(trained.network)
    average.on_train_begin()
    state = trained.state()
    emulation = Emulation(model, state, _largest_image(data, recipe.size))
    judge = _Judge(trained, average, emulation, data, recipe, (-1.0, state))
    if not recipe.with_val:
        say(float=_scores(model, data, recipe.size))
    say(row=judge.score(0, None))
    keepers = _keepers(graph, job["keep"])
    _loop(trained, keepers, split, judge, _stepper(trained, job, scaling, len(split)), say)
    for name, project in keepers:  # an average of kept weights is kept but for rounding
        kernel = judge.best[1].weights[name]
        kernel[0] = project(kernel[0])
    return judge.best[1]


def _start(model, job, split) -> tuple[Network, Trained, tuple[float, float]]:
    """Returns the lowered network, and in tfmot's wrappers with calibrated ranges."""
    images = np.asarray(split[0][0], "float32")
    graph, (factor, offset) = lower(read_graph(model, images.shape[1:3]))

    def scaled(images):
        return np.asarray(images, "float32") * np.float32(factor) + np.float32(offset)

    plain = build(graph)
    check_equal(model, lambda x: plain(scaled(x)), images)
    count = min(_CALIBRATION_BATCHES, len(split))
    ranges = calibrate(graph, [scaled(split[index][0]) for index in range(count)])
    trained = wrapped(graph, ranges, job["recipe"].batch_size, job["per_channel"])
    return graph, trained, (factor, offset)


def _loop(trained, keepers, split, judge, step, say) -> None:
    """Goes through all steps and epochs."""
    recipe = judge.recipe
    steps = recipe.epochs * len(split)
    started = time.monotonic()
    for number in range(1, steps + 1):
        loss = float(step(number - 1, *split[number - 1]))
        if not np.isfinite(loss):
            raise TrainingDivergedError(
                f"The loss is {loss} after {number} steps; try a smaller learning rate."
            )
        for name, project in keepers:
            variable = trained.weights[name][0]
            variable.assign(project(np.asarray(variable)))
        judge.average.on_train_batch_end(number)
        say(step=number, steps=steps, loss=loss)
        if number % len(split) == 0:
            say(row=judge.score(number // len(split), loss, time.monotonic() - started))
            started = time.monotonic()


def _stepper(trained: Trained, job, scaling, steps_per_epoch: int):
    """Returns the function of one step, from its number, images and targets to the loss."""
    recipe, variables = job["recipe"], trained.trainable()
    steps = recipe.epochs * steps_per_epoch
    loss = make_loss(recipe, job["pixels"])
    losses, weights = {LOGITS: loss}, {LOGITS: 1.0}
    if isinstance(trained.network.output, dict):
        losses, weights = losses_of_objects(recipe, loss)
    common: dict[str, Any] = {
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm,
        "jit_compile": False,
    }
    if recipe.optimizer == "sgd":
        optimizer = tf_keras.optimizers.SGD(momentum=0.9, **common)
    else:
        optimizer = tf_keras.optimizers.AdamW(**common)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(variables)

    @tf.function(jit_compile=False)
    def update(images, targets):
        with tf.GradientTape() as tape:
            images = tf.cast(images, tf.float32) * scaling[0] + scaling[1]
            targets, maps = named(targets), named(trained.network(images, training=True))
            value = sum(weights[name] * losses[name](targets[name], maps[name]) for name in losses)
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return value

    def step(number, images, targets):
        rate = learning_rate(
            number,
            peak=recipe.learning_rate,
            steps=steps,
            warmup_steps=round(steps * recipe.warmup),
            schedule=recipe.schedule,
        )
        optimizer.learning_rate.assign(rate)
        return update(images, targets)

    return step


def _keepers(graph: Network, keep: str | None):
    """Returns (layer, what brings its kernel back to the weights that are kept)."""
    return [
        (node.name, keeper(node.weights[0], node.kind, keep))
        for node in graph.nodes
        if keep and node.kind in KERNELS
    ]


def _largest_image(data: Data, size: tuple[int, int] | None) -> tuple[int, int]:
    sizes = [fit_inside(data.read(pair)[1].shape, size) for pair in data.files("val")]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def main() -> None:
    """Does the job of the folder that the first argument names."""
    folder = Path(sys.argv[1])
    # Libraries that print to standard output would break the news: give them the other one.
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    last = 0.0

    def say(**news) -> None:
        nonlocal last
        now = time.monotonic()
        if "step" not in news or now - last > _BETWEEN_NEWS or news["step"] == news["steps"]:
            last = now
            stream.write(json.dumps(news) + "\n")

    try:
        job = pickle.loads((folder / "job.pickle").read_bytes())
        model = keras.saving.load_model(folder / "model.keras", compile=False)
        np.savez(folder / "result.npz", **pack(train(model, job, say)))
    except Exception as error:
        home, kind = type(error).__module__, type(error).__name__
        say(error={"home": home, "kind": kind, "text": str(error)})


if __name__ == "__main__":
    main()
