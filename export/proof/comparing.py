"""How two models differ in what they make of images: labels, and objects where they tell them."""

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

import numpy as np

from export.tflite.maps import LOGITS, NAMES, OFFSET, SEMANTIC
from export.tflite.runtime import TFLiteModel
from kseg.classes import IGNORE_CLASS
from kseg.inference import predict_logits
from kseg.instances import Instances, ObjectMatcher, PanopticScores
from kseg.instances.predicting import check_outputs, objects_in
from kseg.metrics import ConfusionMatrix, Scores
from kseg.running import run
from kseg.seeing import Segmenter, fit_image, look_at
from kseg.strips import label_map

_WORST = 3  # images that are kept to be looked at


@dataclass(frozen=True)
class Seen:
    """What a model makes of an image.

    Attributes:
        labels: The label map, uint8 (H, W).
        maps: What it gives, by the names of the maps, without the batch.
        instances: The objects; None where the model does not tell them apart.
    """

    labels: np.ndarray
    maps: dict[str, np.ndarray]
    instances: Instances | None = None


@dataclass(frozen=True)
class Example:
    """An image and how it was labelled.

    Attributes:
        agreement: Share of the pixels, not ignored, with equal labels. Where objects are told
            apart, share of the objects that both find, TP / (TP + FP + FN) at an IoU of 0.5.
        image: The image, 0..255, (H, W, channels).
        labels_float: The label map that the model gives, uint8 (H, W).
        labels: The label map that the file gives, uint8 (H, W).
        instances_float: The objects that the model finds; None where it tells none apart.
        instances: The objects that the file finds, likewise.
    """

    agreement: float
    image: np.ndarray
    labels_float: np.ndarray
    labels: np.ndarray
    instances_float: Instances | None = None
    instances: Instances | None = None


@dataclass(frozen=True)
class ObjectComparison:
    """How the objects of a file compare with those of its model.

    Attributes:
        agreement: The file's objects as scored against the model's, as if those were true; None
            where neither finds an object or an area.
        differences: Map to the largest difference of two of its values.
        saturated: Map to the share of its values at the ends of their integer range; to None
            where it is not quantized.
        offset_error: Mean distance of two offsets, in pixels of the file's input, where the model
            sees a thing; None where it sees none.
        scores_float: Scores of the model; None without labels.
        scores: Scores of the file; None without labels.
    """

    agreement: PanopticScores | None
    differences: dict[str, float]
    saturated: dict[str, float | None]
    offset_error: float | None
    scores_float: PanopticScores | None = None
    scores: PanopticScores | None = None


class LabelComparison:
    """Compares two models by their labels, image after image.

    Attributes:
        images: How many were seen.
        equal: How many pixels both label alike, ignored ones apart.
        pixels: How many were counted.
        differences: Map to the largest difference of two of its values.
    """

    def __init__(self, names: tuple[str, ...]):
        """Starts from zero.

        Args:
            names: Of the classes; () where nothing is labelled.
        """
        self.names = names
        self.matrices = [ConfusionMatrix(len(names)) for _ in range(2)] if names else []
        self.images, self.equal, self.pixels = 0, 0, 0
        self.differences: dict[str, float] = {}
        self._worst: list[tuple[float, int, Example]] = []  # a heap: the number breaks ties
        self._order = count()

    def see(self, model: Segmenter, image: np.ndarray, size: tuple[int, int] | None) -> Seen:
        """Returns what a model makes of an image at a working size."""
        logits = predict_logits(model, image, size)
        return Seen(np.argmax(logits, -1).astype("uint8"), {LOGITS: logits})

    def update(self, image: np.ndarray, truth: tuple[np.ndarray, ...], both: list[Seen]) -> None:
        """Adds an image.

        Args:
            image: The image.
            truth: Its label map, and its ids where there are any.
            both: What the model makes of it, and what the file does.
        """
        valid = truth[0] != IGNORE_CLASS
        alike = int((both[0].labels == both[1].labels)[valid].sum())
        counted = int(valid.sum())
        self.images += 1
        self.equal += alike
        self.pixels += counted
        for name, expected in both[0].maps.items():
            apart = float(np.abs(expected - both[1].maps[name]).max())
            self.differences[name] = max(self.differences.get(name, 0.0), apart)
        for matrix, seen in zip(self.matrices, both, strict=False):
            matrix.update(truth[0], seen.labels)
        agreement = self._agreement(alike / max(1, counted), both)
        model, file = both
        example = Example(
            agreement, image, model.labels, file.labels, model.instances, file.instances
        )
        item = (-agreement, -next(self._order), example)
        if len(self._worst) < _WORST:
            heapq.heappush(self._worst, item)
        else:
            heapq.heappushpop(self._worst, item)

    @property
    def worst(self) -> tuple[Example, ...]:
        """The images on which the two agree least, the worst first."""
        return tuple(item[2] for item in sorted(self._worst, reverse=True))

    @property
    def scores(self) -> tuple[Scores | None, ...]:
        """The scores of the label maps of the model and of the file."""
        return tuple(matrix.scores(self.names) for matrix in self.matrices) or (None, None)

    def objects(self, file: TFLiteModel) -> ObjectComparison | None:
        """Returns how the objects compare; None where none are told apart."""
        return None

    def _agreement(self, labels: float, both: list[Seen]) -> float:
        return labels


