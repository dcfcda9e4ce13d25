"""Everything about a training that is not the network or the data."""

from dataclasses import dataclass

_CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "poly"),
    "freeze": (None, "c1", "c2", "c3", "c4", "c5"),
    "class_weights": (None, "auto"),
}


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Times that each training photo is seen.
        minutes: Instead of epochs: about as many as fit into this time. The speed is measured
            once, at the start, and `epochs` is what the run folder records.
        batch_size: Photos in a step.
        size: Working size, (height, width) that photos are fitted into; None keeps their own.
        crop: (height, width) of training crops, multiples of 32; None takes the working size, or
            the first photo's, rounded up to 32.
        seed: Of weights that start at random is the caller's; this one orders and varies photos.
        optimizer: "adamw" or "sgd" (momentum 0.9).
        learning_rate: Highest rate, of the decoder.
        backbone_rate: Rate of the backbone as a fraction of learning_rate.
        weight_decay: Of kernels; AdamW's, decoupled.
        clip_norm: Gradients are scaled down to this norm; None for never.
        schedule: "cosine" or "poly" (power 0.9), both down to 0.
        warmup: Fraction of the steps in which the rate rises from 0.
        freeze: Endpoint up to which the backbone keeps its weights and norms; None trains all.
        average: Decay of the running average of all weights, batch-norm statistics included,
            which is what is evaluated and kept; 0 for none.
        norm_momentum: Of batch norms. Keras's 0.99 needs thousands of steps.
        class_weights: "auto" raises rare classes (`kseg.losses.balanced_class_weights`); None
            weighs pixels alike.
        dice: Weight of the soft Dice loss beside cross entropy.
        scale: Smallest and largest random enlargement.
        flip: Whether half the photos are mirrored.
        color: Largest relative change of brightness, contrast and saturation.
        validate_every: Epochs between evaluations.
        workers: Threads that prepare photos beside the training step.
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
    average: float = 0.99
    norm_momentum: float = 0.97
    class_weights: str | None = "auto"
    dice: float = 0.5
    scale: tuple[float, float] = (0.7, 1.6)
    flip: bool = True
    color: float = 0.3
    validate_every: int = 1
    workers: int = 1
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: If one is out of range; it is named.
        """
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(str, choices))}; "
                    f"got {getattr(self, name)!r}."
                )
        for name in ("epochs", "batch_size", "validate_every", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("average", "norm_momentum", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to under 1; got {getattr(self, name)}.")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes must be above 0; got {self.minutes}.")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0; got {self.learning_rate}.")
        for name in ("size", "crop"):
            if getattr(self, name) is not None:
                height, width = getattr(self, name)
                object.__setattr__(self, name, (height, width))
                if height < 1 or width < 1:
                    raise ValueError(f"{name} must be (height, width); got {height} {width}.")
        if self.crop and (self.crop[0] % 32 or self.crop[1] % 32):
            up = tuple(side + -side % 32 for side in self.crop)
            raise ValueError(
                f"crop must be multiples of 32, so that all stages of the network are even; got "
                f"{self.crop[0]} x {self.crop[1]}. Take {up[0]} x {up[1]}."
            )
        object.__setattr__(self, "scale", tuple(self.scale))
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be (smallest, largest), above 0; got {self.scale}.")
