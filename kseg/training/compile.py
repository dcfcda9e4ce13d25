"""Getting a model ready for training: optimizer, loss, norms, frozen stages."""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from kseg.instances import tells_objects_apart
from kseg.losses import LOSSES, HeatmapError, OffsetError, balanced_class_weights
from kseg.training.backends import part_of_backend
from kseg.training.devices import Spread
from kseg.training.norms import norms_of
from kseg.training.recipe import Recipe
from kseg.training.schedule import WarmupDecay


def compile_model(model: keras.Model, recipe: Recipe, steps: int, loss: keras.losses.Loss) -> None:
    """Compiles a model as a recipe says.

    Args:
        model: The network; if it was built on a backbone, that learns at its own rate.
        recipe: The recipe.
        steps: How many steps an epoch has.
        loss: Takes label maps and logits; of a network that tells objects apart, the semantic
            ones.
    """
    total = steps * recipe.epochs
    spread = Spread.of(model)

    def optimizer(rate):
        # By minutes, `kseg.training.pace.Pace` sets the rate before each step.
        schedule = peak = recipe.learning_rate * rate
        if recipe.minutes is None:
            schedule = WarmupDecay(peak, total, round(total * recipe.warmup), recipe.schedule)
        decay = recipe.weight_decay
        if recipe.optimizer == "sgd":
            made = keras.optimizers.SGD(
                schedule, momentum=0.9, weight_decay=decay, global_clipnorm=recipe.clip_norm
            )
        else:
            made = keras.optimizers.AdamW(
                schedule, weight_decay=decay, global_clipnorm=recipe.clip_norm
            )
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return made

    built_on = getattr(model, "kseg_spec", {"arguments": {}})["arguments"].get("backbone")
    backbone = "|".join(layer.name for layer in _stage(model, "c5")) if built_on else ""
    if not backbone and recipe.backbone_rate not in (1, Recipe.backbone_rate):
        warnings.warn(
            "backbone_rate is for networks that kseg builds on a backbone; all layers of this one "
            "are trained at learning_rate.",
            stacklevel=4,
        )
    with spread.scope():
        chosen = optimizer(1)
        if backbone and recipe.backbone_rate != 1:
            slow = {f"(?:{backbone})/.*": optimizer(recipe.backbone_rate)}
            chosen = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(chosen, slow))
    # On CPUs XLA is several times slower than TensorFlow's own kernels.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    losses, weights = loss, None
    if tells_objects_apart(model):
        losses, weights = losses_of_objects(recipe, loss)
    if spread.what is not None and (backend_part := part_of_backend()):
        losses = keras.tree.map_structure(backend_part.OfAllReplicas, losses)
        backend_part.clip_whole_gradients(chosen)
    with spread.scope():
        model.compile(optimizer=chosen, loss=losses, loss_weights=weights, jit_compile=jit)
        model.optimizer.build(model.trainable_variables)
    for norm in norms_of(model):
        norm.momentum = recipe.suited(recipe.norm_momentum, total)


def losses_of_objects(
    recipe: Recipe, loss: keras.losses.Loss
) -> tuple[dict[str, keras.losses.Loss], dict[str, float]]:
    """Returns the losses of a network that tells objects apart, and their weights, by output.

    Args:
        recipe: The recipe.
        loss: That of the semantic logits.
    """
    losses = {"semantic": loss, "center": HeatmapError(), "offset": OffsetError()}
    return losses, {"semantic": 1.0, "center": recipe.center, "offset": recipe.offset}


class OfFunction(keras.losses.Loss):
    """A loss of one's own that is a function of label maps and logits; what it gives is averaged.

    Attributes:
        function: The function.
    """

    def __init__(self, function: Callable):
        """Makes the loss."""
        name = getattr(function, "__name__", type(function).__name__)
        super().__init__(name=name.strip("<>"))  # of a lambda, TensorFlow would refuse it
        self.function = function

    def call(self, y_true, y_pred):
        """Returns what the function gives for label maps (N, H, W) and logits (N, H, W, C)."""
        return self.function(y_true, y_pred)


def as_loss(loss: Any) -> keras.losses.Loss | None:
    """Returns a loss that is no name as an object of Keras; None stays None.

    A function of `keras.losses` is the class of its name, with its defaults.

    Raises:
        TypeError: If it is something else.
    """
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    what, function = type(loss).__name__, getattr(loss, "func", loss)  # the one in a `partial`
    if inspect.isclass(loss):
        what = f"the class {loss.__name__} (write {loss.__name__}())"
    elif str(getattr(function, "__module__", "")).startswith("keras."):
        classes = {name.lower(): each for name, each in vars(keras.losses).items()}
        found = classes.get(function.__name__.replace("_", ""))
        if inspect.isclass(found) and function is loss:
            return found()
        what = f"the function {function.__name__} of Keras (take its class)"
    elif callable(loss):
        return OfFunction(loss)
    raise TypeError(
        "loss must be a name of kseg.losses.LOSSES, a Keras loss, or a function of label maps and "
        f"logits; got {what}."
    )


def make_loss(recipe: Recipe, pixels: np.ndarray) -> keras.losses.Loss:
    """Returns the loss that a recipe names.

    Args:
        recipe: The recipe.
        pixels: How many pixels of each class the training label maps have, (num_classes,).
    """
    balanced = recipe.class_weights == "auto"
    weights = balanced_class_weights(pixels) if balanced else None
    return LOSSES[recipe.loss](weights, recipe.dice, recipe.logit_adjustment)


@contextlib.contextmanager
def frozen(model: keras.Model, recipe: Recipe) -> Iterator[None]:
    """Freezes what a recipe's `freeze` and `freeze_norms` name, and thaws it afterwards.

    Args:
        model: The network.
        recipe: The recipe.

    Raises:
        ValueError: If the stages of the model are not known.
    """
    level = recipe.freeze
    stage = _stage(model, level) if level else []
    if level and not stage:
        raise ValueError(
            f"freeze={level!r} needs a model that kseg built with such a stage; this one has "
            f"{', '.join(getattr(model, 'kseg_endpoints', {})) or 'no known stages'}."
        )
    if recipe.freeze_norms:
        stage += norms_of(model)
    thawed = [layer for layer in stage if layer.trainable]
    try:
        for layer in thawed:
            layer.trainable = False
        yield
    finally:
        for layer in thawed:
            layer.trainable = True


def quick_norms(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Computes batch norms the quick way, for a while, where the backend has one."""
    if (backend_part := part_of_backend()) is None:
        return contextlib.nullcontext()
    spread = Spread.of(model).what is not None
    return backend_part.synchronized_norms(model) if spread else backend_part.fused_norms(model)


def _stage(model: keras.Model, level: str) -> list[keras.layers.Layer]:
    """Returns the layers up to an endpoint of the encoder."""
    endpoints = getattr(model, "kseg_endpoints", {})
    if level not in endpoints:
        return []
    return keras.Model(model.inputs, model.get_layer(endpoints[level]).output).layers
