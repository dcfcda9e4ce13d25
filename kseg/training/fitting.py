"""`kseg.fit`: Keras's training loop with the recipe's parts around it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.data import Data, Split, check_data
from kseg.data.upright import warn_of_mirrors
from kseg.instances import tells_objects_apart
from kseg.losses import loss_on_label_maps
from kseg.training.averaging import WeightAverage
from kseg.training.backends import part_of_backend
from kseg.training.beginning import begin, locked, restore
from kseg.training.callbacks import Keeper
from kseg.training.checkpoints import read_checkpoint
from kseg.training.checks import (
    check_arguments,
    check_folder,
    check_logits,
    check_teacher,
    gives_scores,
    warn_of_bounds,
)
from kseg.training.compile import as_loss, compile_model, frozen, make_loss, quick_norms
from kseg.training.devices import Spread, alone
from kseg.training.distillation import taught
from kseg.training.headroom import telling_of_memory
from kseg.training.images import Stream, crop_of, trained_splits, training_split, validated
from kseg.training.interruption import Interruption, interruptible
from kseg.training.norms import warn_of_single_numbers
from kseg.training.pace import REPORT, Pace, Speed, first_pace
from kseg.training.pictures import write_curves, write_preview
from kseg.training.planning import Wishes, check_recipe, make_plan
from kseg.training.recipe import Recipe
from kseg.training.run import Run, assign, is_run, open_run, shapes_of
from kseg.training.scoring import score_columns
from kseg.training.shrinking import Shrinking
from kseg.training.timing import measure


@dataclass(frozen=True)
class _Job:
    """What a training is made of, beside the model.

    Attributes:
        data: The data set.
        recipe: How to train.
        loss: From label maps and logits.
        path: The run folder.
        callbacks: The caller's.
        interruption: Whether somebody asked to stop.
        started: When this process began with it (`time.monotonic`).
        pace: By minutes, how it is divided, as `first_pace` says.
    """

    data: Shrinking
    recipe: Recipe
    loss: keras.losses.Loss
    path: Path
    callbacks: tuple[keras.callbacks.Callback, ...]
    interruption: Interruption
    started: float
    pace: dict[str, Any] | None = None


def fit(
    model: keras.Model,
    data: Data,
    recipe: Recipe | Wishes | None = None,
    *,
    run_dir: str | Path,
    resume: bool = False,
    teacher: keras.Model | None = None,
    loss: str | keras.losses.Loss | Callable | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a model and leaves it with the best averaged weights.

    A network that tells objects apart, such as `kseg.build_panoptic_deeplab`, learns classes,
    centres and offsets from data with `instances`, and then carries the ids of their classes,
    `model.kseg_things`.

    Ctrl-C and SIGTERM end it after the step that runs, with a checkpoint from which `resume` goes
    on exactly; a second one ends it at once. The model then carries the recipe's working size,
    `model.kseg_size`, which `kseg.predict` and `kseg.evaluate` use.

    Args:
        model: From images (N, H, W, C), 0..255, to logits (N, H, W, num_classes): one graph with
            one input and one output, float32, channels last. Or one with the outputs of
            `kseg.build_panoptic_deeplab`.
        data: Has the splits "train" and "val".
        recipe: How to train. None chooses the settings from the images, the network and the
            machine, as `kseg.plan` does; a resumed run keeps those that were chosen.
        run_dir: Folder for checkpoints, history and pictures.
        resume: Whether to go on from the last checkpoint in run_dir, if there is one.
        teacher: A trained network of the same classes, whose logits the model learns beside the
            labels (`recipe.distillation`); it is not changed. A resumed run needs it again.
            `kseg.models.ensemble` makes one of several.
        loss: A name of `kseg.losses.LOSSES` in place of the recipe's, or a Keras loss. A loss of
            `keras.losses` is made blind to the ignored class; one of your own, which may be a
            function, is called with label maps (N, H, W), in which ignored pixels are 255, and
            logits.
        callbacks: Called before the running average takes in a step's weights. A training that
            was stopped within an epoch begins twice for them: for the rest of it, and after it.

    Returns:
        The run.

    Raises:
        TypeError: If the model or the data is of another kind.
        ValueError: If a file of the data cannot be used, the model is not as described above,
            run_dir holds a run and resume is off, or what is resumed differs.
        TrainingDivergedError: If the loss or a weight is no longer finite.
        MemoryNeededError: If the machine has too little memory.
        DiskFullError: If a checkpoint has no room.
        KeyboardInterrupt: If it was interrupted; its last step is saved.
    """
    spread = Spread.of(model)
    path = spread.folder(Path(run_dir), resume)
    wishes = recipe if isinstance(recipe, Wishes) else Wishes()
    if not isinstance(recipe, Recipe):
        recipe = _settings_of(path, wishes) if resume else None
    asked = recipe or Recipe(**wishes.settings)
    if isinstance(loss, str):
        asked, loss = replace(asked, loss=loss), None
        wishes = replace(wishes, settings={**wishes.settings, "loss": asked.loss})
    if asked.deterministic and (backend_part := part_of_backend()):
        backend_part.enable_determinism()
    if not resume or not is_run(path):
        check_folder(path)
    check_arguments(model, data, teacher)
    loss = as_loss(loss)
    if loss is None:
        check_logits(model)
    report, speed = check_data(data), None  # names all bad files, before one is opened
    data = Shrinking.of(data)
    if recipe is not None or spread.processes > 1:  # hosts would measure different times
        check_recipe(model, data, asked)
    else:
        with spread.steps(model):
            plan = make_plan(model, data, report, wishes)
        for line in plan.lines:
            wishes.tell(line)
        asked, speed = plan.recipe, None if teacher else plan.speed
    spread.check(asked)
    check_teacher(teacher, crop_of(asked, data))
    if asked.flip:
        warn_of_mirrors(data.classes.names, "flip")
    path.mkdir(parents=True, exist_ok=True)
    with locked(path), interruptible() as interruption:
        record, earlier = begin(path, model, data, asked, (report, teacher, loss), resume)
        pixels = np.sum([report.pixels[name] for name in trained_splits(asked)], axis=0)
        made = make_loss(asked, pixels)
        if loss is None:
            warn_of_bounds(model)
        else:
            made = loss_on_label_maps(loss, scores=gives_scores(model))
        job = _Job(data, asked, made, path, tuple(callbacks), interruption, wishes.started)
        with (
            spread.training(model),
            frozen(model, asked),
            taught(model, teacher, asked.distillation, asked.temperature),
            quick_norms(model),
            telling_of_memory(crop_of(asked, data), asked.batch_size),
        ):
            job = _paced(model, job, speed, earlier)
            record |= {"recipe": asdict(job.recipe), "pace": job.pace}
            run = Run.write(path, record)
            _train(model, job, resume)
    return run


