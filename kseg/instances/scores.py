"""Scores of objects over a whole data set: panoptic quality, average precision, and matches."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseg.classes import IGNORE_CLASS
from kseg.instances.objects import Instances
from kseg.metrics import ConfusionMatrix

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))  # of StarDist's paper
_COCO = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


class Quality(NamedTuple):
    """Panoptic quality, which is segmentation quality times recognition quality, 0..1."""

    pq: float
    sq: float
    rq: float


@dataclass(frozen=True)
class PanopticScores:
    """Scores of a model that tells objects apart, on a data set.

    Attributes:
        all: Panoptic quality, the mean over the classes that occur in truth or prediction
            (Kirillov et al., CVPR 2019; ignored pixels and crowds as in panopticapi).
        things: The same over the classes that are things.
        stuff: The same over the others; None where none occurs.
        per_class: Class name to its quality; None for a class that does not occur.
        ap: COCO's mask AP, the mean over IoU 0.5 to 0.95 and over the things in the truth,
            without its limit of 100 objects in an image; None where the truth has no object.
        ap50: The same at IoU 0.5.
        tp_over_all: IoU to TP / (TP + FP + FN), counted over all images and things, as in
            StarDist's paper (Schmidt et al., MICCAI 2018).
        mean_iou: Mean IoU of the label maps over the classes that occur in the truth.
        images: How many images were scored.
        objects: How many objects the truth has.
        found: How many objects were predicted.
    """

    all: Quality
    things: Quality | None
    stuff: Quality | None
    per_class: dict[str, Quality | None]
    ap: float | None
    ap50: float | None
    tp_over_all: dict[float, float | None]
    mean_iou: float
    images: int
    objects: int
    found: int

    @property
    def pq(self) -> float:
        """Panoptic quality over all classes, 0..1."""
        return self.all.pq

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as plain data."""
        qualities = {"all": self.all, "things": self.things, "stuff": self.stuff}
        return {
            **{name: quality and quality._asdict() for name, quality in qualities.items()},
            "per_class": {name: q and q._asdict() for name, q in self.per_class.items()},
            "ap": self.ap,
            "ap50": self.ap50,
            "tp_over_all": {f"{iou:g}": share for iou, share in self.tp_over_all.items()},
            "mean_iou": self.mean_iou,
            "images": self.images,
            "objects": self.objects,
            "found": self.found,
        }


class _Segments(NamedTuple):
    """Parts of an image: the number of each pixel's (0 for none), and the class of each part."""

    of: np.ndarray
    class_ids: np.ndarray


