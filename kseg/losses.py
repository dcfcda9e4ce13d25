"""Losses on logits, centres and offsets, blind to the ignored class."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from kseg.classes import IGNORE_CLASS


@keras.saving.register_keras_serializable("kseg")
class SparseCrossEntropy(keras.losses.Loss):
    """Cross entropy of label maps and logits: the mean over the pixels that are not ignored.

    A batch in which every pixel is ignored has a loss of 0.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        ignore_class: int = IGNORE_CLASS,
        logit_adjustment: float = 0.0,
        name: str = "sparse_cross_entropy",
    ):
        """Makes the loss.

        Args:
            class_weights: Factor of each class's pixels; None for 1. With weights whose mean
                over the pixels is 1 (`balanced_class_weights`) the loss keeps its scale.
            ignore_class: Label of the pixels that do not count.
            logit_adjustment: How much of the logarithm of its weight is added to each class's
                logit here, so that the model has no need to. With class weights alone, rare
                classes are found where they are not: a model learns scores in proportion to
                weight times likelihood. 1 takes the weight out of them again, 0 leaves it in.
            name: The name of the loss.

        Raises:
            ValueError: If logits are to be adjusted by a weight of 0.

        Source: Menon et al., Long-tail learning via logit adjustment, ICLR 2021,
        https://arxiv.org/abs/2007.07314 (there by how frequent a class is, without weights).
        """
        super().__init__(name=name, reduction="sum")  # of one number: the mean is taken here
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.ignore_class, self.logit_adjustment = ignore_class, float(logit_adjustment)
        if self.logit_adjustment and class_weights is not None and min(class_weights) <= 0:
            raise ValueError("logit_adjustment needs class_weights above 0.")

    def call(self, y_true, y_pred):
        """Returns the loss.

        Args:
            y_true: Label maps, integers (N, H, W).
            y_pred: Logits (N, H, W, num_classes).
        """
        labels, valid = _labels(y_true, self.ignore_class)
        y_pred = self.adjusted(y_pred)
        loss = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        weights = ops.cast(valid, loss.dtype)
        count = ops.maximum(ops.sum(weights), 1.0)
        if self.class_weights is not None:
            table = ops.convert_to_tensor(self.class_weights, loss.dtype)
            weights = weights * ops.take(table, labels)
        return ops.sum(loss * weights) / count

    def adjusted(self, logits):
        """Returns the logits (N, H, W, num_classes) as the loss sees them."""
        if self.class_weights is None or not self.logit_adjustment:
            return logits
        added = self.logit_adjustment * np.log(self.class_weights)
        return logits + ops.convert_to_tensor(added, logits.dtype)

    def get_config(self):
        """Returns the arguments that make this loss."""
        return {
            "class_weights": self.class_weights,
            "ignore_class": self.ignore_class,
            "logit_adjustment": self.logit_adjustment,
            "name": self.name,
        }


@keras.saving.register_keras_serializable("kseg")
class SoftDice(keras.losses.Loss):
    """1 - Dice coefficient of softmax scores, averaged over the classes that the batch shows.

    Dice of class c is 2 * sum(p * t) / (sum(p) + sum(t)) over the pixels of the batch that are
    not ignored; it weighs small classes as much as large ones.

    Source: Milletari et al., 3DV 2016, https://arxiv.org/abs/1606.04797, with plain sums in the
    denominator (there: sums of squares).
    """

    def __init__(self, ignore_class: int = IGNORE_CLASS, name: str = "soft_dice"):
        """Makes the loss.

        Args:
            ignore_class: Label of the pixels that do not count.
            name: The name of the loss.
        """
        super().__init__(name=name, reduction="sum")
        self.ignore_class = ignore_class

    def call(self, y_true, y_pred):
        """Returns the loss.

        Args:
            y_true: Label maps, integers (N, H, W).
            y_pred: Logits (N, H, W, num_classes).
        """
        labels, valid = _labels(y_true, self.ignore_class)
        valid = ops.expand_dims(ops.cast(valid, y_pred.dtype), -1)
        scores = ops.softmax(y_pred) * valid
        targets = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype) * valid
        axes = (0, 1, 2)
        pixels = ops.sum(targets, axes)
        dice = 2 * ops.sum(scores * targets, axes) / (ops.sum(scores, axes) + pixels + 1e-6)
        present = ops.cast(pixels > 0, y_pred.dtype)
        return ops.sum((1 - dice) * present) / ops.maximum(ops.sum(present), 1.0)

    def get_config(self):
        """Returns the arguments that make this loss."""
        return {"ignore_class": self.ignore_class, "name": self.name}


