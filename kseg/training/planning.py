"""Chooses the settings of a training from the images, the network and the machine, and says so."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from kseg.data import Data, DataReport, check_data
from kseg.data.transforms import fit_inside
from kseg.data.upright import told_by_name
from kseg.instances import tells_objects_apart
from kseg.training import choices
from kseg.training.checks import check_arguments, check_sizes
from kseg.training.compile import frozen, make_loss, quick_norms
from kseg.training.devices import Spread
from kseg.training.facts import Facts, facts_of
from kseg.training.headroom import available_bytes, check_memory, read_well, training_bytes
from kseg.training.images import crop_of, largest_of, trained_splits
from kseg.training.pace import Speed
from kseg.training.recipe import Recipe
from kseg.training.timing import measure

_MEMORY_SHARE = 0.6  # of what is free, for a step
_OVERHEAD = 30.0  # seconds for the first step, which compiles, and for pictures
_STARTS = {
    "imagenet": "ImageNet weights (--weights RUN starts from a model of yours)",
    "none": "random weights (--weights)",
    "own": "the weights it has",
}
# Times that an image must be seen for turned crops, which are harder: they gained nothing on nuclei
# that were seen 24 times.
_OFTEN = 50
_WORTHWHILE = 0.8  # images are made smaller for the time's sake if by a fifth or more


@dataclass(frozen=True)
class Wishes:
    """What somebody said about a training; the rest is chosen.

    Attributes:
        settings: Fields of `Recipe`.
        start: Where the weights are from, such as "imagenet"; None for what the model says.
        tell: Is called with each choice, a line of text.
        started: When the training began, for --minutes (`time.monotonic`).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    tell: Callable[[str], None] = lambda line: None
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Plan:
    """What was chosen.

    Attributes:
        recipe: The settings.
        lines: What was chosen and why, a line for each choice, with the option that changes it.
        speed: Of this machine, as it was measured.
    """

    recipe: Recipe
    lines: tuple[str, ...]
    speed: Speed


def plan(
    data: Data, model: keras.Model, *, minutes: float | None = None, epochs: int | None = None
) -> Recipe:
    """Chooses the settings of a training from the images, the network and the machine.

    `kseg.fit` without a recipe does the same. Some steps are timed; the model stays as it is.

    Args:
        data: Has the splits "train" and "val".
        model: As for `kseg.fit`.
        minutes: How long the training may take; None lets the number of images decide.
        epochs: How often each image is seen; None likewise.

    Returns:
        The recipe.

    Raises:
        TypeError: If the model or the data is of another kind.
        ValueError: If a file of the data cannot be used, or the model does not fit.
    """
    check_arguments(model, data, None)
    given = {"minutes": minutes, "epochs": epochs}
    settings = {name: value for name, value in given.items() if value is not None}
    return make_plan(model, data, check_data(data), Wishes(settings)).recipe


def make_plan(model: keras.Model, data: Data, report: DataReport, wishes: Wishes) -> Plan:
    """Returns what is chosen where the wishes leave it open.

    Args:
        model: The network.
        data: The data set.
        report: What its files hold.
        wishes: What is given.
    """
    facts, given = facts_of(data), dict(wishes.settings)
    start = wishes.start or _start_of(model)
    rate = {"backbone_rate": 1.0} if start == "none" else {}
    stage = {"freeze": "c2"} if start == "imagenet" and _has_stage(model, "c2") else {}
    # Raised classes make objects too large: of nuclei 2 % fewer were found so.
    even: dict[str, Any] = {"class_weights": None} if tells_objects_apart(model) else {}
    sides = _sides_of(data, report)
    recipe = Recipe(**{**rate, **stage, **even, **sides, **given})
    pixels = choices.working_pixels(facts.thickness, facts.size)
    recipe = _fit_machine(model, data, facts, recipe, given, pixels)
    check_recipe(model, data, recipe)
    counted = np.sum([report.pixels[name] for name in trained_splits(recipe)], axis=0)
    if "focus" not in given:
        shown, apart = fit_inside(facts.size, recipe.size), tells_objects_apart(model)
        focus = choices.focus_for(crop_of(recipe, data), shown, counted, apart=apart)
        recipe = replace(recipe, focus=focus)
    speed = _timed(model, data, recipe, counted)
    if recipe.minutes and not {"size", "crop"} & given.keys():
        crop = crop_of(recipe, data)
        pixels_a_second = recipe.batch_size * crop[0] * crop[1] / speed.step
        usual = min(pixels, facts.size[0] * facts.size[1])
        fitting = choices.affordable_pixels(
            usual, 60 * recipe.minutes, pixels_a_second, facts.counts[0]
        )
        if fitting < _WORTHWHILE * usual:
            recipe = _fit_machine(model, data, facts, recipe, given, fitting)
            new = crop_of(recipe, data)
            less = new[0] * new[1] / (crop[0] * crop[1])
            speed = Speed(speed.step * less, speed.image * less)
    recipe, seconds = _length(facts, recipe, given, speed)
    about = _about_data(data, report, facts, recipe.with_val)
    network = f"network: {_name_of(model)} from {_STARTS.get(start, start)}"
    turned = _about_sides(report, recipe, given)
    lines = (*about, network, turned, *_about_training(model, data, facts, recipe, seconds))
    return Plan(recipe, lines, speed)