class ObjectMatcher:
    """Counts what of the objects and areas is found, over any number of images.

    Pixels that are ignored count nowhere. Pixels of a thing without an id are a crowd: objects
    that nobody has told apart, as in COCO. An object that lies in both by more than half is not
    wrong, nor for AP one that lies in them by as much as the IoU it is scored at.
    """

    def __init__(self, num_classes: int, things: Collection[int], ignore_class: int = IGNORE_CLASS):
        """Starts from zero.

        Args:
            num_classes: How many classes there are, without the ignored one.
            things: Ids of the classes whose objects are told apart; the others are stuff.
            ignore_class: Label of the pixels that do not count.
        """
        self.things, self.ignore_class = sorted(things), ignore_class
        self.labels = ConfusionMatrix(num_classes, ignore_class)
        self.matched, self.wrong, self.missed = (np.zeros(num_classes, int) for _ in range(3))
        self.iou = np.zeros(num_classes)
        self.true = np.zeros(num_classes, int)  # objects, crowds apart
        self.found = np.zeros(num_classes, int)
        self.hits = np.zeros((3, len(THRESHOLDS)), int)  # TP, FP, FN
        self.ranked: list[tuple[np.ndarray, ...]] = []

    def update(
        self, truth_label_map: np.ndarray, truth_ids: np.ndarray, instances: Instances
    ) -> None:
        """Adds one image.

        Args:
            truth_label_map: True classes of the pixels, integers (H, W).
            truth_ids: True objects of the pixels, integers (H, W); 0 for none.
            instances: What the model says.

        Raises:
            ValueError: If the shapes differ, or a pixel has a label that is not a class.
        """
        truth_label_map, truth_ids = np.asarray(truth_label_map), np.asarray(truth_ids)
        if truth_ids.shape != truth_label_map.shape:
            raise ValueError(
                f"The label map has shape {truth_label_map.shape} and the ids have "
                f"{truth_ids.shape}; they must be equal."
            )
        self.labels.update(truth_label_map, instances.label_map)
        counted = truth_label_map != self.ignore_class
        truth, crowd = self._truth(truth_label_map, np.where(counted, truth_ids, 0), counted)
        found = self._prediction(instances)
        count = len(found.class_ids) + 1
        joint = np.bincount(
            (truth.of * count + found.of).ravel(), minlength=(len(truth.class_ids) + 1) * count
        ).reshape(-1, count)
        joint, void, rest = joint[1:, 1:], joint[0, 1:], joint[1:].sum(1)
        same = truth.class_ids[:, None] == found.class_ids
        free = same & ~crowd[:, None]
        area = joint.sum(0) + void
        lost = (void + (joint * (same & crowd[:, None])).sum(0)) / area  # shares
        iou = np.where(free, joint / (rest[:, None] + area - joint - void), 0)
        self._count_quality(truth.class_ids, crowd, found.class_ids, iou, lost)
        real = ~crowd & np.isin(truth.class_ids, self.things)
        seen = np.isin(found.class_ids, self.things)
        self.true += np.bincount(truth.class_ids[real], minlength=len(self.true))
        self.found += np.bincount(found.class_ids[seen], minlength=len(self.found))
        self._count_hits(iou[real][:, seen], lost[seen])
        exact = np.where(free, joint / (rest[:, None] + area - joint), 0)
        scores = np.array([thing.score for thing in instances.objects])
        self._rank(exact[real][:, seen], lost[seen], found.class_ids[seen], scores)

    def _truth(self, labels, ids, counted) -> tuple[_Segments, np.ndarray]:
        """Returns the parts of the truth, and which of them are crowds."""
        is_thing = np.isin(labels, self.things)
        # An object is one of a class: ids that two classes share are two objects.
        keys = np.where(is_thing, ids.astype("int64") + 1, 0) * 256 + labels
        kinds, of = np.unique(keys, return_inverse=True)
        class_ids, known = kinds % 256, (kinds % 256) != self.ignore_class
        numbers = np.cumsum(known) * known
        crowd = (kinds // 256 == 1)[known]
        return _Segments(numbers[of.reshape(labels.shape)] * counted, class_ids[known]), crowd

    def _prediction(self, instances: Instances) -> _Segments:
        objects = [thing.class_id for thing in instances.objects]
        labels = instances.label_map
        stuff = [i for i in np.unique(labels).tolist() if i not in self.things]
        of = instances.ids.astype("int64")
        for number, class_id in enumerate(stuff, start=len(objects) + 1):
            of[(labels == class_id) & (of == 0)] = number
        present = np.bincount(of.ravel(), minlength=len(objects) + len(stuff) + 1)[1:] > 0
        numbers = np.concatenate([[0], np.cumsum(present) * present])
        class_ids = np.array([*objects, *stuff], int)[present]
        return _Segments(numbers[of], class_ids)

    def _count_quality(self, truth, crowd, found, iou, lost) -> None:
        match = iou > 0.5  # at most one for each part, because parts do not overlap
        size = len(self.iou)
        of_truth, of_found = match.any(1), match.any(0)
        self.matched += np.bincount(truth[of_truth], minlength=size)
        self.iou += np.bincount(truth, (iou * match).sum(1), size)
        self.missed += np.bincount(truth[~of_truth & ~crowd], minlength=size)
        self.wrong += np.bincount(found[~of_found & (lost <= 0.5)], minlength=size)

    def _count_hits(self, iou, lost) -> None:
        for place, threshold in enumerate(THRESHOLDS):
            pairs = _matches(iou, threshold)
            of_found = np.isin(np.arange(iou.shape[1]), [column for _, column in pairs])
            wrong = np.count_nonzero(~of_found & (lost <= 0.5))
            self.hits[:, place] += len(pairs), wrong, iou.shape[0] - len(pairs)

    def _rank(self, iou, lost, class_ids, scores) -> None:
        """Keeps which objects are right at each IoU, for COCO's curves."""
        order = np.argsort(-scores, kind="mergesort")
        iou, lost, class_ids, scores = iou[:, order], lost[order], class_ids[order], scores[order]
        right, ignored = (np.zeros((len(_COCO), len(scores)), bool) for _ in range(2))
        for place, threshold in enumerate(_COCO):
            for _, column in _matches(iou, threshold):
                right[place, column] = True
            ignored[place] = ~right[place] & (lost >= threshold)
        self.ranked.append((class_ids, scores, right, ignored))

    def scores(self, names: tuple[str, ...]) -> PanopticScores:
        """Returns the scores so far.

        Args:
            names: Names of the classes, in the order of their ids.

        Raises:
            ValueError: If no pixel was counted.
        """
        labels = self.labels.scores(names)
        total = self.matched + self.wrong / 2 + self.missed / 2
        per_class: list[Quality | None] = []
        for iou, right, count in zip(self.iou, self.matched, total, strict=True):
            sq = float(iou / right) if right else 0.0
            per_class.append(
                Quality(float(iou / count), sq, float(right / count)) if count else None
            )
        things = _mean(per_class[i] for i in self.things)
        stuff = _mean(q for i, q in enumerate(per_class) if i not in self.things)
        curves = [self._precision(i) for i in self.things if self.true[i]]
        hits, _, _ = self.hits
        return PanopticScores(
            all=_mean(per_class) or Quality(0.0, 0.0, 0.0),
            things=things,
            stuff=stuff,
            per_class=dict(zip(names, per_class, strict=True)),
            ap=float(np.mean(curves)) if curves else None,
            ap50=float(np.mean([curve[0] for curve in curves])) if curves else None,
            tp_over_all={
                iou: float(right / count) if count else None
                for iou, right, count in zip(THRESHOLDS, hits, self.hits.sum(0), strict=True)
            },
            mean_iou=labels.mean_iou,
            images=labels.images,
            objects=int(self.true.sum()),
            found=int(self.found.sum()),
        )

    def _precision(self, class_id: int) -> list[float]:
        """Returns COCO's average precision of a class at each IoU."""
        chosen = [
            (scores[ids == class_id], right[:, ids == class_id], ignored[:, ids == class_id])
            for ids, scores, right, ignored in self.ranked
        ]
        scores = np.concatenate([part[0] for part in chosen])
        order = np.argsort(-scores, kind="mergesort")
        right, ignored = (np.concatenate([c[i] for c in chosen], 1)[:, order] for i in (1, 2))
        return [
            _area_under(hit[~skip], self.true[class_id])
            for hit, skip in zip(right, ignored, strict=True)
        ]


def _matches(iou: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Returns pairs (row, column) whose IoU is at least a threshold of 0.5 or more.

    Since parts do not overlap, a part has two such partners only at an IoU of exactly 0.5: it is
    paired with one of them.
    """
    rows, columns = np.nonzero(iou.T >= threshold)[::-1]
    pairs: dict[int, int] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return list(pairs.items())


def _area_under(right: np.ndarray, count: int) -> float:
    """Returns the mean precision at COCO's 101 recalls.

    Args:
        right: Which of the objects, from the surest on, are right.
        count: How many there are to be found.
    """
    hits = np.cumsum(right)
    recall = hits / count
    precision = hits / (np.arange(len(hits)) + 1 + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]  # never rises with the recall
    places = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(best, 0.0)[places].mean())


def _mean(qualities) -> Quality | None:
    present = [quality for quality in qualities if quality is not None]
    return Quality(*np.mean(present, axis=0).tolist()) if present else None
