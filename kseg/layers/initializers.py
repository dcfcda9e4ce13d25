"""Initializers that make a new kernel interpolate, or pass its input on."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kseg")
class BilinearKernel(keras.initializers.Initializer):
    """Makes a transposed convolution start as bilinear interpolation, channel by channel.

    The kernel is the separable triangle that is widest for its size: with strides of
    `kernel_size / 2` the transposed convolution is the half-pixel bilinear resize away from the
    border. Each channel is upsampled by itself; training may mix them.

    Source: `upsample_filt` in the FCN reference code (surgery.py, Long et al., 2015).
    """

    def __call__(self, shape, dtype=None):
        """Returns the kernel.

        Args:
            shape: (height, width, output channels, input channels), the order of Conv2DTranspose.
            dtype: Type of the kernel's numbers; Keras's float type by default.

        Raises:
            ValueError: If the kernel is not square or its channels differ.
        """
        height, width, out_channels, in_channels = shape
        if height != width or out_channels != in_channels:
            raise ValueError(
                "BilinearKernel needs a square kernel with as many output as input channels; "
                f"got shape {tuple(shape)}. Use it in Conv2DTranspose(channels, k, k // 2)."
            )
        # The triangle's peak lies on a tap for odd sizes and between two for even ones.
        factor = (height + 1) // 2
        centre = factor - 1 if height % 2 else factor - 0.5
        triangle = 1 - np.abs(np.arange(height) - centre) / factor
        kernel = np.zeros(shape, "float32")
        for channel in range(out_channels):
            kernel[:, :, channel, channel] = np.outer(triangle, triangle)
        return ops.convert_to_tensor(kernel, dtype or keras.config.floatx())


@keras.saving.register_keras_serializable("kseg")
class IdentityKernel(keras.initializers.Initializer):
    """Makes a convolution start as the identity: its middle tap passes each channel on.

    Source: Yu and Koltun, ICLR 2016, https://arxiv.org/abs/1511.07122, equation 4.
    """

    def __call__(self, shape, dtype=None):
        """Returns the kernel.

        Args:
            shape: (height, width, input channels, output channels), the order of Conv2D.
            dtype: Type of the kernel's numbers; Keras's float type by default.

        Raises:
            ValueError: If a side is even or the channels differ.
        """
        height, width, in_channels, out_channels = shape
        if not (height % 2 and width % 2 and in_channels == out_channels):
            raise ValueError(
                "IdentityKernel needs odd sides and as many output as input channels; got shape "
                f"{tuple(shape)}."
            )
        kernel = np.zeros(shape, "float32")
        kernel[height // 2, width // 2] = np.eye(in_channels)
        return ops.convert_to_tensor(kernel, dtype or keras.config.floatx())
