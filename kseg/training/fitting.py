"""`kseg.fit`: Keras's training loop with the recipe's parts around it."""

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np

from kseg.data import Data, DataReport, Split, check_data
from kseg.losses import loss_on_label_maps
from kseg.training.beginning import begin, locked, restore
from kseg.training.callbacks import Keeper, WeightAverage
from kseg.training.checkpoints import read_checkpoint
from kseg.training.checks import check_arguments, check_folder, check_logits, check_sizes
from kseg.training.compile import compile_model, frozen, make_loss
from kseg.training.distillation import taught
from kseg.training.evaluation import evaluate
from kseg.training.headroom import check_memory, telling_of_memory
from kseg.training.images import Stream, crop_of, largest_of, trained_splits, training_split
from kseg.training.interruption import Interruption, interruptible
from kseg.training.pictures import write_curves, write_preview
from kseg.training.recipe import Recipe
from kseg.training.run import Run, assign, shapes_of
from kseg.training.timing import epochs_in_minutes


@dataclass(frozen=True)
class _Job:
    """What a training is made of, beside the model.

    Attributes:
        data: The data set.
        report: What its files hold.
        recipe: How to train.
        loss: From label maps and logits.
        path: The run folder.
        callbacks: The caller's.
        interruption: Whether somebody asked to stop.
    """

    data: Data
    report: DataReport
    recipe: Recipe
    loss: keras.losses.Loss
    path: Path
    callbacks: tuple[keras.callbacks.Callback, ...]
    interruption: Interruption


def fit(
    model: keras.Model,
    data: Data,
    recipe: Recipe | None = None,
    *,
    run_dir: str | Path,
    resume: bool = False,
    teacher: keras.Model | None = None,
    loss: str | keras.losses.Loss | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a model and leaves it with the best averaged weights.

    Ctrl-C and SIGTERM end it after the step that runs, with a checkpoint from which `resume` goes
    on exactly; a second one ends it at once. The model then carries the recipe's working size,
    `model.kseg_size`, which `kseg.predict` and `kseg.evaluate` use.

    Args:
        model: From images (N, H, W, C), 0..255, to logits (N, H, W, num_classes): one graph with
            one input and one output, float32, channels last.
        data: Has the splits "train" and "val".
        recipe: How to train.
        run_dir: Folder for checkpoints, history and pictures.
        resume: Whether to go on from the last checkpoint in run_dir, if there is one.
        teacher: A trained network of the same classes, whose logits the model learns beside the
            labels (`recipe.distillation`); it is not changed. A resumed run needs it again.
        loss: A name of `kseg.losses.LOSSES` in place of the recipe's, or a Keras loss. A loss of
            `keras.losses` is made blind to the ignored class; one of your own is called with
            label maps (N, H, W), in which ignored pixels are 255, and logits.
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
    recipe, path = recipe or Recipe(), Path(run_dir)
    if isinstance(loss, str):
        recipe, loss = replace(recipe, loss=loss), None
    if recipe.deterministic and keras.backend.backend() == "tensorflow":
        from kseg.training._tensorflow import enable_determinism

        enable_determinism()
    if not resume:
        check_folder(path)
    check_arguments(model, data, teacher)
    if loss is None:
        check_logits(model)
    report = check_data(data)  # names all bad files, before one of them is opened
    crop = crop_of(recipe, data)
    check_sizes(model, data, crop, recipe.size)
    check_memory(model, crop, recipe.batch_size, largest_of(data, recipe.size))
    path.mkdir(parents=True, exist_ok=True)
    with locked(path), interruptible() as interruption:
        record, earlier = begin(path, model, data, recipe, (report, teacher, loss), resume)
        if earlier is not None:
            recipe = replace(recipe, epochs=earlier["recipe"]["epochs"], minutes=None)
        pixels = np.sum([report.pixels[name] for name in trained_splits(recipe)], axis=0)
        made = loss_on_label_maps(loss) if loss is not None else make_loss(recipe, pixels)
        job = _Job(data, report, recipe, made, path, tuple(callbacks), interruption)
        with (
            frozen(model, recipe.freeze),
            taught(model, teacher, recipe.distillation),
            _quick_norms(model),
            telling_of_memory(crop, recipe.batch_size),
        ):
            if recipe.minutes is not None:
                recipe = replace(
                    recipe, epochs=epochs_in_minutes(model, data, recipe, made), minutes=None
                )
                job = replace(job, recipe=recipe)
            record["recipe"] = asdict(recipe)
            run = Run.write(path, record)
            _train(model, job, resume)
    return run


def _train(model: keras.Model, job: _Job, resume: bool) -> None:
    data, recipe, path = job.data, job.recipe, job.path
    if recipe.batch_size == 1 and (norm := _norm_of_one_number(model)):
        warnings.warn(
            f"With batch_size=1, {norm} is the norm of a single number, which says nothing: the "
            "trained network may be worse than its loss. Take a batch_size of 2 or more.",
            stacklevel=3,
        )
    split = training_split(data, recipe)
    steps = len(split)
    compile_model(model, recipe, steps, job.loss)
    average = WeightAverage(recipe.suited(recipe.average, recipe.epochs * steps))

    def score(model):
        scores = evaluate(model, data, size=recipe.size)
        write_preview(path / "preview.png", model, data, recipe.size)
        return scores

    keeper = Keeper(
        path,
        average,
        None if recipe.with_val else score,
        (recipe.epochs, steps),
        recipe.validate_every,
        lambda number: ", ".join(str(pair.image) for pair in split.files(number)),
        job.interruption,
    )
    model.kseg_size = recipe.size
    if resume:
        restore(model, average, keeper, path)
    if keeper.batch == steps:  # stopped while it was scored
        keeper.set_model(model)
        keeper.on_epoch_end(len(keeper.history))
    if keeper.batch:
        _fit(model, split, keeper, job, to=len(keeper.history) + 1)
    _fit(model, split, keeper, job, to=recipe.epochs)
    job.interruption.deferred = False
    _, _, groups = read_checkpoint(path, "best", {"average": shapes_of(model.variables)})
    assign(model.variables, groups["average"], path)
    write_curves(path / "curves.png", keeper.history)
    write_preview(path / "preview.png", model, data, recipe.size)


def _fit(model: keras.Model, split: Split, keeper: Keeper, job: _Job, *, to: int) -> None:
    """Trains from where the keeper is to the end of epoch `to`, counted from 1.

    What is left of an epoch that was stopped in its middle is an epoch of its own to Keras.
    """
    done = len(keeper.history)
    if done < to:
        model.fit(
            Stream(split, keeper.steps_done, job.recipe.workers),
            initial_epoch=done,
            epochs=to,
            steps_per_epoch=len(split) - keeper.batch,
            shuffle=False,
            verbose=0,
            callbacks=[*job.callbacks, keeper.average, keeper],
        )


def _norm_of_one_number(model: keras.Model) -> str | None:
    """Returns the name of a batch norm behind a pooling of the whole image, if there is one."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            tensors = [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
            if any(tensor.shape[1:3] == (1, 1) for tensor in tensors):
                return layer.name
    return None


def _quick_norms(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    from kseg.training._tensorflow import fused_norms

    return fused_norms(model)
