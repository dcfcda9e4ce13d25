"""What Keras has no switch for and TensorFlow has."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


def enable_determinism() -> None:
    """Makes TensorFlow's ops give the same bits every time, for the rest of the process."""
    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def fused_norms(model: keras.Model) -> Iterator[None]:
    """Computes the batch norms that are being trained by TensorFlow's one op, for a while.

    Keras makes each of a dozen ops, which take a third of a training step on a CPU (measured with
    Keras 3.15 and TensorFlow 2.21). Results are equal but for rounding.

    Args:
        model: Norms of other axes than the last, or in other precisions than float32, stay Keras's.
    """
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and not layer.synchronized
        and layer.dtype_policy.name == "float32"
    ]
    for layer in norms:
        layer.call = _fused(layer)
    try:
        yield
    finally:
        for layer in norms:
            del layer.call


def _fused(layer: keras.layers.BatchNormalization):
    plain = layer.call

    def call(inputs, training=None, mask=None):
        if not training or not layer.trainable or len(inputs.shape) != 4:
            return plain(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, layer.gamma.value, layer.beta.value, epsilon=layer.epsilon
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        variance *= (count - 1) / count  # TensorFlow's is that of a sample, Keras's is not
        for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + batch * (1 - layer.momentum))
        return outputs

    return call