@keras.saving.register_keras_serializable("kseg")
class CrossEntropyDice(keras.losses.Loss):
    """`SparseCrossEntropy` plus a share of `SoftDice`, what `kseg.fit` trains with."""

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        dice: float = 0.5,
        ignore_class: int = IGNORE_CLASS,
        logit_adjustment: float = 0.0,
        name: str = "cross_entropy_dice",
    ):
        """Makes the loss.

        Args:
            class_weights: As for `SparseCrossEntropy`.
            dice: Factor of the Dice loss; 0 leaves it out.
            ignore_class: Label of the pixels that do not count.
            logit_adjustment: As for `SparseCrossEntropy`; the Dice loss sees the same logits.
            name: The name of the loss.
        """
        super().__init__(name=name, reduction="sum")
        self.cross_entropy = SparseCrossEntropy(class_weights, ignore_class, logit_adjustment)
        self.soft_dice, self.dice = SoftDice(ignore_class), float(dice)

    def call(self, y_true, y_pred):
        """Returns the loss; arguments as `SparseCrossEntropy.call`."""
        loss = self.cross_entropy.call(y_true, y_pred)
        if not self.dice:
            return loss
        return loss + self.dice * self.soft_dice.call(y_true, self.cross_entropy.adjusted(y_pred))

    def get_config(self):
        """Returns the arguments that make this loss."""
        return {**self.cross_entropy.get_config(), "dice": self.dice, "name": self.name}


@keras.saving.register_keras_serializable("kseg")
class HeatmapError(keras.losses.Loss):
    """Squared error of heatmaps of centres: the mean over the pixels that count."""

    def __init__(self, name: str = "heatmap_error"):
        """Makes the loss."""
        super().__init__(name=name, reduction="sum")

    def call(self, y_true, y_pred):
        """Returns the loss.

        Args:
            y_true: "center" of `kseg.data.targets.targets_of`, (N, H, W, 2): heatmap and weight.
            y_pred: Heatmaps (N, H, W, 1).
        """
        weights = y_true[..., 1:]
        error = ops.square(y_pred - y_true[..., :1])
        return ops.sum(error * weights) / ops.maximum(ops.sum(weights), 1.0)

    def get_config(self):
        """Returns the arguments that make this loss."""
        return {"name": self.name}


@keras.saving.register_keras_serializable("kseg")
class OffsetError(keras.losses.Loss):
    """Distance of offsets along rows and columns (L1): the mean over both and the objects' pixels.

    A batch without objects has a loss of 0.
    """

    def __init__(self, name: str = "offset_error"):
        """Makes the loss."""
        super().__init__(name=name, reduction="sum")

    def call(self, y_true, y_pred):
        """Returns the loss.

        Args:
            y_true: "offset" of `kseg.data.targets.targets_of`, (N, H, W, 3): dy, dx and weight.
            y_pred: Offsets (N, H, W, 2), in pixels.
        """
        weights = y_true[..., 2:]
        error = ops.abs(y_pred - y_true[..., :2])
        return ops.sum(error * weights) / ops.maximum(2 * ops.sum(weights), 1.0)

    def get_config(self):
        """Returns the arguments that make this loss."""
        return {"name": self.name}


