"""In which runtimes a file was run, and whether its labels are right in each.

What is right in Python may be garbage on the device, and nothing says so. So each row of `RUNTIMES`
runs the file on real images. Its labels must be those of the Keras model. Where rounding to
integers itself moves more of them, which the gate on labelled images judges, they must be those
that LiteRT's reference kernels give for the same file. What was not run is named, never passed.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import GateError, ModelFileError
from export.options import ExportOptions
from export.proof.runtimes import QUICK, RUNTIMES, Labels, Runtime, Subject
from export.tflite.need import count_macs
from export.tflite.reader import read_model
from export.tflite.runtime import TFLiteModel
from kseg.classes import IGNORE_CLASS, Classes
from kseg.inference import Segmenter, predict
from kseg.metrics import ConfusionMatrix

MIN_AGREEMENT = 0.99
_MOST_MACS = 8e9  # of a run; LiteRT's reference kernels do about 1e9 a second
_KERNELS, _JUDGED = "reference", "xnnpack"


@dataclass(frozen=True)
class Trial:
    """What came of a file in a runtime.

    Attributes:
        runtime: Its name.
        title: What reports call it.
        status: "passed", "failed", "refused" (the runtime does not run this file), "not run", or
            "reference" (the others are compared with it, and nothing with it).
        like_model: Share of the pixels that it labels like the Keras model; None without one.
        like_kernels: Share that it labels like LiteRT's reference kernels; None where those did
            not run.
        images: How many images it labelled.
        reason: Why it did not pass; "" if it did.
    """

    runtime: str
    title: str
    status: str
    like_model: float | None = None
    like_kernels: float | None = None
    images: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns it as it stands in a report."""
        return asdict(self)


def prove(
    subject: Subject,
    names: Sequence[str] = QUICK,
    *,
    model: Segmenter | None = None,
    label_maps: Labels | None = None,
    judged: bool = False,
    known: Mapping[str, Labels] | None = None,
) -> tuple[Trial, ...]:
    """Runs a file in several runtimes and compares their labels.

    Args:
        subject: The file and the images.
        names: Keys of `RUNTIMES`.
        model: The Keras model that the file was made of; None where there is none. Then LiteRT's
            reference kernels are what the others are compared with.
        label_maps: The right labels of the images. With them, a file that labels otherwise than
            the model passes where its mean IoU is no worse.
        known: Label maps that a runtime has given already, by its name.
        judged: Whether the labels that the file gives with XNNPACK have been judged so already.

    Returns:
        What came of each.
    """
    known = known or {}
    found = {name: known.get(name) or _attempt(RUNTIMES[name], subject) for name in names}
    expected = None
    if model is not None:
        expected = [predict(model, image, size=subject.size) for image in subject.images]
    kernels = found.get(_KERNELS)
    # Without labels a model's own decide; with them, nobody else ran but what was judged.
    alone = {*names} <= {_JUDGED} if judged else expected is not None and label_maps is None
    if kernels is None and not _like(expected, found.values()) and not alone:
        kernels = _attempt(RUNTIMES[_KERNELS], subject)
    anchor = None if isinstance(kernels, Trial) else kernels
    right = found.get(_JUDGED)
    if judged and anchor is not None and not isinstance(right, Trial | None):
        # Kernels that label otherwise than what was judged prove nothing.
        alike = [agreement(labels, anchor) for labels in (right, expected) if labels is not None]
        anchor = anchor if max(alike) >= MIN_AGREEMENT else None
    if label_maps is not None and expected is not None and anchor is not None:
        judged = judged or _no_worse(label_maps, expected, anchor)
    trials = []
    for name, labels in found.items():
        if not isinstance(labels, Trial):
            labels = _compare(RUNTIMES[name], labels, expected, anchor, judged)
        trials.append(labels)
    return tuple(trials)


def _attempt(runtime: Runtime, subject: Subject) -> Labels | Trial:
    if missing := runtime.missing():
        return Trial(runtime.name, runtime.title, "not run", reason=missing)
    try:
        return runtime.run(subject)
    except (ModelFileError, GateError, ValueError) as error:
        return Trial(runtime.name, runtime.title, "refused", reason=str(error))


def _compare(
    runtime: Runtime,
    labels: Labels,
    expected: Labels | None,
    anchor: Labels | None,
    judged: bool,
) -> Trial:
    if runtime.name == _KERNELS and expected is None:
        reason = "the others are compared with it; nothing proves its own labels"
        return Trial(runtime.name, runtime.title, "reference", images=len(labels), reason=reason)
    like_model = None if expected is None else agreement(expected, labels)
    like_kernels = None if anchor is None else agreement(anchor, labels)
    passed = like_model is not None and like_model >= MIN_AGREEMENT
    if judged and like_kernels is None:
        passed = passed or runtime.name == _JUDGED
    elif judged or like_model is None:
        passed = passed or (like_kernels is not None and like_kernels >= MIN_AGREEMENT)
    reason = ""
    if not passed:
        compared = ((like_model, "the model"), (like_kernels, "LiteRT's reference kernels"))
        reason = ", and ".join(
            f"labels {share:.4f} of the pixels like {whose}"
            for share, whose in compared
            if share is not None and share < MIN_AGREEMENT
        )
        reason = reason or "there is nothing to compare its labels with"
    status = "passed" if passed else "failed"
    shares = (like_model, like_kernels, len(labels))
    return Trial(runtime.name, runtime.title, status, *shares, reason=reason)


