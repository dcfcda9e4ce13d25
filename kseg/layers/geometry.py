"""Layers that give every image size the same geometry: pad, resize, crop.

A stride-2 "same" convolution pads (0, 1) on even sizes and (1, 1) on odd ones, so coarse features
shift against fine ones with the parity of the size, and a network trained at one parity is worse
at the other. Models therefore pad their scaled input to a multiple of their stride
(`PadToStride`), where every stage is even, and crop the logits (`CropLike`).

All three layers take sizes that are known only at run time, and fixed ones. With fixed sizes each
becomes one PAD, RESIZE or STRIDED_SLICE in an exported file, or nothing where nothing is to do.
"""

import keras
from keras import ops

_INTERPOLATIONS = ("bilinear", "nearest")


@keras.saving.register_keras_serializable("kseg")
class PadToStride(keras.layers.Layer):
    """Pads with zeros at the bottom and right to a multiple of `stride`.

    Zeros stand for mid-gray, since the layer comes after the image was scaled to about -1..1.
    """

    def __init__(self, stride: int, **kwargs):
        """Makes the layer.

        Args:
            stride: Number of which height and width become multiples.
            **kwargs: Arguments that every Keras layer takes, such as its name.
        """
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x):
        """Pads x (N, H, W, C) to (N, ceil(H / stride) * stride, ceil(W / stride) * stride, C)."""
        height, width = ops.shape(x)[1:3]
        bottom, right = -height % self.stride, -width % self.stride
        if isinstance(bottom, int) and isinstance(right, int):
            return ops.pad(x, [[0, 0], [0, bottom], [0, right], [0, 0]]) if bottom or right else x
        # Amounts known only at run time: pad by the largest, then cut.
        most = self.stride - 1
        x = ops.pad(x, [[0, 0], [0, most], [0, most], [0, 0]])
        return x[:, : height + bottom, : width + right]

    def compute_output_shape(self, input_shape):
        """Returns the padded shape; unknown sizes stay unknown."""
        batch, *sizes, channels = input_shape
        return (batch, *(s if s is None else s + -s % self.stride for s in sizes), channels)

    def get_config(self):
        """Returns the arguments that make this layer."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("kseg")
class CropLike(keras.layers.Layer):
    """Cuts features at the bottom and right to the size of another tensor, the reference."""

    def call(self, inputs):
        """Cuts x of [x, reference] to the height and width of reference; both (N, H, W, C)."""
        x, reference = inputs
        height, width = ops.shape(reference)[1:3]
        if tuple(x.shape[1:3]) == (height, width):
            return x
        return x[:, :height, :width]

    def compute_output_shape(self, input_shape):
        """Returns the shape of x with the height and width of the reference."""
        x, reference = input_shape
        return (x[0], *reference[1:3], x[3])


@keras.saving.register_keras_serializable("kseg")
class Resize(keras.layers.Layer):
    """Enlarges features by a whole factor, with half-pixel centres.

    `keras.layers.UpSampling2D` and `keras.ops.image.resize` raise OperatorNotAllowedInGraphError
    on the TensorFlow backend when the size is known only at run time; this layer does not.
    """

    def __init__(self, scale: int, interpolation: str = "bilinear", **kwargs):
        """Makes the layer.

        Args:
            scale: Whole number by which height and width are multiplied.
            interpolation: "bilinear" or "nearest".
            **kwargs: Arguments that every Keras layer takes, such as its name.

        Raises:
            ValueError: If interpolation is neither of the two.
        """
        super().__init__(**kwargs)
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {_INTERPOLATIONS}; got {interpolation!r}."
            )
        self.scale = scale
        self.interpolation = interpolation

    def call(self, x):
        """Enlarges x (N, H, W, C) to (N, H * scale, W * scale, C)."""
        batch, height, width, channels = ops.shape(x)
        if isinstance(height, int) and isinstance(width, int):
            size = (height * self.scale, width * self.scale)
            return ops.image.resize(x, size, interpolation=self.interpolation)
        if self.interpolation == "nearest":
            return ops.repeat(ops.repeat(x, self.scale, axis=1), self.scale, axis=2)
        return ops.image.scale_and_translate(
            x,
            output_shape=(batch, height * self.scale, width * self.scale, channels),
            scale=ops.array([self.scale, self.scale], "float32"),
            translation=ops.zeros(2),
            spatial_dims=(1, 2),
            method="linear",
            antialias=False,
        )

    def compute_output_shape(self, input_shape):
        """Returns the enlarged shape; unknown sizes stay unknown."""
        batch, *sizes, channels = input_shape
        return (batch, *(s if s is None else s * self.scale for s in sizes), channels)

    def get_config(self):
        """Returns the arguments that make this layer."""
        config = {"scale": self.scale, "interpolation": self.interpolation}
        return {**super().get_config(), **config}
