"""What several verbs share: the model or network that arguments name, and sizes."""

import hashlib
import inspect
import json
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kseg
from kseg.classes import Classes
from kseg.cli.tflite_facts import file_facts, unnamed
from kseg.data import Data
from kseg.models import MODELS, TRAINED, TrainedRecord, check_choice
from kseg.models.trained import best_int8, packaged
from kseg.training.run import find_trained, is_run, open_run, saw_val


def open_model(
    name: str,
    delegate: str | None = None,
    *,
    normalization: Any = None,
    output: str | None = None,
    kernels: str = "default",
    signature: str | None = None,
    num_classes: int | None = None,
):
    """Returns (model, classes, working size) of a run folder, a file or a trained model.

    Args:
        name: A run folder, a file, a trained model, or a data set with trained models: that is
            the best of their int8 files. A folder goes before a trained model of that name.
        delegate: A library that runs a .tflite file.
        normalization: As for `export.load_tflite`; of .tflite files alone, like what follows.
        output: As for `export.load_tflite`.
        kernels: As for `export.load_tflite`.
        signature: As for `export.load_tflite`.
        num_classes: How many classes the data have: those of a class map that does not say.

    Raises:
        ValueError: If there is no such model, or it is no .tflite file and takes no such option.
    """
    options: dict[str, Any] = {"delegate": delegate, "kernels": kernels, "output": output}
    options |= {"normalization": normalization, "signature": signature}
    shipped = None if is_run(name) else best_int8(name)
    if shipped is not None:
        from export import load_tflite

        file = packaged(str(shipped.int8_file), str(shipped.int8_sha256))
        return load_tflite(str(file), **options), shipped.classes, shipped.working_size
    for option, value in options.items():
        if value not in (None, "default") and Path(name).suffix != ".tflite":
            raise ValueError(
                f"--{option} is for .tflite files; {name} is none. Export it first, or leave "
                f"--{option} out."
            )
    if (record := find_trained(name)) is not None:
        return kseg.load(name), record.classes, record.working_size
    if Path(name).suffix == ".tflite":
        from export import load_tflite

        model = load_tflite(name, num_classes=num_classes, **options)
        return model, *file_facts(Path(name), model)
    if not Path(name).is_dir() and not is_run(name):
        known = f" Trained models: {', '.join(TRAINED)}." if TRAINED else ""
        raise ValueError(
            f"{name!r} is neither a run folder nor a .tflite file nor a trained model.{known}"
        )
    run = open_run(name)
    return kseg.load(run), run.classes, run.size


def warn_if_val_was_seen(name: str, data: Data, advice: str = "") -> None:
    """Warns where a model was trained on images that are to judge it, or what comes of it.

    Args:
        name: As for `open_model`.
        data: The data set whose validation images judge.
        advice: A sentence to add.
    """
    if is_run(name):
        seen = saw_val(open_run(name))
    else:
        record = TRAINED.get(name) or best_int8(name) or _shipped(name)
        names = record.classes.names if record and "val" in record.splits else None
        seen = names == data.classes.names
    if seen:
        warnings.warn(
            f"{name} was trained on validation images too (--with-val); if they are those of "
            f"{data.source}, scores on them are no measure. {advice}".rstrip(),
            stacklevel=2,
        )


def _shipped(name: str) -> TrainedRecord | None:
    """Returns the record of a file that is one of the package's, or a copy of it."""
    if Path(name).suffix != ".tflite" or not Path(name).is_file():
        return None
    with open(name, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return next((r for r in TRAINED.values() if r.int8_sha256 == digest), None)


def warn_if_names_differ(name: str, classes: Classes, data: Data) -> bool:
    """Warns where a model's classes are as many as those of the images that judge it, but others.

    Args:
        name: As for `open_model`.
        classes: Its classes, as `open_model` returns them.
        data: The data set that judges.

    Returns:
        Whether they are others.
    """
    made_up = unnamed(classes.num_classes).names
    differ = classes.names not in (made_up, data.classes.names)
    if differ:
        warnings.warn(
            f"{name} has the classes {', '.join(classes.names)}, and {data.source} has "
            f"{', '.join(data.classes.names)}; classes are compared by their place.",
            stacklevel=2,
        )
    return differ


def network_arguments(arguments: Namespace, num_classes: int | None) -> dict[str, Any]:
    """Returns what a network's builder is called with: --backbone, --set and its own weights.

    Args:
        arguments: With model, backbone and set.
        num_classes: None leaves the builder's.

    Raises:
        ValueError: If there is no such network, or it does not take an argument.
    """
    check_choice("--model", arguments.model, MODELS)
    takes = inspect.signature(MODELS[arguments.model]).parameters
    given: dict[str, Any] = {"num_classes": num_classes, "backbone": arguments.backbone}
    network = {name: value for name, value in given.items() if value is not None}
    network |= settings(arguments.set)
    for name in set(network) - set(takes):
        raise ValueError(f"{arguments.model} has no {name}; it takes {', '.join(takes)}.")
    weights = takes["weights"].default if "weights" in takes else None
    if "weights" in takes and arguments.backbone:
        weights = "imagenet"
    return {"weights": weights, **network}


def settings(options: Sequence[str]) -> dict[str, Any]:
    """Returns what NAME=VALUE options say; a value is JSON, or else a word."""
    given: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            given[name] = json.loads(value)
        except json.JSONDecodeError:
            given[name] = value
    return given


def pair(size: list[int] | None) -> tuple[int, int] | None:
    """Returns a size that the command line gave, checked."""
    if size is not None and min(size) < 1:
        raise ValueError(f"sizes must be above 0; got {size[0]} {size[1]}.")
    return None if size is None else (size[0], size[1])
