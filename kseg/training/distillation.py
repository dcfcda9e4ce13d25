"""Learning from a larger network."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def taught(
    model: keras.Model, teacher: keras.Model | None, weight: float, temperature: float
) -> Iterator[None]:
    """Adds the distance from a teacher's scores to a model's loss, for a while.

    `keras.distillation.Distiller` would be a model around both, whose variables are not those that
    checkpoints and averages are made of; so only its loss is used.

    Args:
        model: The student, from images to logits.
        teacher: The larger network, likewise from images to logits; None changes nothing.
        weight: How much that distance counts beside the loss the model is compiled with.
        temperature: What the logits of both are divided by. Softer scores than the teacher's own
            show which wrong classes it finds likely.

    Source: Hinton, Vinyals and Dean, 2015, https://arxiv.org/abs/1503.02531.
    """
    if teacher is None:
        yield
        return
    # By its name, "kl_divergence", Keras 3.15 takes it of logits instead of scores.
    divergence = keras.losses.KLDivergence()
    distance = keras.distillation.LogitsDistillation(temperature, divergence)
    own = model.compute_loss

    def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits = keras.ops.stop_gradient(teacher(x, training=False))
        loss = own(x, y, y_pred, sample_weight, training)
        return loss + weight * distance.compute_loss(logits, y_pred)

    model.compute_loss = compute_loss
    try:
        yield
    finally:
        del model.compute_loss
