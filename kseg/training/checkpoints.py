"""Checkpoints of a run folder.

A checkpoint is a folder that appears under its final name only once everything in it is on disk;
its manifest holds the sha256 of its weights and a checksum of itself. So a folder is never left
unreadable by a kill, and a checkpoint that was damaged later is noticed and passed over.
"""

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kseg.training.run_schema import MANIFEST_FORMAT, DamagedFileError, read_manifest, sealed
from kseg.training.scoring import score_of
from kseg.training.weights_file import Shapes, check_size, read_weights, to_bytes
from kseg.training.writing import sha256, sync, telling_of_full_disks


def write_checkpoint(
    path: Path, step: int, groups: dict[str, list[np.ndarray]], facts: dict[str, Any]
) -> None:
    """Adds a checkpoint to a run folder and removes those no longer needed.

    The last two and the one marked as best stay.

    Args:
        path: The run folder.
        step: Steps trained so far.
        groups: Name to the arrays of the model, their average and the optimizer.
        facts: What the manifest says beside; `score_of` it decides which is best.

    Raises:
        DiskFullError: If the disk is full; what was there stays.
    """
    folder = path / "checkpoints"
    target, temporary = folder / f"{step:08d}", folder / f".{step:08d}.tmp"
    content = to_bytes(groups)
    try:
        with telling_of_full_disks(target, content.nbytes):
            folder.mkdir(exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            (temporary / "weights.h5").write_bytes(content)
            manifest = {
                "format": MANIFEST_FORMAT,
                "step": step,
                "sha256": {"weights.h5": sha256(temporary / "weights.h5")},
                **facts,
            }
            (temporary / "manifest.json").write_text(sealed(manifest), encoding="utf-8")
            for entry in (*temporary.iterdir(), temporary):
                sync(entry)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
            sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_old(path)


def read_checkpoint(
    path: Path, which: str = "last", shapes: Shapes | None = None
) -> tuple[int, dict[str, Any], dict[str, list[np.ndarray]]]:
    """Reads the newest or the best checkpoint that is whole.

    Args:
        path: The run folder.
        which: "last" or "best".
        shapes: The groups to read, as for `read_weights`; None reads all.

    Returns:
        Its step, its manifest and its groups of arrays.

    Raises:
        ValueError: If there is none, or it is of another network.
        DamagedFileError: If there are checkpoints and none is whole.
    """
    found, problems = _manifests(path)
    if which == "best":
        found.sort(key=lambda entry: (score_of(entry[1]) or 0.0, entry[0]))
    for step, problem in problems.items():
        if found and (which == "best" or step > found[-1][0]):
            warnings.warn(f"{problem} Another checkpoint is used.", stacklevel=2)
    for step, manifest in reversed(found):
        file = path / "checkpoints" / f"{step:08d}" / "weights.h5"
        if file.is_file():
            check_size(file, shapes)
        if not file.is_file() or sha256(file) != manifest["sha256"]["weights.h5"]:
            problems[step] = f"{file} is damaged: its sha256 is not that of its manifest."
            warnings.warn(f"{file} is damaged, so it is passed over.", stacklevel=2)
            continue
        return step, manifest, read_weights(file, shapes)
    if problems:
        newest = problems[max(problems)]
        raise DamagedFileError(
            f"{path} has no whole checkpoint: all {len(problems)} are damaged. {newest}"
        )
    raise ValueError(f"{path} has no whole checkpoint: nothing was trained to its first save.")


def has_checkpoints(path: Path) -> bool:
    """Returns whether a run folder has checkpoints, whole or damaged."""
    return bool(_folders(path))


def _folders(path: Path) -> list[Path]:
    folders = (path / "checkpoints").glob("[0-9]*")
    return sorted(f for f in folders if re.fullmatch(r"\d{8,15}", f.name, re.ASCII))


def _manifests(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], dict[int, str]]:
    """Returns (step, manifest) of the checkpoints, oldest first, and why others have none."""
    found, problems = [], {}
    for folder in _folders(path):
        try:
            manifest = read_manifest(folder / "manifest.json")
        except ValueError as error:
            problems[int(folder.name)] = str(error)
        else:
            found.append((int(folder.name), manifest))
    return found, problems


def _remove_old(path: Path) -> None:
    found, _ = _manifests(path)
    scored = [(score_of(manifest) or 0.0, step) for step, manifest in found]
    keep = {step for step, _ in found[-2:]} | {max(scored)[1]}
    # Checkpoints appear whole, so an old one without a manifest is what a kill left of a removal.
    rests = [
        int(folder.name)
        for folder in _folders(path)
        if int(folder.name) < found[-1][0] and not (folder / "manifest.json").exists()
    ]
    for step in (*rests, *(step for step, _ in found)):
        if step not in keep:
            shutil.rmtree(path / "checkpoints" / f"{step:08d}", ignore_errors=True)
