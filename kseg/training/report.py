"""What is worth knowing of a model's labels on a split, beyond one score."""

import csv
import io
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.classes import Classes
from kseg.data import Data
from kseg.data.transforms import fit_inside, resize
from kseg.instances import PanopticScores, evaluate_instances, tells_objects_apart
from kseg.metrics import BoundaryCounts, Calibration, ConfusionMatrix, Scores, probabilities_of
from kseg.training.checkpoints import read_checkpoint
from kseg.training.evaluation import Judged, Look, judge
from kseg.training.images import spread
from kseg.training.run import Run
from kseg.training.writing import write_atomically

FILES = ("report.html", "scores.json", "confusion.csv")
_LEAST_REPORTED = 10  # images that a report is on, however late it is
_EXAMPLES = 3  # of the best images, and of the worst
_BOX = (480, 480)  # that examples are shrunk into


@dataclass(frozen=True)
class Example:
    """An image that the page shows.

    Attributes:
        name: Of its file.
        mean_iou: Over the classes in its label map, 0..1.
        image: The image, uint8 (H, W, channels), shrunk where it is large.
        truth: Its label map, uint8 (H, W).
        labels: The predicted label map, uint8 (H, W).
    """

    name: str
    mean_iou: float
    image: np.ndarray
    truth: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Report:
    """Scores of a model on a split, and what explains them.

    Attributes:
        classes: Names and colours.
        scores: From the areas of the classes.
        boundary_iou: Class name to boundary IoU, 0..1; None for classes not in the labels, and for
            those whose contours all lie in ignored pixels.
        calibration: Of the probabilities; None where the model gives class maps.
        worst: The images with the lowest mean IoU, the lowest first.
        best: Those with the highest, the highest first.
        objects: How well objects are told apart; None where the model does not.
    """

    classes: Classes
    scores: Scores
    boundary_iou: dict[str, float | None]
    calibration: Calibration | None
    worst: tuple[Example, ...]
    best: tuple[Example, ...]
    objects: PanopticScores | None = None

    @property
    def mean_boundary_iou(self) -> float | None:
        """Mean of the boundary IoU over the classes that have one, 0..1; None if none has."""
        found = [iou for iou in self.boundary_iou.values() if iou is not None]
        return float(np.mean(found)) if found else None

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as plain data."""
        calibration = self.calibration
        return {
            **self.scores.to_json(),
            "mean_boundary_iou": self.mean_boundary_iou,
            "boundary_iou_per_class": self.boundary_iou,
            "calibration_error": None if calibration is None else calibration.error(),
            "worst": {example.name: example.mean_iou for example in self.worst},
            "best": {example.name: example.mean_iou for example in self.best},
        }


def examine(images: Iterable[Judged], classes: Classes) -> Report:
    """Scores labelled images.

    Args:
        images: As `kseg.training.evaluation.judge` gives them.
        classes: Those of the data set.

    Returns:
        The report.

    Raises:
        ValueError: If there is no pixel to score.
    """
    count = classes.num_classes
    matrix, boundaries = ConfusionMatrix(count), BoundaryCounts(count)
    calibration: Calibration | None = Calibration()
    examples: list[Example] = []
    for judged in images:
        labels = judged.labels()
        own = ConfusionMatrix(count)
        own.update(judged.truth, labels)
        matrix.counts += own.counts
        matrix.images += 1
        boundaries.update(judged.truth, labels)
        if calibration is not None and not _calibrate(calibration, judged):
            calibration = None
        if own.counts.any():
            examples.append(_example(judged, labels, own.scores(classes.names).mean_iou))
            examples.sort(key=lambda example: example.mean_iou)
            del examples[_EXAMPLES:-_EXAMPLES]
    worst = min(_EXAMPLES, (len(examples) + 1) // 2)
    return Report(
        classes,
        matrix.scores(classes.names),
        boundaries.iou_per_class(classes.names),
        calibration,
        tuple(examples[:worst]),
        tuple(reversed(examples[worst:])),
    )


def prepare_folder(folder: Path, overwrite: bool) -> None:
    """Makes the folder of a report, before anything is scored for it.

    Args:
        folder: The folder; it may be there.
        overwrite: Whether an earlier report in it may be replaced.

    Raises:
        ValueError: If the folder is a file or cannot be written to, or has a file of a report and
            overwrite is off.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --report takes a folder, which may be a new one.")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        raise ValueError(
            f"{folder} has {' and '.join(there)} already; add --overwrite, or name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written to ({error.strerror}); name another folder."
        ) from None


