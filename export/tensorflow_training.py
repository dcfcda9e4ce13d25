"""What training with TensorFlow takes and Keras has no switch for.

`kseg.training.backends` loads it by name, so that nothing in kseg imports TensorFlow.
"""

import contextlib
import itertools
from collections.abc import Iterator

import keras
import tensorflow as tf

from kseg.training.devices import first_of
from kseg.training.norms import norms_of

_KEYS = itertools.count(0, 1000)  # of groups of devices; a strategy takes a few


def enable_determinism() -> None:
    """Makes TensorFlow's ops give the same bits every time, for the rest of the process."""
    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def mirrored(devices: int | str) -> Iterator[None]:
    """Makes variables on several devices of this host.

    Args:
        devices: How many; "all" of them.

    Raises:
        ValueError: If there are not as many.
    """
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    chosen = first_of(found, devices)
    if len(chosen) == 1:
        yield
        return
    with _Mirrored(chosen).scope():
        yield


class _Mirrored(tf.distribute.MirroredStrategy):
    """A strategy whose groups of devices have keys that no other one of the process has.

    TensorFlow counts them from 1 in each strategy: the second one of a process would join the
    groups of the first, which aborts all collective ops, or never ends.
    """

    def __init__(self, devices: list[str]):
        self._collective_key_base = next(_KEYS)
        super().__init__(devices)

    def experimental_distribute_dataset(self, dataset, options=None):
        """Hands a dataset out without TensorFlow's tuning of it.

        The tuning has nothing to tune here, and its thread may keep the end of a training waiting
        for a minute (TensorFlow 2.21, where an iterator ends while its tuner sleeps).
        """
        plain = tf.data.Options()
        plain.autotune.enabled = False
        return super().experimental_distribute_dataset(dataset.with_options(plain), options)


class OfAllReplicas(keras.losses.Loss):
    """A loss of the whole batch, which each replica computes of all logits.

    A mean of the replicas' own losses would differ: they have other classes and ignored pixels.
    """

    def __init__(self, loss: keras.losses.Loss):
        """Makes the loss."""
        super().__init__(name=loss.name, reduction="sum")
        self.loss = loss

    def call(self, y_true, y_pred):
        """Returns the loss of label maps and logits of this replica and the others."""
        replica = tf.distribute.get_replica_context()
        replicas = 1 if replica is None else replica.num_replicas_in_sync
        if replicas > 1:
            # Not all devices gather whole numbers; those up to 255 are exact as they are.
            targets = replica.all_gather(tf.cast(y_true, y_pred.dtype), axis=0)
            found = replica.all_gather(y_pred, axis=0)
            found.set_shape([None, *y_pred.shape[1:]])  # gathering forgets it
            y_true, y_pred = tf.cast(targets, y_true.dtype), found
        return self.loss(y_true, y_pred) / replicas  # they are summed


def clip_whole_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer clip the gradients of the whole batch, not those of each replica."""
    for each in getattr(optimizer, "optimizers", [optimizer]):
        each._clip_gradients = _clipping(each)


def _clipping(optimizer: keras.optimizers.Optimizer):
    plain = optimizer._clip_gradients

    def clip(grads):
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return plain(grads)
        clipped = plain(replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads)))
        return [grad / replica.num_replicas_in_sync for grad in clipped]  # they are summed again

    return clip


@contextlib.contextmanager
def synchronized_norms(model: keras.Model) -> Iterator[None]:
    """Takes the statistics of batch norms over all replicas, for a while."""
    norms = [norm for norm in norms_of(model) if not norm.synchronized]
    for layer in norms:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in norms:
            layer.synchronized = False


@contextlib.contextmanager
def fused_norms(model: keras.Model) -> Iterator[None]:
    """Computes the batch norms that are being trained by TensorFlow's one op, for a while.

    Keras makes each of a dozen ops, which take a third of a training step on a CPU (measured with
    Keras 3.15 and TensorFlow 2.21). Results are equal but for rounding.

    Args:
        model: Norms of other axes than the last, in other precisions than float32, with `renorm`,
            or of a class of their own stay what they are.
    """
    norms = [
        layer
        for layer in norms_of(model)
        if type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and not (layer.synchronized or getattr(layer, "renorm", False))
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
        if not training or not layer.trainable or len(inputs.shape) != 4 or mask is not None:
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