def _settings_of(path: Path, wishes: Wishes) -> Recipe | None:
    """Returns the settings of a run that is resumed, changed as wished; None for a new run."""
    if not is_run(path) or not (asked := open_run(path).record["asked"]):
        return None
    return Recipe(**{**asked, **wishes.settings})


def _paced(
    model: keras.Model, job: _Job, speed: Speed | None, earlier: dict[str, Any] | None
) -> _Job:
    """Returns the job with its length: that of its earlier part, or what fits into the minutes."""
    recipe, pace = job.recipe, None
    if earlier is not None:
        epochs, minutes = earlier["recipe"]["epochs"], earlier["recipe"]["minutes"]
        return replace(
            job, recipe=replace(recipe, epochs=epochs, minutes=minutes), pace=earlier["pace"]
        )
    if recipe.minutes is not None:
        speed = speed or measure(model, job.data, recipe, job.loss)
        val = 0 if recipe.with_val else len(job.data.files("val"))
        images = (min(val, recipe.validate_images or val), val)
        epoch = len(training_split(job.data, recipe))
        pace = first_pace(recipe, speed, images, epoch, time.monotonic() - job.started)
        recipe = replace(recipe, epochs=pace["parts"])
    return replace(job, recipe=recipe, pace=pace)


def _train(model: keras.Model, job: _Job, resume: bool) -> None:
    data, recipe, path = job.data, job.recipe, job.path
    warn_of_single_numbers(model, recipe.batch_size)
    split = training_split(data, recipe, instances=tells_objects_apart(model))
    steps, every, pace = len(split), recipe.validate_every, None
    if job.pace:
        steps, every, final = (job.pace[name] for name in ("steps", "validate_every", "final"))
        val = max(1, len(data.pairs.get("val", ())))
        judged = min(1.0, (recipe.validate_images or val) / val)
        pace = Pace(
            recipe, steps, every, recipe.epochs, job.started, final, judged * final / REPORT
        )
    compile_model(model, recipe, steps, job.loss)
    if pace:
        pace.leads(model.optimizer)
    average = WeightAverage(recipe.suited(recipe.average, recipe.epochs * steps))
    judges = validated(data, recipe.validate_images)
    shown = replace(data, box=recipe.size)  # pictures need no more than what the model sees

    def score(model):
        with alone(model):
            columns = score_columns(model, judges, recipe.size)
            write_preview(path / "preview.png", model, shown, recipe.size)
        return columns

    keeper = Keeper(
        path,
        average,
        None if recipe.with_val else score,
        (recipe.epochs, steps),
        every,
        lambda number: ", ".join(str(pair.image) for pair in split.files(number)),
        job.interruption,
        pace,
        recipe.patience,
    )
    _mark(model, data, recipe)
    if resume:
        restore(model, average, keeper, path)
    if keeper.batch == steps:  # stopped while it was scored
        keeper.set_model(model)
        keeper.on_epoch_end(len(keeper.history))
    rest = keeper.batch > 0  # of an epoch that was stopped in its middle
    while rest or not keeper.finished:  # by minutes there may be more parts than were expected
        _fit(model, split, keeper, job, to=len(keeper.history) + 1 if rest else keeper.length[0])
        rest = False
        if model.stop_training:  # a callback of the caller's may end it too
            break
    job.interruption.deferred = False
    _, _, groups = read_checkpoint(path, "best", {"average": shapes_of(model.variables)})
    assign(model.variables, groups["average"], path)
    write_curves(path / "curves.png", keeper.history, "part" if pace else "epoch")
    with alone(model):
        write_preview(path / "preview.png", model, shown, recipe.size)


def _mark(model: keras.Model, data: Data, recipe: Recipe) -> None:
    """Lets the model carry what it is trained to, and on."""
    model.kseg_size, model.kseg_bits = recipe.size, data.bits
    if recipe.with_val:
        model.kseg_saw_val = data.classes.names
    if tells_objects_apart(model):
        model.kseg_things = data.things


def _fit(model: keras.Model, split: Split, keeper: Keeper, job: _Job, *, to: int) -> None:
    """Trains from where the keeper is to the end of epoch `to`, counted from 1.

    What is left of an epoch that was stopped in its middle is an epoch of its own to Keras.
    """
    model.fit(
        Stream(
            split,
            keeper.steps_done,
            job.recipe.workers,
            Spread.of(model).part(job.recipe.batch_size),
        ),
        initial_epoch=len(keeper.history),
        epochs=to,
        steps_per_epoch=keeper.length[1] - keeper.batch,
        shuffle=False,
        verbose=0,
        callbacks=[*job.callbacks, keeper.average, *filter(None, [keeper.pace]), keeper],
    )
