"""Learning rate as a function of the step."""

import math

import keras
from keras import ops

_POLY_POWER = 0.9  # DeepLab's


def learning_rate(step, *, peak: float, steps: int, warmup_steps: int, schedule: str):
    """Returns the rate of a step: a straight rise, then a fall to 0.

    Args:
        step: From 0, a number or a tensor of any Keras backend.
        peak: The highest rate.
        steps: How many steps the whole training has.
        warmup_steps: How many of them the rate rises in.
        schedule: "cosine" or "poly".

    Returns:
        The rate, a float32 tensor.
    """
    step = ops.cast(step, "float32")
    rise = (step + 1) / max(1, warmup_steps)
    progress = ops.clip((step - warmup_steps) / max(1, steps - warmup_steps), 0.0, 1.0)
    if schedule == "cosine":
        fall = 0.5 * (1 + ops.cos(math.pi * progress))
    else:
        fall = (1 - progress) ** _POLY_POWER
    return peak * ops.where(step < warmup_steps, rise, fall)


@keras.saving.register_keras_serializable("kseg")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`learning_rate` as a Keras schedule; arguments as there."""

    def __init__(self, peak: float, steps: int, warmup_steps: int, schedule: str):
        """See `learning_rate`."""
        self.peak, self.steps = peak, steps
        self.warmup_steps, self.schedule = warmup_steps, schedule

    def __call__(self, step):
        """Returns the rate of a step."""
        return learning_rate(step, **self.get_config())

    def get_config(self) -> dict:
        """Returns the arguments that make this schedule."""
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "schedule": self.schedule,
        }