class InstanceComparison(LabelComparison):
    """Compares two models that tell objects apart, image after image."""

    def __init__(self, names: tuple[str, ...], things: Collection[int]):
        """Starts from zero.

        Args:
            names: Of the classes; () where nothing is labelled.
            things: Ids of the classes whose objects are told apart.
        """
        super().__init__(names)
        self.things = tuple(things)
        self.matchers = [ObjectMatcher(len(names), things) for _ in range(2)] if names else []
        self.between: ObjectMatcher | None = None
        self._offsets, self._error = 0, 0.0

    def see(self, model: Segmenter, image: np.ndarray, size: tuple[int, int] | None) -> Seen:
        """Returns what a model makes of an image at a working size."""
        image, fitted = fit_image(model, image, size)
        outputs = run(model, look_at(image, fitted), check_outputs)
        own = image.shape[0], image.shape[1]
        maps = {name: values[0] for name, values in outputs.items()}
        found = objects_in(outputs, self.things, fitted, own)
        return Seen(label_map(maps[SEMANTIC], own), maps, found)

    def update(self, image: np.ndarray, truth: tuple[np.ndarray, ...], both: list[Seen]) -> None:
        """Adds an image; see `LabelComparison.update`."""
        super().update(image, truth, both)
        for matcher, seen in zip(self.matchers, both, strict=False):
            if seen.instances is not None:
                matcher.update(truth[0], truth[1], seen.instances)
        expected, got = (seen.maps for seen in both)
        here = np.isin(expected[SEMANTIC].argmax(-1), self.things)
        apart = np.linalg.norm(expected[OFFSET][here] - got[OFFSET][here], axis=-1)
        self._offsets += apart.size
        self._error += float(apart.sum())

    def objects(self, file: TFLiteModel) -> ObjectComparison:
        """Returns how the objects compare; the file has counted its values."""
        scores = tuple(matcher.scores(self.names) for matcher in self.matchers)
        between = self.between
        names = tuple(map(str, range(len(between.matched)))) if between is not None else ()
        return ObjectComparison(
            between.scores(self.names or names) if between is not None else None,
            {name: self.differences[name] for name in NAMES},
            {name: file.saturated(name) for name in NAMES},
            self._error / self._offsets if self._offsets else None,
            *scores,  # none where nothing is labelled
        )

    def _agreement(self, labels: float, both: list[Seen]) -> float:
        model, file = (seen.instances for seen in both)
        if model is None or file is None:
            return labels
        if self.between is None:
            self.between = ObjectMatcher(both[0].maps[SEMANTIC].shape[-1], self.things)
        before = self.between.hits[:, 0].copy()
        self.between.update(model.label_map, model.ids, file)
        right, wrong, missed = self.between.hits[:, 0] - before
        return float(right / (right + wrong + missed)) if right + wrong + missed else 1.0
