"""Ways up without weights: bed of nails and max unpooling.

Both put each value of a coarse map at one place of a 2 x 2 cell and zeros at the other three: bed
of nails always at the top left, max unpooling where the encoder's maximum was (its switch).
Nearest unpooling, which fills the cell, is `Resize(2, "nearest")`.

Every step is a 4-D op that has an integer kernel in LiteRT: neighbours in the fine map are
interleaved by a concatenation and a reshape, without transposes and without rank 5.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseg")
class BedOfNails(keras.layers.Layer):
    """Doubles height and width: each value at the top left of its cell, zeros beside it."""

    def call(self, x):
        """Maps x (N, H, W, C) to (N, 2 * H, 2 * W, C)."""
        batch, height, width, channels = _shape(x)
        # A pixel and a zero pixel after it; then a row and a zero row after it.
        x = ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, channels]])
        x = ops.reshape(x, (batch, height, 2 * width, channels))
        x = ops.pad(x, [[0, 0], [0, 0], [0, 2 * width], [0, 0]])
        return ops.reshape(x, (batch, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape):
        """Returns the doubled shape; unknown sizes stay unknown."""
        return _doubled(input_shape)


@keras.saving.register_keras_serializable("kseg")
class MaxUnpooling(keras.layers.Layer):
    """Undoes 2 x 2 max pooling: each value goes to where the maximum of its cell was.

    Source: Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901 (switches), and SegNet,
    Badrinarayanan et al., 2017, https://arxiv.org/abs/1511.00561.

    The switches are found again from the pooled map's source by comparing neighbours, first the
    rows of a cell, then the columns, so nothing but the features has to be kept. Of equal values
    the top one wins, then the left one: each value is placed exactly once, also in an integer
    file, where rounding makes ties. (Comparing the source with its own upsampled maximum would
    light every tied place.)
    """

    def call(self, inputs):
        """Places x of [x, source].

        Args:
            inputs: x (N, H, W, C) and source (N, 2 * H, 2 * W, C), what was pooled.

        Returns:
            x at the switches of source and zeros elsewhere, (N, 2 * H, 2 * W, C).
        """
        x, source = inputs
        top_left, top_right = source[:, ::2, ::2], source[:, ::2, 1::2]
        low_left, low_right = source[:, 1::2, ::2], source[:, 1::2, 1::2]
        is_top = ops.maximum(top_left, top_right) >= ops.maximum(low_left, low_right)
        nothing = ops.zeros_like(x)
        rows = []
        for chosen, left, right in (
            (ops.where(is_top, x, nothing), top_left, top_right),
            (ops.where(is_top, nothing, x), low_left, low_right),
        ):
            is_left = left >= right
            rows.append(_interleave_columns(is_left, chosen, nothing))
        batch, height, width, channels = _shape(x)
        # Side by side in memory, an upper and a lower row are two rows of the fine map.
        x = ops.concatenate(rows, axis=2)
        return ops.reshape(x, (batch, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape):
        """Returns the doubled shape of x; unknown sizes stay unknown."""
        return _doubled(input_shape[0])


def _interleave_columns(is_left, x, nothing):
    batch, height, width, channels = _shape(x)
    pair = [ops.where(is_left, x, nothing), ops.where(is_left, nothing, x)]
    return ops.reshape(ops.concatenate(pair, axis=3), (batch, height, 2 * width, channels))


def _shape(x):
    """Returns the shape with -1 for the batch, which reshape may infer."""
    return (-1, *ops.shape(x)[1:])


def _doubled(shape):
    batch, *sizes, channels = shape
    return (batch, *(size and 2 * size for size in sizes), channels)
