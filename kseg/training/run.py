"""The run folder: what was trained, how, its checkpoints, and the model it leads to.

A checkpoint is a folder that appears under its final name only once everything in it is on disk;
its manifest holds the sha256 of its file. So a folder is never left unreadable by a kill, and a
checkpoint that was damaged later is noticed and passed over.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from kseg.classes import Classes
from kseg.models import TRAINED, TrainedRecord, build

FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        record: What run.json holds.
    """

    path: Path
    record: dict[str, Any]

    @property
    def classes(self) -> Classes:
        """Names and colours of the classes."""
        return Classes.from_json(self.record["classes"])

    @property
    def size(self) -> tuple[int, int] | None:
        """Working size, (height, width), or None for the images' own."""
        size = self.record["size"]
        return None if size is None else (size[0], size[1])


def open_run(path: str | Path) -> Run:
    """Reads a run folder.

    Args:
        path: The folder.

    Returns:
        The run.

    Raises:
        ValueError: If it is no run folder, or one of a newer kseg.
    """
    path = Path(path)
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        version = record["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no run folder of kseg: it has no readable run.json.") from None
    if "label_map" in record:  # as runs had it before kseg 0.2
        record["classes"] = record.pop("label_map")
    if version != FORMAT:
        raise ValueError(
            f"{path} has run format {version}; this kseg reads format {FORMAT}. Update kseg."
        )
    return Run(path, record)


def is_run(path: str | Path) -> bool:
    """Returns whether a path is that of a run folder."""
    return (Path(path) / "run.json").is_file()


def find_trained(name: str) -> TrainedRecord | None:
    """Returns the trained model of a name; it steps back behind a run folder of that name."""
    return TRAINED[name] if name in TRAINED and not is_run(name) else None


def load(
    run: Run | str | Path, *, model: keras.Model | None = None, checkpoint: str = "best"
) -> keras.Model:
    """Returns the trained model of a run, with averaged weights.

    Args:
        run: The run, its folder, or the name of a model trained by kseg (`kseg.models.TRAINED`).
        model: The network, where kseg did not build it; its weights are replaced.
        checkpoint: "best" (highest mean IoU on the validation images) or "last".

    Returns:
        The model.

    Raises:
        ValueError: If there is no such run, no readable checkpoint, or the network differs.
    """
    if (trained := find_trained(str(run))) is not None:
        return build(trained.builder, {**trained.arguments, "weights": trained.data})
    run = run if isinstance(run, Run) else open_run(run)
    if model is None:
        spec = run.record["spec"]
        if spec is None:
            raise ValueError(
                f"{run.path} was trained from a model that kseg did not build; pass it to "
                "kseg.load(run, model=...)."
            )
        model = build(spec["builder"], {**spec["arguments"], "weights": None})
    _, _, arrays = read_checkpoint(run.path, checkpoint)
    assign(model.variables, arrays["average"], run.path)
    return model


def assign(variables: list, arrays: list[np.ndarray], path: Path) -> None:
    """Sets variables to the arrays of a checkpoint.

    Raises:
        ValueError: If they are not as many or a shape differs.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise ValueError(
            f"{path} holds the weights of another network ({len(arrays)} variables; this one has "
            f"{len(variables)} or other shapes)."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def write_checkpoint(
    path: Path, step: int, groups: dict[str, list[np.ndarray]], facts: dict[str, Any]
) -> None:
    """Adds a checkpoint to a run folder and removes those no longer needed.

    The last two and the one marked as best stay.

    Args:
        path: The run folder.
        step: Steps trained so far.
        groups: Name to the arrays of the model, their average and the optimizer.
        facts: What the manifest says beside; "mean_iou" (None where not evaluated) decides
            which is best.

    Raises:
        OSError: If the disk is full; what was there stays.
    """
    folder = path / "checkpoints"
    folder.mkdir(exist_ok=True)
    target, temporary = folder / f"{step:08d}", folder / f".{step:08d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        content = io.BytesIO()  # a full disk would crash HDF5, and Python with it
        with h5py.File(content, "w") as file:
            for name, arrays in groups.items():
                for index, array in enumerate(arrays):
                    file.create_dataset(f"{name}/{index:05d}", data=array)
        (temporary / "weights.h5").write_bytes(content.getbuffer())
        digest = _sha256(temporary / "weights.h5")
        manifest = {"format": FORMAT, "step": step, "sha256": {"weights.h5": digest}, **facts}
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
        for entry in (*temporary.iterdir(), temporary):
            _sync(entry)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_old(path)


def read_checkpoint(
    path: Path, which: str = "last"
) -> tuple[int, dict[str, Any], dict[str, list[np.ndarray]]]:
    """Reads the newest or the best checkpoint that is whole.

    Args:
        path: The run folder.
        which: "last" or "best".

    Returns:
        Its step, its manifest and its groups of arrays.

    Raises:
        ValueError: If there is none.
    """
    found = _manifests(path)
    if which == "best":
        found.sort(key=lambda entry: (entry[1]["mean_iou"] or 0.0, entry[0]))
    for step, manifest in reversed(found):
        file = path / "checkpoints" / f"{step:08d}" / "weights.h5"
        if not file.is_file() or _sha256(file) != manifest["sha256"]["weights.h5"]:
            warnings.warn(f"{file} is damaged; an older checkpoint is used.", stacklevel=2)
            continue
        with h5py.File(file) as content:
            groups = {
                name: [group[key][()] for key in sorted(group)] for name, group in content.items()
            }
        return step, manifest, groups
    raise ValueError(f"{path} has no whole checkpoint: nothing was trained to its first epoch.")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file such that either the old or the new content is there, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | None, record: dict[str, Any]) -> dict[str, Any]:
    """Writes a record (nowhere if path is None) and returns it as it would be read back."""
    text = json.dumps(record, indent=1)
    if path is not None:
        write_atomically(path, text + "\n")
    return json.loads(text)


def _manifests(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Returns (step, manifest) of all checkpoints, oldest first."""
    found = []
    for folder in sorted((path / "checkpoints").glob("[0-9]*")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            manifest = json.loads((folder / "manifest.json").read_text())
            _ = manifest["mean_iou"], manifest["sha256"]["weights.h5"]  # or it is none
            found.append((int(folder.name), manifest))
    return found


def _remove_old(path: Path) -> None:
    found = _manifests(path)
    scored = [(manifest["mean_iou"] or 0.0, step) for step, manifest in found]
    keep = {step for step, _ in found[-2:]} | {max(scored)[1]}
    for step, _ in found:
        if step not in keep:
            shutil.rmtree(path / "checkpoints" / f"{step:08d}", ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Waits until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
