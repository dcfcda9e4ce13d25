"""How a training begins: its folder is locked, its record made, an earlier part of it restored."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from kseg.data import Data
from kseg.instances import tells_objects_apart
from kseg.training.averaging import WeightAverage
from kseg.training.callbacks import Keeper
from kseg.training.checkpoints import has_checkpoints, read_checkpoint
from kseg.training.digests import digests
from kseg.training.recipe import Recipe
from kseg.training.run import assign, open_run, shapes_of
from kseg.training.run_schema import FORMAT
from kseg.training.writing import remove_leftovers, to_json

# What a resumed training must have in common with its beginning.
_SAME = {
    "asked": "recipe",
    "spec": "network",
    "data": "data set",
    "teacher": "teacher",
    "loss": "loss",
    "digests": "network, teacher or loss",
}


def begin(
    path: Path,
    model: keras.Model,
    data: Data,
    recipe: Recipe,
    others: tuple[Any, keras.Model | None, keras.losses.Loss | None],
    resume: bool,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Returns the record of a training, and that of its earlier part if it is resumed.

    Args:
        path: The run folder, whose lock is held.
        model: The network.
        data: The data set.
        recipe: As it was asked for.
        others: The report on the data, the teacher, and a loss that is not the recipe's.
        resume: Whether an earlier part counts.

    Raises:
        ValueError: If that part was of another training.
    """
    remove_leftovers(path)
    report, teacher, loss = others
    record = _record(model, data, recipe, report)
    record["saw_val"] |= _saw_val(teacher, data)  # it tells the student what it has seen
    record["teacher"] = teacher and getattr(teacher, "kseg_spec", teacher.name)
    record["loss"] = loss and _name_of(loss)
    record["digests"] = digests(model, teacher, loss)
    earlier = _earlier(path, record) if resume else None
    if earlier is not None:
        record["saw_val"] |= earlier["saw_val"]
    if record["saw_val"]:
        model.kseg_saw_val = data.classes.names
    return record, earlier


def _name_of(loss: keras.losses.Loss) -> str:
    named = getattr(loss, "function", type(loss))
    return f"{named.__module__}.{getattr(named, '__qualname__', loss.name)}"


def _saw_val(network: keras.Model | None, data: Data) -> bool:
    # Of data of other classes, it may have seen what it likes.
    return getattr(network, "kseg_saw_val", None) == data.classes.names


def _record(model, data, recipe, report) -> dict[str, Any]:
    packages = ("keras", "numpy", "pillow", keras.backend.backend())
    return {
        "format": FORMAT,
        "spec": getattr(model, "kseg_spec", None),
        "classes": asdict(data.classes),
        "size": recipe.size,
        "bits": data.bits,
        "things": data.things if tells_objects_apart(model) else (),
        "saw_val": _saw_val(model, data),
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


def _earlier(path: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the record of the run in path, if there is one and it is of the same training."""
    if not (path / "run.json").exists():
        return None
    earlier = open_run(path).record
    # A run of an older kseg lacks options that came since; what it did is their default, or
    # `open_run` says what it did.
    earlier["asked"] = {**to_json(asdict(Recipe())), **(earlier["asked"] or {})}
    # As JSON gives them back: tuples are lists there.
    now = to_json(record)
    # Another Keras may have other options, and an older kseg left no digests.
    alike = earlier["versions"].get("keras") == now["versions"]["keras"]
    earlier["digests"] = now["digests"] | (earlier["digests"] if alike else {})
    for key, what in _SAME.items():
        if earlier[key] != now[key]:
            changed = ""
            if isinstance(now[key], dict) and isinstance(earlier[key], dict):
                names = [k for k in now[key] if now[key][k] != earlier[key].get(k)]
                whole = {f"{name} wiring" for name in names}  # said by the name itself
                changed = f" ({', '.join(name for name in names if name not in whole)})"
            raise ValueError(
                f"{path} was begun with another {what}{changed}; resume with the same, or "
                "train into another folder."
            )
    if "epochs" not in earlier["recipe"]:  # it never came to training
        return None
    return earlier


def restore(model: keras.Model, average: WeightAverage, keeper: Keeper, path: Path) -> None:
    """Sets everything to the last checkpoint, if there is one.

    Raises:
        ValueError: If there are checkpoints and none is whole.
    """
    if not has_checkpoints(path):  # stopped before its first save
        return
    variables, optimizer = shapes_of(model.variables), shapes_of(model.optimizer.variables)
    shapes = {"model": variables, "average": variables, "optimizer": optimizer, "metrics": None}
    _, manifest, groups = read_checkpoint(path, "last", shapes)
    assign(model.variables, groups["model"], path)
    assign(model.optimizer.variables, groups["optimizer"], path)
    average.values, average.steps = groups["average"], manifest["average_steps"]
    keeper.history, keeper.batch = manifest["history"], manifest["batch"]
    keeper.loss, keeper.metrics = manifest.get("loss", 0.0), groups.get("metrics", [])
    if keeper.pace:
        keeper.pace.restore(manifest["pace"])
        keeper.length = (keeper.pace.parts, keeper.length[1])


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps a second training out of the folder; the lock goes with the process.

    Raises:
        ValueError: If another training has it.
    """
    # Not emptied before it is held: the number in it is the other training's.
    descriptor = os.open(path / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with open(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = file.read(20).strip()
            raise ValueError(
                f"Another training writes to {path} (process {other or 'unknown'}); name another "
                "folder."
            ) from None
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
