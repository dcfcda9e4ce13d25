"""What several verbs share: the model or network that arguments name, and sizes."""

import inspect
import json
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kseg
from kseg.classes import Classes
from kseg.data import Data
from kseg.models import MODELS, TRAINED, check_choice
from kseg.models.trained import best_int8, packaged
from kseg.training.run import find_trained, is_run, open_run


def open_model(name: str, delegate: str | None = None):
    """Returns (model, label map, working size) of a run folder, a file or a trained model.

    Args:
        name: A run folder, a file, a trained model, or a data set with trained models: that is
            the best of their int8 files. A folder goes before a trained model of that name.
        delegate: A library that runs a .tflite file.

    Raises:
        ValueError: If there is no such model, or a delegate for one that is no .tflite file.
    """
    shipped = None if is_run(name) else best_int8(name)
    if shipped is not None:
        from export import load_tflite

        file = packaged(str(shipped.int8_file), str(shipped.int8_sha256))
        return load_tflite(str(file), delegate=delegate), shipped.classes, shipped.size
    if delegate is not None and Path(name).suffix != ".tflite":
        raise ValueError(f"--delegate runs .tflite files; {name} is none. Export it first.")
    if (record := find_trained(name)) is not None:
        return kseg.load(name), record.classes, record.size
    if Path(name).suffix == ".tflite":
        from export import load_tflite

        model = load_tflite(name, delegate=delegate)
        return model, *_file_facts(Path(name), model.num_classes)
    if not Path(name).is_dir():
        known = f" Trained models: {', '.join(TRAINED)}." if TRAINED else ""
        raise ValueError(
            f"{name!r} is neither a run folder nor a .tflite file nor a trained model.{known}"
        )
    run = open_run(name)
    return kseg.load(run), run.classes, run.size


def warn_if_val_was_seen(name: str, data: Data) -> None:
    """Warns where a model was trained on images that are to judge it, or what comes of it.

    Args:
        name: As for `open_model`.
        data: The data set whose validation images judge.
    """
    if is_run(name):
        seen = (open_run(name).record["recipe"] or {}).get("with_val", False)
    else:
        record = TRAINED.get(name) or best_int8(name)
        seen = record and "val" in record.splits and record.classes.names == data.classes.names
    if seen:
        warnings.warn(
            f"{name} was trained on validation images too (--with-val); if they are those of "
            f"{data.source}, scores on them are no measure.",
            stacklevel=2,
        )


def warn_if_names_differ(name: str, classes: Classes, data: Data) -> None:
    """Warns where a model's classes are as many as those of the images that judge it, but others.

    Args:
        name: Of the model.
        classes: Its classes, as `open_model` returns them.
        data: The data set that judges.
    """
    made_up = _unnamed(classes.num_classes).names
    if classes.names not in (made_up, data.classes.names):
        warnings.warn(
            f"{name} has the classes {', '.join(classes.names)}, and {data.source} has "
            f"{', '.join(data.classes.names)}; classes are compared by their place.",
            stacklevel=2,
        )


def _unnamed(num_classes: int) -> Classes:
    return Classes(tuple(f"class {index}" for index in range(num_classes)))


def _file_facts(path: Path, num_classes: int) -> tuple[Classes, tuple[int, int] | None]:
    """Returns the classes and the working size of a .tflite file.

    They come from the report beside it (X.json for X.tflite and X_edgetpu.tflite), or from its
    metadata.
    """
    from export.tflite.metadata import read_metadata

    beside = path.with_name(path.stem.removesuffix("_edgetpu") + ".json")
    try:
        report = json.loads(beside.read_text(encoding="utf-8"))
        classes = Classes.from_json(report.get("classes") or report["label_map"])
        found = classes, pair(report["working_size"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # no report of kseg's
        found = None
    if found is None or found[0].num_classes != num_classes:  # or not this file's
        found = read_metadata(path)
    if found is None or found[0].num_classes != num_classes:
        return _unnamed(num_classes), None
    return found


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
