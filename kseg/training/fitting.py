"""`kseg.fit`: Keras's training loop with the recipe's parts around it."""

import contextlib
import fcntl
import os
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.data import Augmentation, Data, Split, check_data
from kseg.inference import predict
from kseg.training.callbacks import Keeper, WeightAverage, read, write
from kseg.training.compile import compile_model, frozen
from kseg.training.distillation import taught
from kseg.training.evaluation import check_classes, evaluate
from kseg.training.pictures import write_curves, write_preview
from kseg.training.recipe import Recipe
from kseg.training.run import FORMAT, Run, assign, open_run, read_checkpoint, write_json

_TIMED_STEPS = 6
# What a resumed training must have in common with its beginning.
_SAME = (("asked", "recipe"), ("spec", "network"), ("data", "data set"), ("teacher", "teacher"))


def fit(
    model: keras.Model,
    data: Data,
    recipe: Recipe | None = None,
    *,
    run_dir: str | Path,
    resume: bool = False,
    teacher: keras.Model | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a model and leaves it with the best averaged weights.

    Args:
        model: From images (N, H, W, 3), 0..255, to logits (N, H, W, num_classes).
        data: Has the splits "train" and "val".
        recipe: How to train.
        run_dir: Folder for checkpoints, history and pictures.
        resume: Whether to go on from the last checkpoint in run_dir, if there is one.
        teacher: A trained network of the same classes, whose logits the model learns beside the
            labels (`recipe.distillation`); it is not changed. A resumed run needs it again.
        callbacks: Called before the running average takes in a step's weights.

    Returns:
        The run.

    Raises:
        ValueError: If a file of the data cannot be used, the model has another number of
            classes, run_dir holds a run and resume is off, or what is resumed differs.
        TrainingDivergedError: If the loss is no longer a number.
    """
    recipe, path = recipe or Recipe(), Path(run_dir)
    if recipe.deterministic and keras.backend.backend() == "tensorflow":
        from kseg.training._tensorflow import enable_determinism

        enable_determinism()
    if not resume and path.exists() and any(f.name != "run.lock" for f in path.iterdir()):
        raise ValueError(f"{path} is not empty; resume the run in it, or name another folder.")
    for network in (model, teacher):
        if network is not None:
            check_classes(network.output_shape[-1], data)
    report = check_data(data)
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        record = _record(model, data, recipe, report)
        record["teacher"] = teacher and getattr(teacher, "kseg_spec", teacher.name)
        earlier = _earlier(path, record) if resume else None
        if earlier is not None:
            recipe = replace(recipe, epochs=earlier["recipe"]["epochs"], minutes=None)
        with (
            frozen(model, recipe.freeze),
            taught(model, teacher, recipe.distillation),
            _quick_norms(model),
        ):
            if recipe.minutes is not None:
                recipe = replace(recipe, epochs=_epochs(model, data, recipe), minutes=None)
            record["recipe"] = asdict(recipe)
            write_json(path / "run.json", record)
            _train(model, data, recipe, report, path, resume, callbacks)
    return Run(path, record)


def _train(model, data, recipe, report, path, resume, callbacks):
    if recipe.batch_size == 1 and (norm := _norm_of_one_number(model)):
        warnings.warn(
            f"With batch_size=1, {norm} is the norm of a single number, which says nothing: the "
            "trained network may be worse than its loss. Take a batch_size of 2 or more.",
            stacklevel=3,
        )
    split = training_split(data, recipe)
    pixels = sum(report.pixels[name] for name in trained_splits(recipe))
    compile_model(model, recipe, len(split), pixels)
    steps = recipe.epochs * len(split)
    average = WeightAverage(recipe.suited(recipe.average, steps))

    def score(model):
        return evaluate(model, data, size=recipe.size)

    judge = None if recipe.with_val else score
    keeper = Keeper(path, average, judge, recipe.epochs, len(split), recipe.validate_every)
    done = _restore(model, average, keeper, path) if resume else 0
    model.fit(
        _Stream(split, done * len(split), recipe.workers),
        initial_epoch=done,
        epochs=recipe.epochs,
        steps_per_epoch=len(split),
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, average, keeper],
    )
    _, _, groups = read_checkpoint(path, "best")
    assign(model.variables, groups["average"], path)
    write_curves(path / "curves.png", keeper.history)
    write_preview(path / "preview.png", model, data, recipe.size)


def _norm_of_one_number(model: keras.Model) -> str | None:
    """Returns the name of a batch norm behind a pooling of the whole image, if there is one."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            tensors = [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
            if any(tensor.shape[1:3] == (1, 1) for tensor in tensors):
                return layer.name
    return None


class _Stream(keras.utils.PyDataset):
    """A split without end: batch numbers run on over the epochs.

    With an end, Keras would start each epoch at number 0, and with the same variations.
    """

    def __init__(self, split: Split, start: int, workers: int):
        super().__init__(workers=workers)
        self.split, self.start = split, start

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return self.split[self.start + index]


def trained_splits(recipe: Recipe) -> tuple[str, ...]:
    """Returns the names of the splits that a recipe trains on."""
    return ("train", "val") if recipe.with_val else ("train",)


def training_split(data: Data, recipe: Recipe) -> Split:
    """Returns the training images as a recipe orders and varies them."""
    pairs = sum((data.files(name) for name in trained_splits(recipe)), ())
    return replace(data, pairs={"train": pairs}).split(
        "train",
        size=recipe.size,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        augment=Augmentation(
            _crop(recipe, data), recipe.scale, flip=recipe.flip, color=recipe.color
        ),
    )


def _quick_norms(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    from kseg.training._tensorflow import fused_norms

    return fused_norms(model)


def _crop(recipe: Recipe, data: Data) -> tuple[int, int]:
    if recipe.crop is not None:
        return recipe.crop
    height, width = recipe.size or data.read(data.files("train")[0])[1].shape
    return height + -height % 32, width + -width % 32


def _epochs(model, data, recipe) -> int:
    """Returns how many epochs fit into recipe.minutes, by timing a few steps and images."""
    started = time.monotonic()
    split = training_split(data, recipe)
    compile_model(model, recipe, len(split), np.ones(data.classes.num_classes))
    before = read(model.variables)
    clock = _Clock()
    model.fit(
        _Stream(split, 0, recipe.workers),
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
    left = recipe.minutes * 60 - 2 * (time.monotonic() - started)
    return max(1, int(left / (clock.step_seconds() * len(split) + validation)))


class _Clock(keras.callbacks.Callback):
    """Times steps."""

    def on_train_begin(self, logs=None):
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.monotonic())

    def step_seconds(self) -> float:
        """Returns the usual time of a step; the first ones compile and fill queues."""
        return float(np.median(np.diff(self.times)[1:]))


def _record(model, data, recipe, report) -> dict[str, Any]:
    packages = ("keras", "numpy", "pillow", keras.backend.backend())
    return {
        "format": FORMAT,
        "spec": getattr(model, "kseg_spec", None),
        "classes": asdict(data.classes),
        "size": recipe.size,
        "recipe": None,
        "asked": asdict(recipe),
        "data": {"source": data.source.name, "fingerprint": report.fingerprint},
        "backend": keras.backend.backend(),
        "versions": {
            "kseg": version("kseg"),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def _earlier(path, record) -> dict[str, Any] | None:
    """Returns the record of the run in path, if there is one and it is of the same training."""
    if not (path / "run.json").exists():
        return None
    earlier = open_run(path).record
    # A run of an older kseg lacks options that came since; what it did is their default.
    earlier["asked"] = {**write_json(None, asdict(Recipe())), **earlier["asked"]}
    # As JSON gives them back: tuples are lists there.
    now = write_json(None, record)
    for key, what in _SAME:
        if earlier.get(key) != now[key]:
            changed = ""
            if isinstance(now[key], dict) and isinstance(earlier.get(key), dict):
                names = [k for k in now[key] if now[key][k] != earlier[key].get(k)]
                changed = f" ({', '.join(names)})"
            raise ValueError(
                f"{path} was begun with another {what}{changed}; resume with the same, or "
                "train into another folder."
            )
    return earlier


def _restore(model, average, keeper, path) -> int:
    """Sets everything to the last checkpoint and returns the epochs it stands for."""
    try:
        _, manifest, groups = read_checkpoint(path)
    except ValueError:  # stopped before its first epoch was over
        return 0
    assign(model.variables, groups["model"], path)
    assign(model.optimizer.variables, groups["optimizer"], path)
    average.values, average.steps = groups["average"], manifest["average_steps"]
    keeper.history = manifest["history"]
    return manifest["epoch"]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps a second training out of the folder; the lock goes with the process."""
    with (path / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"Another training writes to {path}; name another folder.") from None
        file.write(f"{os.getpid()}\n")
        yield