class OnLabelMaps(keras.losses.Loss):
    """A loss of Keras on label maps and logits or scores, blind to the ignored class.

    A "Sparse" one is given class ids, any other one-hot classes; one of scores a softmax of logits.
    Pixels that are ignored are in no mean. For a loss of one value, such as `Dice`, they are 0.
    """

    def __init__(self, loss: keras.losses.Loss, scores: bool = False):
        """Makes the loss.

        Args:
            loss: A loss of `keras.losses`.
            scores: Whether the model gives scores, which add up to 1, in place of logits.
        """
        super().__init__(name=loss.name, reduction="sum")
        self.loss = loss
        self.sparse = type(loss).__name__.startswith("Sparse")
        # A loss of Keras keeps its options in a wrapped function's arguments.
        options = getattr(loss, "_fn_kwargs", {})
        logits = bool(getattr(loss, "from_logits", options.get("from_logits", False)))
        if scores and logits:
            raise ValueError("model ends in scores; give the loss from_logits=False.")
        self.as_it_is = scores or logits

    def call(self, y_true, y_pred):
        """Returns the loss; arguments as `SparseCrossEntropy.call`."""
        labels, valid = _labels(y_true, IGNORE_CLASS)
        valid = ops.cast(valid, y_pred.dtype)
        scores = y_pred if self.as_it_is else ops.softmax(y_pred)
        if "Categorical" not in type(self.loss).__name__:
            scores = 1.0 * scores  # or Keras finds the softmax's logits, and takes a sigmoid's
        if not self.sparse:
            labels = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
            labels = labels * ops.expand_dims(valid, -1)
        values = self.loss.call(labels, scores)
        if len(values.shape) != 3:
            return ops.mean(self.loss.call(labels, scores * ops.expand_dims(valid, -1)))
        return ops.sum(values * valid) / ops.maximum(ops.sum(valid), 1.0)


LOSSES: dict[str, Callable[[Sequence[float] | None, float, float], keras.losses.Loss]] = {
    "cross_entropy_dice": lambda class_weights, dice, logit_adjustment: CrossEntropyDice(
        class_weights, dice, logit_adjustment=logit_adjustment
    ),
    "cross_entropy": lambda class_weights, dice, logit_adjustment: SparseCrossEntropy(
        class_weights, logit_adjustment=logit_adjustment
    ),
    "dice": lambda class_weights, dice, logit_adjustment: SoftDice(),
}
"""Name to a function of class weights, the weight of the Dice part and the adjustment of logits,
each of which a loss may pass over."""


def loss_on_label_maps(loss: keras.losses.Loss, scores: bool = False) -> keras.losses.Loss:
    """Returns a loss that takes label maps (N, H, W) and logits (N, H, W, num_classes).

    Args:
        loss: One of Keras is made to; any other is taken to do so as it is.
        scores: Whether the model gives scores in place of logits.
    """
    known = type(loss).__module__.startswith("keras.")
    return OnLabelMaps(loss, scores) if known else loss


def _labels(label_maps, ignore_class):
    """Returns the label maps with 0 for the ignored class, and which pixels count."""
    labels = ops.cast(label_maps, "int32")
    valid = labels != ignore_class
    return ops.where(valid, labels, 0), valid


def balanced_class_weights(pixels: np.ndarray, offset: float = 1.04) -> tuple[float, ...]:
    """Returns weights that raise rare classes: 1 / ln(offset + share of the pixels).

    Args:
        pixels: Pixels of each class in the training label maps, (num_classes,).
        offset: The nearer to 1, the larger the weights of rare classes.

    Returns:
        Weights whose mean over the pixels is 1; a class without pixels has the largest weight.

    Source: Paszke et al., ENet, 2016, https://arxiv.org/abs/1606.02147 (there with 1.02).
    """
    shares = np.asarray(pixels, "float64") / max(1, np.sum(pixels))
    weights = 1 / np.log(offset + shares)
    return tuple((weights / max(1e-12, float(np.sum(weights * shares)))).tolist())