def agreement(expected: Labels, labels: Labels) -> float:
    """Returns the share of the pixels of all images that two label alike."""
    pairs = [(a, b) for a, b in zip(expected, labels, strict=True)]
    if any(a.shape != b.shape for a, b in pairs):
        return 0.0
    return sum(int((a == b).sum()) for a, b in pairs) / sum(a.size for a, _ in pairs)


def _like(expected: Labels | None, found: Iterable[Labels | Trial]) -> bool:
    """Says whether all runtimes that ran label like the model."""
    ran = [labels for labels in found if not isinstance(labels, Trial)]
    return expected is not None and all(agreement(expected, x) >= MIN_AGREEMENT for x in ran)


def _no_worse(label_maps: Labels, expected: Labels, labels: Labels) -> bool:
    """Says whether labels are as good as the model's, by the gate of an export."""
    gate, ids = ExportOptions(), tuple(map(str, range(IGNORE_CLASS)))
    before, after = ConfusionMatrix(len(ids)), ConfusionMatrix(len(ids))
    for right, old, new in zip(label_maps, expected, labels, strict=True):
        before.update(right, old)
        after.update(right, new)
    was, now = (matrix.scores(ids).mean_iou for matrix in (before, after))
    return now >= gate.min_ratio * was and was - now <= gate.max_drop


def check_trials(trials: Sequence[Trial], path: Path, *, all_must_run: bool = False) -> None:
    """Refuses a file that labels wrongly in a runtime, or that was compared with nothing.

    Args:
        trials: What `prove` returns.
        path: The file, for the sentence.
        all_must_run: Whether a runtime that does not run the file is as bad.

    Raises:
        GateError: If there is such a runtime; the sentence names them all. Or if LiteRT's
            reference kernels alone ran it, and no model says what is right.
    """
    states = {trial.status for trial in trials}
    bad = ("failed", "refused") if all_must_run else ("failed",)
    wrong = [f"{o.title}: {o.reason.rstrip('.')}" for o in trials if o.status in bad]
    if wrong:
        raise GateError(
            f"{path.name} is not right in every runtime; at least {MIN_AGREEMENT} of the labels "
            f"must be equal. {'; '.join(wrong)}."
        )
    if "reference" in states and not states & {"passed", "failed"}:
        raise GateError(
            f"{path.name} was compared with nothing: LiteRT's reference kernels alone ran it, with "
            "which others are compared. Name another runtime too, or the model (--model, --data)."
        )


def prove_export(
    file: TFLiteModel,
    model: Segmenter,
    images: Sequence[np.ndarray],
    options: ExportOptions,
    *,
    classes: Classes | None,
    more: Sequence[str] = (),
    judged: bool,
    certifying: bool = True,
) -> tuple[Trial, ...]:
    """Runs a file that an export has judged with XNNPACK in other runtimes, on few images.

    LiteRT's reference kernels are left out where a network would keep them busy for long.

    Args:
        file: The loaded file.
        model: The model that was handed in.
        images: Images (H, W, channels), 0..255, of which the first are taken.
        options: What the export was asked for.
        classes: Names and colours, for a page in the browser.
        more: Runtimes that the target needs.
        judged: Whether labelled images have shown that the file is as good as the model, where
            their labels differ.
        certifying: Whether the export certifies the file. If not, wrong labels are warned about
            and the report has them: in a network that was hardly trained many scores are nearly
            equal, and rounding decides.

    Returns:
        What came of each.

    Raises:
        GateError: If the labels are wrong in one.
    """
    names = tuple(dict.fromkeys((*options.runtimes, *more)))
    graph = read_model(file.path)
    macs = sum(count_macs(op, graph) for op in graph.ops)
    slow = macs > _MOST_MACS and set(names) <= set(QUICK)
    if slow:
        names = tuple(name for name in names if name != _KERNELS)
    few = list(images[: 2 if 2 * macs <= _MOST_MACS else 1])
    subject = Subject(file.path, few, options.working_size, classes)
    known = {}
    if file.kernels == "default":  # else XNNPACK refuses the file
        known[_JUDGED] = [predict(file, image, size=subject.size) for image in few]
    trials = prove(subject, names, model=model, judged=judged, known=known)
    try:
        check_trials(trials, file.path)
    except GateError as error:
        if certifying:
            raise
        warnings.warn(str(error), stacklevel=2)
    if slow and _KERNELS in options.runtimes:
        reason = f"{macs / 1e9:.0f} G multiply-adds take these kernels long; `kseg verify` runs it"
        trials += (Trial(_KERNELS, RUNTIMES[_KERNELS].title, "not run", reason=reason),)
    return trials
