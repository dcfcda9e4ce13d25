"""Two ways to upsample without weights: bed of nails and max unpooling.

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
    """Doubles height and width: each value goes to the top left of its cell, beside zeros."""

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

    The switches are found again from what was pooled by comparing neighbours, first the rows of a
    cell, then the columns, so nothing but the features has to be kept. Of equal values the top one
    wins, then the left one: each value is placed exactly once, also in an integer file. (Comparing
    the source with its own upsampled maximum would light every tied place.)

    An integer file places its own maxima without error (tests/layers/test_unpooling_int8.py); what
    is lost is that rounding makes ties of values which differ. Of random-normal features 1.2 % go
    to a neighbour (same test); in a small SegNet trained on rectangles 2 to 12 % by stage, to
    neighbours that are lower by about a rounding step on average, and 98.7 % of its labels
    stay (tests/models/test_contract_int8.py).
    """

    def call(self, inputs):
        """Places x of [x, source].

        Args:
            inputs: The values x (N, H, W, C), and source (N, 2 * H, 2 * W, C), the map that was
                pooled.

        Returns:
            x at the switches of source and zeros elsewhere, (N, 2 * H, 2 * W, C).
        """
        x, source = inputs
        batch, height, width, channels = _shape(x)
        # A pooling, because the converter gives an `ops.maximum` a scale of its own and rounds
        # its inputs a second time.
        of_row = ops.max_pool(source, (1, 2), (1, 2))
        is_top = of_row[:, ::2] >= of_row[:, 1::2]
        # Side by side in memory, an upper and a lower row are two rows of the fine map.
        x = _place(x, is_top, axis=2)
        x = ops.reshape(x, (batch, 2 * height, width, channels))
        is_left = source[:, :, ::2] >= source[:, :, 1::2]
        x = _place(x, is_left, axis=3)
        return ops.reshape(x, (batch, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape):
        """Returns the doubled shape of x; unknown sizes stay unknown."""
        return _doubled(input_shape[0])


def _place(x, is_first, axis):
    """Returns x where it comes first and zeros elsewhere, then the opposite."""
    nothing = ops.zeros_like(x)
    pair = [ops.where(is_first, x, nothing), ops.where(is_first, nothing, x)]
    return ops.concatenate(pair, axis=axis)


def _shape(x):
    """Returns the shape with -1 for the batch, which reshape may infer."""
    return (-1, *ops.shape(x)[1:])


def _doubled(shape):
    batch, *sizes, channels = shape
    return (batch, *(size and 2 * size for size in sizes), channels)
