"""Run folders in a line each, to be compared."""

import os
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kseg.training.callbacks import out_of_patience
from kseg.training.checkpoints import has_checkpoints, read_checkpoint
from kseg.training.run import Run, is_run, saw_val
from kseg.training.run_schema import read_run_record
from kseg.training.scoring import score_of

_DEPTH = 4  # folders below the one that is searched


@dataclass(frozen=True)
class RunSummary:
    """What a run folder comes to.

    What cannot be read is None.

    Attributes:
        path: The folder.
        network: The network's name, with its backbone; "own" where kseg did not build it.
        params: How many numbers the network has, those of its norms included.
        data: The YAML file of the data set.
        size: Working size, (height, width), or None for the images' own.
        epochs: Epochs done.
        planned: Epochs of the whole training; parts of one by minutes.
        early: Whether patience ended it.
        metric: What scores it: "mIoU", or "PQ", panoptic quality, where objects are told apart.
        best: The highest score on the validation images, 0..1.
        last: The latest one.
        judges: On how many validation images at most these are; None for all of them.
        saw_val: Whether weights were trained on validation images, so that they are no measure.
        seconds: Seconds of training and scoring.
        changed: When its last file was written, as "2026-11-25 18:03".
        problem: Why it is damaged, or None.
    """

    path: Path
    network: str | None = None
    params: int | None = None
    data: str | None = None
    size: tuple[int, int] | None = None
    epochs: int = 0
    planned: int | None = None
    early: bool = False
    metric: str | None = None
    best: float | None = None
    last: float | None = None
    judges: int | None = None
    saw_val: bool = False
    seconds: float = 0.0
    changed: str | None = None
    problem: str | None = None

    @property
    def state(self) -> str:
        """Returns "done", "unfinished" or "damaged"."""
        if self.problem is not None:
            return "damaged"
        done = self.planned is not None and self.epochs >= self.planned
        return "done" if done or self.early else "unfinished"


def summarize_runs(folder: Path) -> list[RunSummary]:
    """Returns all runs in a folder and the folders below it, the best first.

    Those that saw the validation images come after all others.

    Args:
        folder: A folder of run folders, or one of them.

    Raises:
        ValueError: If it is not a folder, or there is no run in it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name one that has run folders.")
    found = []
    for path, names, _ in os.walk(folder):
        if is_run(path):
            found.append(summarize(Path(path)))
            names.clear()
        elif len(Path(path).relative_to(folder).parts) >= _DEPTH:
            names.clear()
        names.sort()
    if not found:
        raise ValueError(f"{folder} has no run folders, which `kseg train` writes with --out.")
    return sorted(found, key=lambda run: (run.saw_val, -(run.best or -1)))


def summarize(path: Path) -> RunSummary:
    """Returns what a run folder comes to; damage is told of, and not raised."""
    facts: dict[str, Any] = {"changed": _last_change(path)}
    try:
        record = read_run_record(path)
        spec = record["spec"]
        backbone = (spec or {}).get("arguments", {}).get("backbone")
        facts |= {
            "network": f"{spec['builder']} {backbone or ''}".rstrip() if spec else "own",
            "data": (record["data"] or {}).get("source"),
            "size": tuple(record["size"]) if record["size"] else None,
            "planned": record["recipe"].get("epochs"),
            "judges": record["recipe"].get("validate_images"),
            "saw_val": saw_val(Run(path, record)),
        }
        if has_checkpoints(path):
            facts |= _progress(path, record["recipe"])
    except (ValueError, OSError) as error:
        facts["problem"] = str(error)
    return RunSummary(path, **facts)


def _progress(path: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, manifest, arrays = read_checkpoint(path, "last", {"average": None})
    history = manifest["history"]
    scores = [score for row in history if (score := score_of(row)) is not None]
    # By minutes, the parts are counted anew after each.
    planned = manifest["pace"] or {"parts": recipe.get("epochs")}
    return {
        "params": sum(a.size for a in arrays["average"] if a.dtype.kind == "f"),
        "epochs": len(history),
        "planned": planned.get("parts"),
        "early": out_of_patience(history, recipe.get("patience")),
        "metric": "mIoU" if all(row.get("pq") is None for row in history) else "PQ",
        "best": max(scores, default=None),
        "last": scores[-1] if scores else None,
        "seconds": sum(row["seconds"] for row in history),
        "problem": str(told[0].message) if told else None,
    }


def _last_change(path: Path) -> str:
    files = [path / "run.json", path / "history.csv"]
    latest = max(file.stat().st_mtime for file in files if file.exists())
    return datetime.fromtimestamp(latest).strftime("%Y-%m-%d %H:%M")
