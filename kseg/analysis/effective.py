"""The effective receptive field: where in the image the gradient of one position lies.

Source: Luo, Li, Urtasun and Zemel, NeurIPS 2016, https://arxiv.org/abs/1701.04128.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

# Pixels with less influence than this do not count. In the paper's figures a normal distribution
# has this part of its peak at two standard deviations.
_THRESHOLD = 1 - 0.9545
_IMAGES = 4


def influence_map(
    model: keras.Model,
    size: tuple[int, int],
    layer: str | None = None,
    *,
    images: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Measures how much each pixel moves the central position of a map.

    Args:
        model: A functional model with one image as its input. Its weights are not changed. They
            matter: a trained network and one with random weights have different maps.
        size: (height, width) of the images in pixels.
        layer: Name of the layer whose output is looked at, or None for the model's output.
        images: Images (height, width, channels), 0..255; by default four of random pixels.

    Returns:
        The influence of each pixel, float32 (height, width), as a fraction of the largest, 0..1. It
        is the absolute gradient of the sum of the position's channels, summed over the channels of
        the image and averaged over the images.

    Raises:
        ValueError: If the images have another size, or no pixel moves the position (the network
            is dead on these images).
    """
    if images is None:
        rng = np.random.default_rng(0)
        channels = model.inputs[0].shape[-1] or 3
        images = list(rng.uniform(0, 255, (_IMAGES, *size, channels)))
    if any(np.shape(image)[:2] != tuple(size) for image in images):
        raise ValueError(f"images must be of size {tuple(size)}; resize them first.")
    output = model.outputs[0] if layer is None else model.get_layer(layer).output
    probe = _Probe(keras.Model(model.inputs[0], output), np.shape(images[0]))
    # The step that SGD takes at a rate of 1 is the gradient, on every backend.
    probe.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: ops.sum(y), run_eagerly=True)
    total = np.zeros(size, "float32")
    for image in images:
        probe.offset.assign(np.zeros(probe.offset.shape, "float32"))
        probe.train_on_batch(np.asarray(image, "float32")[None], np.zeros((1, 1), "float32"))
        total += np.abs(probe.offset.numpy()).sum(axis=-1)
    if not total.max() > 0:
        raise ValueError(
            f"No pixel moves {layer or 'the output'} on these images: the network is dead there; "
            "train it, or pass images that it responds to."
        )
    return total / total.max()


def effective_side(influence: np.ndarray) -> float:
    """Returns the side of the square that is as large as the effective receptive field.

    Args:
        influence: What `influence_map` returns.

    Returns:
        Pixels: the square root of how many pixels have more than 4.55 % of the largest influence.
    """
    return float(np.sqrt(np.count_nonzero(influence > _THRESHOLD)))


class _Probe(keras.Model):
    """A model whose only trainable weight is added to the image."""

    def __init__(self, features: keras.Model, shape: tuple[int, ...]):
        super().__init__(name="probe")
        self.offset = self.add_weight(shape=shape, initializer="zeros", name="offset")
        # In a closure, Keras does not find the model, so its weights are no weights of this one.
        self.features = lambda images: features(images, training=False)

    def call(self, images):
        maps = self.features(images + self.offset)
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