def _sides_of(data: Data, report: DataReport) -> dict[str, Any]:
    """Chooses whether crops are turned and mirrored."""
    handed = told_by_name(data.classes.names) is not None  # a left hand becomes a right one
    return {"turn": report.upright["train"] is None, "flip": not handed}


def _about_sides(report: DataReport, recipe: Recipe, given: Mapping[str, Any]) -> str:
    """Returns what is said of turned and mirrored crops, with the options that change it."""
    what = "to any side" if recipe.turn else "never"
    seldom = f"no image is seen {_OFTEN} times"
    free = "nothing tells above from below" if recipe.turn else seldom
    why = report.upright["train"] or free
    reason = "" if "turn" in given else f", as {why}"
    line = f"turned: {what}{reason} (--recipe turn={str(not recipe.turn).lower()})"
    return line if recipe.flip else f"{line}; nor mirrored (--recipe flip=true)"


def check_recipe(model: keras.Model, data: Data, recipe: Recipe) -> None:
    """Refuses crops and images that the model or the memory do not take.

    Raises:
        ValueError: If the model does not.
        MemoryNeededError: If the memory is too small.
    """
    crop = crop_of(recipe, data)
    check_sizes(model, data, crop, recipe.size)
    check_memory(model, crop, recipe.batch_size, largest_of(data, recipe.size))


def _fit_machine(model, data, facts: Facts, recipe: Recipe, given, pixels: int) -> Recipe:
    """Chooses size, crop and batch."""
    size = recipe.size
    if "size" not in given:
        size = choices.working_size(
            facts.size, facts.largest, pixels, apart=tells_objects_apart(model)
        )
    fixed = model.input_shape[1:3]
    crop = recipe.crop
    if "crop" not in given:
        crop = choices.crop_for(size, facts.size) if None in fixed else None
    recipe = replace(recipe, size=size, crop=crop)
    if "batch_size" not in given:
        sides = crop_of(recipe, data)
        free = available_bytes()
        bytes_of = [training_bytes(model, sides, 2**power) for power in range(4)]
        room = None if free is None else int(_MEMORY_SHARE * free)
        batch = choices.batch_size_for(facts.counts[0], bytes_of, room)
        share = Spread.of(model).replicas  # a batch is divided among devices
        recipe = replace(recipe, batch_size=batch + -batch % share)
    return recipe


def _timed(model, data, recipe, counted) -> Speed:
    timed = replace(recipe, minutes=None)
    with frozen(model, recipe), quick_norms(model):
        return measure(model, data, timed, make_loss(recipe, counted))


