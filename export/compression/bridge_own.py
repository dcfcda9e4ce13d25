"""tf_keras layers and functions that the bridge needs and tf_keras lacks."""

import keras
import tensorflow as tf
import tf_keras


class Foreign(tf_keras.layers.Layer):
    """A Keras 3 layer without weights, run inside tf_keras."""

    def __init__(self, layer: keras.layers.Layer, name: str):
        """Wraps the layer."""
        super().__init__(name=name)
        # In a list within a tuple tf_keras does not look for variables of its own.
        self._foreign = (layer,)

    def call(self, inputs):
        """Calls the layer."""
        return self._foreign[0].call(inputs)


class FakeQuant(tf_keras.layers.Layer):
    """Rounds to the 256 steps of a range; its weights are the range's ends, 0 between them."""

    def build(self, input_shape):
        """Makes the ends."""
        self.low = self.add_weight("low", (), trainable=False)
        self.high = self.add_weight("high", (), trainable=False)
        super().build(input_shape)

    def call(self, x):
        """Rounds x."""
        return tf.quantization.fake_quant_with_min_max_vars(x, self.low, self.high)


OWN: dict[str, type[tf_keras.layers.Layer]] = {"FakeQuant": FakeQuant, "Foreign": Foreign}


def hard_swish(x):
    """Returns x * relu6(x + 3) / 6; in this form the converter knows it."""
    return x * tf.nn.relu6(x + 3.0) * (1 / 6)


def hard_sigmoid(x):
    """Returns relu6(x + 3) / 6; tf_keras's own has another slope."""
    return tf.nn.relu6(x + 3.0) * (1 / 6)


def swish(x):
    """Returns x * sigmoid(x); TensorFlow's own has a gradient that cannot be saved."""
    return x * tf.sigmoid(x)


def kernel_name(layer: tf_keras.layers.Layer) -> str:
    """Returns the attribute that holds the kernel of a convolution or dense layer."""
    return "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"


def one_scale(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    """Rounds the kernel of a layer in its graph, with one scale.

    TensorFlow's converter gives kernels a scale for each channel wherever it finds ranges of
    tensors in the graph but none of kernels; what it is told otherwise it forgets then.
    """
    name, plain = kernel_name(layer), layer.call

    def call(inputs):
        kernel = getattr(layer, name)
        limit = tf.reduce_max(tf.abs(kernel))
        fake = tf.quantization.fake_quant_with_min_max_vars
        # Not by setattr, which would move the kernel to the end of the layer's weights.
        vars(layer)[name] = fake(kernel, -limit, limit, narrow_range=True)
        try:
            return plain(inputs)
        finally:
            vars(layer)[name] = kernel

    layer.call = call
    return layer
