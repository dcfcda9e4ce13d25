"""Everything about a training that is not the network or the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kseg.losses import LOSSES

MOST_PIXELS = 50_000_000  # of a working size or a crop
_Rule = tuple[Callable[[Any], bool], str]  # whether a value is right, and what it must be


def _one_of(*choices: str) -> _Rule:
    return lambda value: value in choices, f"one of {', '.join(choices)}"


def _whole(least: int) -> _Rule:
    return lambda value: type(value) is int and value >= least, f"a whole number from {least}"


_AT_LEAST_1 = _whole(1)
_ABOVE_0: _Rule = (lambda value: 0 < value < math.inf, "a number above 0")
_NOT_NEGATIVE: _Rule = (lambda value: value >= 0, "0 or more")
_FRACTION: _Rule = (lambda value: 0 <= value < 1, "from 0 to under 1")
_SIZE: _Rule = (
    lambda value: len(value) == 2 and all(type(side) is int and side >= 1 for side in value),
    "(height, width) in pixels",
)
_YES_OR_NO: _Rule = (lambda value: isinstance(value, bool), "True or False")
_RANGE: _Rule = (
    lambda value: len(value) == 2 and 0 < value[0] <= value[1] < math.inf,
    "(smallest, largest), above 0",
)
_RULES: dict[str, _Rule] = {
    "epochs": _AT_LEAST_1,
    "minutes": _ABOVE_0,
    "batch_size": _AT_LEAST_1,
    "size": _SIZE,
    "crop": _SIZE,
    "seed": _whole(0),
    "optimizer": _one_of("adamw", "sgd"),
    "learning_rate": _ABOVE_0,
    "backbone_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _ABOVE_0,
    "schedule": _one_of("cosine", "poly"),
    "warmup": _FRACTION,
    "freeze": _one_of("c1", "c2", "c3", "c4", "c5"),
    "freeze_norms": _YES_OR_NO,
    "average": _FRACTION,
    "norm_momentum": _FRACTION,
    "class_weights": _one_of("auto"),
    "logit_adjustment": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "loss": _one_of(*LOSSES),
    "dice": _NOT_NEGATIVE,
    "center": _NOT_NEGATIVE,
    "offset": _NOT_NEGATIVE,
    "distillation": _NOT_NEGATIVE,
    "temperature": _ABOVE_0,
    "scale": _RANGE,
    "color": _FRACTION,
    "flip": _YES_OR_NO,
    "turn": _YES_OR_NO,
    "focus": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "validate_every": _AT_LEAST_1,
    "validate_images": _AT_LEAST_1,
    "patience": _AT_LEAST_1,
    "with_val": _YES_OR_NO,
    "workers": _AT_LEAST_1,
    "deterministic": _YES_OR_NO,
}


# What is larger is a slip, and would take all memory or make every number infinite.
_MOST: dict[str, float] = {
    "epochs": 100_000,
    "minutes": 1_000_000,
    "batch_size": 100_000,
    "seed": 2**63 - 1,
    "learning_rate": 1000,
    "backbone_rate": 1000,
    "weight_decay": 1000,
    "dice": 1000,
    "center": 1_000_000,
    "offset": 1_000_000,
    "distillation": 1_000_000,
    "temperature": 1000,
    "validate_every": 100_000,
    "validate_images": 10_000_000,
    "patience": 100_000,
    "workers": 1000,
}
_OPTIONAL = (
    "minutes", "size", "crop", "clip_norm", "freeze", "class_weights", "validate_images",
    "patience",
)  # fmt: skip
# Steps times (1 - decay): how often a running average is renewed within a training.
_FORGETTING = 20


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Times that each training image is seen.
        minutes: Instead of epochs: train for this long, validation and checkpoints included. The
            rate falls with the time that is left, so it is 0 at the end however fast the machine
            turns out to be. The training goes in parts of about a fortieth of the time, and
            `epochs` in the run folder and the rows of its history are parts.
        batch_size: Images in a step.
        size: Working size, (height, width) that images are fitted into; None keeps their own.
        crop: (height, width) of training crops, multiples of 32; None takes the working size, or
            the first image's, rounded up to 32.
        seed: Seeds image order and augmentation; seed the weights yourself.
        optimizer: "adamw" or "sgd" (momentum 0.9).
        learning_rate: The highest learning rate, at which the decoder learns.
        backbone_rate: Rate of the backbone as a fraction of learning_rate; 1 suits random weights.
            Of networks that kseg builds; others are trained at one rate.
        weight_decay: How fast kernels shrink (AdamW's decoupled decay).
        clip_norm: Gradients are scaled down to this norm, those of the backbone and those of the
            rest each where their rates differ; None for never.
        schedule: "cosine" or "poly" (power 0.9), both down to 0.
        warmup: Fraction of the steps in which the rate rises from 0.
        freeze: Endpoint up to which the backbone keeps its weights and norms; None trains all.
        freeze_norms: Whether all batch norms keep their statistics, scales and offsets, and
            normalize by those statistics in training too, as they do afterwards. For a short last
            stage of a trained network, at a tenth of the rate.
        average: Largest decay of the running average of all weights, batch-norm statistics
            included, which is what is evaluated and kept; 0 for none. Short runs take a smaller
            one, so that the average spans about a twentieth of the steps.
        norm_momentum: Largest momentum of batch norms; short runs take a smaller one. With
            Keras's 0.99 statistics need a thousand steps, and a run of a hundred scores nothing.
        class_weights: "auto" raises rare classes (`kseg.losses.balanced_class_weights`); None
            weighs pixels alike.
        logit_adjustment: How far a network leaves out of its logits what class weights put into
            them, 0 to 1 (`kseg.losses.SparseCrossEntropy`). Rare classes are learned as fast, but
            no longer found where they are not.
        loss: Name of a loss in `kseg.losses.LOSSES`; `kseg.fit(..., loss=)` takes any other.
        dice: Weight of the soft Dice loss beside cross entropy in "cross_entropy_dice".
        center: Weight of the squared error of centres, beside a weight of 1 of `loss`, in a
            network that tells objects apart; others have no use for it.
        offset: Weight of the offsets' distance in pixels, likewise. In the paper it is 0.01, for
            objects that are ten times as large as nuclei; one short run of those did a little
            better with 0.1.
        distillation: Weight of a teacher's logits beside that, where `kseg.fit` has a teacher.
        temperature: What the logits of teacher and model are divided by before they are compared;
            above 1, wrong classes that the teacher finds likely count more.
        scale: Smallest and largest random enlargement.
        flip: Whether half the images are mirrored.
        turn: Whether crops are turned as well: square ones to any of their four sides, others
            upside down or not. It suits images without an above and a below, as from a microscope
            or from the air.
        focus: How many of the crops, 0 to 1, are put around a pixel of a class that is drawn from
            those in the image, each as likely, so that rare ones are seen. It suits crops that
            show a small part of an image.
        color: Largest relative change of brightness, contrast and saturation.
        validate_every: Epochs between evaluations. By minutes, they are rarer where they would take
            over an eighth of the time.
        validate_images: How many validation images, spread evenly, these evaluations use; None
            for all.
        patience: Stop after so many evaluations in a row without a better mean IoU; None never.
        with_val: Whether the validation images are trained on too, for the last training of all,
            once they have done their part. They can then judge no longer: nothing is evaluated,
            and the last weights are the best.
        workers: Threads that prepare images beside the training step; quantization-aware training
            prepares them itself, between steps.
        deterministic: Whether TensorFlow must use ops that give the same bits every time.
    """

    epochs: int = 30
    minutes: float | None = None
    batch_size: int = 8
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    seed: int = 0
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    backbone_rate: float = 0.2
    weight_decay: float = 0.02
    clip_norm: float | None = 5.0
    schedule: str = "cosine"
    warmup: float = 0.03
    freeze: str | None = None
    freeze_norms: bool = False
    average: float = 0.99
    norm_momentum: float = 0.97
    class_weights: str | None = "auto"
    logit_adjustment: float = 0.5
    loss: str = "cross_entropy_dice"
    dice: float = 0.5
    center: float = 200.0
    offset: float = 0.1
    distillation: float = 1.0
    temperature: float = 2.0
    scale: tuple[float, float] = (0.7, 1.6)
    flip: bool = True
    turn: bool = False
    focus: float = 0.0
    color: float = 0.3
    validate_every: int = 1
    validate_images: int | None = None
    patience: int | None = None
    with_val: bool = False
    workers: int = 1
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: If one is out of range; it is named.
        """
        for name, (holds, rule) in _RULES.items():
            value: Any = getattr(self, name)
            # A list stands for a tuple, as JSON gives it back.
            value = tuple(value) if isinstance(value, list) else value
            object.__setattr__(self, name, value)
            if value is None and name in _OPTIONAL:
                continue
            try:
                right = value is not None and holds(value)
            except TypeError:  # a number for a pair, or a word for a number
                right = False
            if not right:
                raise ValueError(f"{name} must be {rule}; got {_short(value)}.")
            if name in _MOST and value > _MOST[name]:
                raise ValueError(f"{name} must be at most {_MOST[name]:,}; got {_short(value)}.")
            if name in ("size", "crop") and value[0] * value[1] > MOST_PIXELS:
                raise ValueError(f"{name} must be at most {MOST_PIXELS:,} pixels; got {value}.")
        if self.crop and (self.crop[0] % 32 or self.crop[1] % 32):
            up = tuple(side + -side % 32 for side in self.crop)
            raise ValueError(
                f"crop must be multiples of 32, so that all stages of the network are even; got "
                f"{self.crop[0]} x {self.crop[1]}. Take {up[0]} x {up[1]}."
            )

    def suited(self, limit: float, steps: int) -> float:
        """Returns a decay that forgets within about a twentieth of the steps.

        Args:
            limit: The largest decay.
            steps: How many steps the whole training has.
        """
        return min(limit, max(0.5, 1 - _FORGETTING / steps))


def _short(value: Any) -> str:
    """Returns how a value is written, cut where it is long; Python refuses 5,000 digits."""
    if type(value) is int and abs(value) >= 10**40:
        return "a number of over 40 digits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