def _length(facts: Facts, recipe: Recipe, given, speed: Speed) -> tuple[Recipe, float]:
    """Chooses epochs, evaluations and patience; returns the expected seconds too."""
    train, val = facts.counts
    train += val * recipe.with_val
    epoch = -(-train // recipe.batch_size)
    if recipe.minutes is None and "epochs" not in given:
        count = choices.epochs_for(train, recipe.batch_size, speed.step)
        recipe = replace(recipe, epochs=count)
    seconds = 60 * recipe.minutes if recipe.minutes else recipe.epochs * epoch * speed.step
    times, part = choices.validation(val, speed.image, seconds)
    if "validate_images" not in given:
        recipe = replace(recipe, validate_images=part)
    epochs = recipe.epochs
    if recipe.minutes:
        epochs = max(1, round(seconds / (speed.step * epoch)))
    if "turn" not in given and epochs < _OFTEN:
        recipe = replace(recipe, turn=False)
    if "validate_every" not in given:
        recipe = replace(recipe, validate_every=max(1, -(-epochs // times)))
    if not {"patience", "epochs", "minutes"} & given.keys():  # who names a length means it
        done = epochs // recipe.validate_every
        recipe = replace(recipe, patience=choices.patience_for(done))
    if recipe.minutes is None:
        scored = -(-epochs // recipe.validate_every) * (recipe.validate_images or val) + val
        seconds += scored * speed.image * (not recipe.with_val) + _OVERHEAD
    return recipe, seconds


def _about_data(data: Data, report: DataReport, facts: Facts, with_val: bool) -> Iterator[str]:
    """Returns what is said of the images and classes."""
    (train, val), (height, width) = facts.counts, facts.size
    use = f"{train + val} to train on" if with_val else f"{train} to train on, {val} to validate on"
    yield f"images: {use}, usually {height} x {width}"
    pixels = report.pixels["train"]
    share = 100 * pixels / max(1, pixels.sum())
    order = np.argsort(-share, kind="stable")
    shown = [*order[:4], *order[max(4, len(order) - 1) :]]
    each = [f"{data.classes.names[i]} {share[i]:.2g} %" for i in shown]
    gap = " ..." if len(order) > len(shown) else ""
    yield f"classes: {', '.join(each[:4])}{gap}{', '.join(['', *each[4:]])}"


def _about_training(
    model: keras.Model, data: Data, facts: Facts, recipe: Recipe, seconds: float
) -> Iterator[str]:
    """Returns what is said of the settings, with the options that change them."""
    size, crop = recipe.size, crop_of(recipe, data)
    yield f"working size: {_sides(size) if size else 'as the images are'} (--size H W)"
    where = ", around each class alike" if recipe.focus == 1 else ""
    how = "--batch-size, --crop H W" + (", --recipe focus=0" if where else "")
    yield f"a step: {recipe.batch_size} crops of {_sides(crop)}{where} ({how})"
    yield f"frozen: {f'up to {recipe.freeze}' if recipe.freeze else 'nothing'} (--freeze)"
    if recipe.freeze_norms:
        yield "frozen: all batch norms (--recipe freeze_norms=false)"
    weights = f"{'the rarer the higher' if recipe.class_weights else 'all alike'} (--class-weights)"
    yield f"class weights: {weights if recipe.loss != 'dice' else 'dice has none (--recipe loss)'}"
    train = facts.counts[0] + facts.counts[1] * recipe.with_val
    if recipe.minutes:
        yield f"length: {recipe.minutes:g} minutes (--minutes, or --epochs)"
    else:
        steps = recipe.epochs * -(-train // recipe.batch_size)
        yield f"length: {recipe.epochs} epochs, which are {steps} steps (--epochs, or --minutes)"
    if not recipe.with_val:
        yield f"validation: {_validation(recipe, facts.counts[1])} (--validate-every, --patience)"
    need = training_bytes(model, crop, recipe.batch_size)
    memory = f" and {read_well(need)} of memory" if need else ""
    yield f"expected: about {max(1, round(seconds / 60))} minutes{memory} on this machine"


def _validation(recipe: Recipe, val: int) -> str:
    """Returns when a training is validated, on what, and what ends it early."""
    text = "every epoch" if recipe.validate_every == 1 else f"every {recipe.validate_every} epochs"
    if recipe.validate_images and recipe.validate_images < val:
        text += f", on {recipe.validate_images} of {val} images (--recipe validate_images)"
    if recipe.patience:
        text += f"; {recipe.patience} without a better score end the training"
    return text


def _start_of(model: keras.Model) -> str:
    """Returns where the weights of a model are from, as far as it says."""
    if hasattr(model, "kseg_size"):  # one that was trained carries its size
        return "own"
    return getattr(model, "kseg_start", "own")


def _name_of(model: keras.Model) -> str:
    spec = getattr(model, "kseg_spec", None)
    if spec is None:
        return "your own"
    backbone = spec["arguments"].get("backbone")
    return spec["builder"] + (f" on {backbone}" if backbone else "")


def _has_stage(model: keras.Model, level: str) -> bool:
    return level in getattr(model, "kseg_endpoints", {})


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