def write_report(
    folder: Path,
    report: Report,
    title: str,
    facts: Sequence[tuple[str, str]],
) -> None:
    """Writes report.html, scores.json and confusion.csv.

    Args:
        folder: As `prepare_folder` left it. What is there is overwritten.
        report: What to write.
        title: Of the page.
        facts: (what, how) of the model and the data, for the page.
    """
    from kseg.training.report_page import make_page

    names = report.classes.names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label \\ prediction", *names])
    writer.writerows([name, *row] for name, row in zip(names, report.scores.confusion, strict=True))
    scores = json.dumps(report.to_json(), indent=1) + "\n"
    page = make_page(report, title, facts)
    for name, content in zip(FILES, (page, scores, text.getvalue()), strict=True):
        write_atomically(folder / name, content)


def report_on_run(
    run: Run, model: keras.Model, data: Data, *, progress: bool = False, until: float = math.inf
) -> Report:
    """Writes report.html into a run folder: of its model, and of how the classes were learnt.

    Args:
        run: The run, with a checkpoint.
        model: Its model.
        data: The data set, with the split "val".
        progress: Whether to show on standard error how far it is.
        until: When the time is over (`time.monotonic`). The images that are not scored by then,
            beyond a few, are left out; those that are scored lie evenly among all.

    Returns:
        The report.
    """
    from kseg.training.report_page import make_page

    pairs = data.files("val")
    data = replace(data, pairs={**data.pairs, "val": spread(pairs)})
    judged = judge(model, data, Look(run.size), progress=progress)
    report = examine(_in_time(judged, until), data.classes)
    if tells_objects_apart(model):
        some = data.files("val")[: report.scores.images]
        data = replace(data, pairs={**data.pairs, "val": some})
        data.looked_at.add("val")  # by `judge`
        objects = evaluate_instances(model, data, size=run.size, progress=progress)
        report = replace(report, objects=objects)
    history = read_checkpoint(run.path, "last", {})[1]["history"]
    spec = run.record["spec"]
    facts = [("network", spec["builder"] if spec else "one of your own")]
    count, all_of = report.scores.images, len(pairs)
    part = f", {count} of {all_of} images" if count < all_of else ""
    # By minutes, the rows of a history are parts of the time.
    row = "part" if run.record.get("pace") else "epoch"
    facts += [("data", f"{data.source}, val{part}"), (f"{row}s", str(len(history)))]
    page = make_page(report, run.path.resolve().name, facts, history, row)
    write_atomically(run.path / FILES[0], page)
    return report


def _in_time(images: Iterable[Judged], until: float) -> Iterator[Judged]:
    for count, image in enumerate(images, 1):
        yield image
        if count >= _LEAST_REPORTED and time.monotonic() > until:
            return


def _calibrate(calibration: Calibration, judged: Judged) -> bool:
    """Adds an image to the calibration; returns whether the model gives probabilities."""
    for truth, scores in judged.scores():
        probabilities = probabilities_of(scores)
        if probabilities is None:
            return False
        calibration.update(truth, probabilities)
    return True


def _example(judged: Judged, labels: np.ndarray, mean_iou: float) -> Example:
    own = judged.truth.shape
    size = own if max(own) <= max(_BOX) else fit_inside(own, _BOX)
    maps = [judged.truth, labels]
    if size != own:  # nearest
        down, right = ((np.arange(n) + 0.5) * full / n for n, full in zip(size, own, strict=True))
        maps = [labels[down.astype(int)][:, right.astype(int)] for labels in maps]
    image = resize(np.asarray(judged.image, "uint8"), size)
    return Example(judged.name, mean_iou, image, *maps)
