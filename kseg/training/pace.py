"""A training by minutes: how far it is, and when it ends.

It goes in parts of equally many steps. After each the steps that still fit are counted anew, and
the learning rate falls over those, so that the schedule ends when the time does, on a machine that
slows down as on one that speeds up.
"""

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import keras

from kseg.training.averaging import synchronize
from kseg.training.recipe import Recipe
from kseg.training.schedule import learning_rate

PARTS = 40
VALIDATION_SHARE = 0.12  # of the time, at most
_LATEST_STEPS = 50
_STEPS_OF_JAX = 8
_COMPLETE = 0.9
_PICTURES = 8.0  # seconds for the pictures of a run, drawn after the last step
REPORT = 1.7  # times as long as scoring an image, reporting on it takes
_SLOWER = 3.0  # times as slow, at most, as the report is expected to be after an evaluation


@dataclass(frozen=True)
class Speed:
    """How fast a machine trains and scores.

    Attributes:
        step: Seconds of a step.
        image: Seconds of scoring an image.
    """

    step: float
    image: float


def first_pace(
    recipe: Recipe, speed: Speed, images: tuple[int, int], epoch: int, used: float = 0.0
) -> dict[str, Any]:
    """Returns how a training by minutes is divided.

    Args:
        recipe: With minutes.
        speed: Of this machine.
        images: Validation images that an evaluation uses, and all of them.
        epoch: Steps that see each training image once.
        used: Seconds that are over already.

    Returns:
        The steps of a part, how many parts fit by now, the parts between evaluations, and the
        seconds of the report on all validation images in the end.
    """
    seconds = 60 * (recipe.minutes or 0)
    some, final = speed.image * images[0], REPORT * speed.image * images[1]
    left = max(speed.step, seconds - used - some - final - _PICTURES)
    steps = max(1, round(left / PARTS / speed.step))
    wanted = round(recipe.validate_every * epoch / steps)
    affordable = math.ceil(PARTS * some / (VALIDATION_SHARE * seconds))
    every = min(PARTS, max(1, wanted, affordable))
    parts = max(1, round(left / (steps * speed.step + some / every)))
    return {"steps": steps, "parts": parts, "validate_every": every, "final": final}


@dataclass
class Pace(keras.callbacks.Callback):
    """Sets the learning rate before each step and counts the parts that are left.

    Attributes:
        recipe: With minutes.
        steps: Of a part.
        validate_every: Parts between evaluations.
        parts: Of the whole training, as far as it is known.
        started: When this process began (`time.monotonic`).
        final: Seconds of the report on all validation images, which is to come after the training.
        validation: Seconds of the latest evaluation, as expected before the first.
        used: Seconds that earlier processes took.
        progress: How much of the schedule is done, 0 to 1.
        left: Steps that are left.
    """

    recipe: Recipe
    steps: int
    validate_every: int
    parts: int
    started: float
    final: float
    validation: float = 0.0
    used: float = 0.0
    progress: float = 0.0
    left: int = 0
    latest: deque = field(default_factory=lambda: deque(maxlen=_LATEST_STEPS))

    def __post_init__(self) -> None:
        super().__init__()
        self.expected = self.final, self.validation
        self.left = self.left or self.parts * self.steps

    def elapsed(self) -> float:
        """Returns the seconds that all processes of this training took by now."""
        return self.used + time.monotonic() - self.started

    def leads(self, chosen: keras.optimizers.Optimizer) -> None:
        """Takes an optimizer whose rates are still the highest ones; a checkpoint's are lower."""
        self.optimizers = getattr(chosen, "optimizers", [chosen])
        self.peaks = [float(one.learning_rate) for one in self.optimizers]

    def on_train_begin(self, logs=None):
        """Forgets what happened between two trainings."""
        self.begun: float | None = None

    def on_train_batch_begin(self, batch, logs=None):
        """Sets the rate for the step; on JAX for a few, as setting it takes as long as a step."""
        if keras.backend.backend() == "jax":
            if batch % _STEPS_OF_JAX:
                return
            synchronize(self.model)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            optimizer.learning_rate.assign(self.rate(peak))

    def rate(self, peak: float) -> float:
        """Returns the rate at this point of the training."""
        whole = 1_000_000
        rate = learning_rate(
            self.progress * whole,
            peak=peak,
            steps=whole,
            warmup_steps=round(whole * self.recipe.warmup),
            schedule=self.recipe.schedule,
        )
        return float(rate)

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step."""
        now = time.monotonic()
        if self.begun is not None:
            self.latest.append(now - self.begun)
        self.begun = now
        self.progress += (1 - self.progress) / max(1, self.left)
        self.left = max(0, self.left - 1)

    def part_ended(self, done: int) -> int:
        """Counts anew how many parts the training has.

        Args:
            done: Parts that are done.

        Returns:
            The parts of the whole training; as many as are done if it ends here.
        """
        if not self.latest:  # it goes on where it was stopped, and no step was timed yet
            return self.parts
        step = sum(self.latest) / len(self.latest)
        part = self.steps * step + self.validation / self.validate_every
        room = 60 * (self.recipe.minutes or 0) - self.elapsed()
        room -= self.validation + self.final + _PICTURES
        more = max(0, round(room / part)) if part else self.parts - done
        if not more and self.progress < _COMPLETE:  # time ran out all at once: let the rate fall
            more = 1
        self.parts = done + more
        self.left = more * self.steps
        return self.parts

    def validated(self, seconds: float) -> None:
        """Takes in how long an evaluation and its checkpoint took.

        Where that was longer than expected, as on a machine that is busy, the report will be too.
        """
        final, validation = self.expected
        if validation:
            self.final = final * min(_SLOWER, max(1.0, seconds / validation))
        self.validation = seconds
        self.begun = None  # it was no part of a step

    def facts(self) -> dict[str, Any]:
        """Returns what a resumed training needs to know."""
        return {
            "elapsed": self.elapsed(),
            "progress": self.progress,
            "left": self.left,
            "parts": self.parts,
            "validation": self.validation,
        }

    def restore(self, facts: dict[str, Any]) -> None:
        """Goes on where an earlier process stopped; its time counts."""
        self.used, self.progress, self.left = facts["elapsed"], facts["progress"], facts["left"]
        self.parts, self.validation = facts["parts"], facts["validation"]
