"""Ways up by hand: nearest, bed of nails, max unpooling and transposed convolution."""

import keras
import numpy as np
import pytest
from keras import ops

from kseg.layers import BedOfNails, MaxUnpooling, Resize

COARSE = [[1, 2], [3, 4]]
# Its maxima lie at the four different places of their cells; the cell at the bottom left is a tie.
SOURCE = [[9, 0, 0, 9], [1, 2, 0, 0], [0, 7, 6, 5], [7, 7, 8, 9]]


def run(layer, *inputs):
    inputs = [np.float32(x)[None, ..., None] for x in inputs]
    y = layer(inputs if len(inputs) > 1 else inputs[0])
    return ops.convert_to_numpy(y)[0, ..., 0].tolist()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def cells(x):
    """Turns (N, 2 * H, 2 * W, C) into (N, H, W, 4, C): top left, top right, low left, low right."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4, channels)


def unpool(x, source):
    """Max unpooling value by value; of equal values the top one wins, then the left one."""
    placed = np.zeros_like(source)
    for n, i, j, c in np.ndindex(x.shape):
        cell = source[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        row, column = divmod(int(cell.argmax()), 2)
        placed[n, 2 * i + row, 2 * j + column, c] = x[n, i, j, c]
    return placed


def test_nearest_unpooling_fills_the_cell():
    grown = run(Resize(2, "nearest"), COARSE)
    assert grown == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_bed_of_nails_fills_the_top_left():
    grown = run(BedOfNails(), COARSE)
    assert grown == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]


def test_max_unpooling_fills_where_the_maximum_was():
    grown = run(MaxUnpooling(), COARSE, SOURCE)
    assert grown == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 4]]


def test_max_unpooling_undoes_max_pooling():
    source = noise(2, 8, 6, 3)
    pooled = keras.layers.MaxPooling2D(2)(source)
    again = keras.layers.MaxPooling2D(2)(ops.abs(MaxUnpooling()([pooled, source])))
    np.testing.assert_array_equal(again, ops.abs(pooled))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_max_unpooling_is_the_loop(batch, ties):
    source = noise(batch, 8, 6, 5)
    if ties:  # three values only, so that most cells have some
        source = np.clip(np.rint(source), -1, 1)
    x = noise(batch, 4, 3, 5, seed=1)
    grown = ops.convert_to_numpy(MaxUnpooling()([x, source]))
    np.testing.assert_array_equal(grown, unpool(x, source))
    assert ((cells(grown) != 0).sum(3) == 1).all()


@pytest.mark.parametrize("values", range(16))
def test_of_equal_values_the_top_one_wins_and_then_the_left_one(values):
    """All ways in which some of the four are largest."""
    cell = [values >> bit & 1 for bit in range(4)]
    grown = ops.convert_to_numpy(
        MaxUnpooling()([np.ones((1, 1, 1, 1)), np.reshape(cell, (1, 2, 2, 1))])
    )
    assert grown.ravel().tolist().index(1) == cell.index(max(cell)) and grown.sum() == 1


def model_of(layer, shape, batch=None):
    """A network of the layer between two poolings, so that both of its sizes follow the input's."""
    image = keras.Input(shape, batch_size=batch)
    x = keras.layers.MaxPooling2D(2)(image)
    x = layer([x, image]) if isinstance(layer, MaxUnpooling) else layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("make", [BedOfNails, MaxUnpooling])
def test_batches_and_sizes_known_only_at_run_time(make):
    dynamic = model_of(make(), (None, None, 3))
    assert dynamic.output_shape == (None, None, None, 3)
    for batch, height, width in [(2, 8, 6), (1, 2, 2), (3, 4, 10), (5, 6, 2), (2, 16, 16)]:
        x = noise(batch, height, width, 3)
        y = dynamic.predict(x, verbose=0, batch_size=batch)
        pooled = x.reshape(batch, height // 2, 2, width // 2, 2, 3).max((2, 4))
        if make is MaxUnpooling:
            expected = unpool(pooled, x)
        else:
            expected = np.zeros_like(x)
            expected[:, ::2, ::2] = pooled
        np.testing.assert_array_equal(y, expected)
        for known in (None, batch):
            static = model_of(make(), (height, width, 3), known)
            assert static.output_shape == (known, height, width, 3)
            np.testing.assert_array_equal(static.predict_on_batch(x), expected)


def test_gradient_reaches_what_is_placed_only_at_the_switches():
    import tensorflow as tf

    source, x = tf.constant(noise(2, 4, 6, 3)), tf.constant(noise(2, 2, 3, 3))
    weights = noise(2, 4, 6, 3, seed=2)
    with tf.GradientTape() as tape:
        tape.watch([source, x])
        total = tf.reduce_sum(MaxUnpooling()([x, source]) * weights)
    to_source, to_x = tape.gradient(total, [source, x])
    switches = cells(source.numpy()).argmax(3)[:, :, :, None]
    at_switch = np.take_along_axis(cells(weights), switches, 3)[:, :, :, 0]
    np.testing.assert_array_equal(to_x, at_switch)
    assert to_source is None or not np.any(to_source)


@pytest.mark.parametrize("make", [BedOfNails, MaxUnpooling])
def test_layer_survives_its_config_and_a_file(make, tmp_path):
    model = model_of(make(name="up"), (None, None, 2))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("up")) is make
    x = noise(1, 4, 4, 2)
    np.testing.assert_array_equal(loaded(x), model(x))


def transposed(kernel, strides, padding="valid"):
    layer = keras.layers.Conv2DTranspose(1, len(kernel), strides, padding, use_bias=False)
    layer.build((None, 2, 2, 1))
    layer.set_weights([np.float32(kernel)[..., None, None]])
    return layer


def test_transposed_convolution_stamps_its_kernel():
    grown = run(transposed([[1, 10], [100, 1000]], 2), COARSE)
    assert grown == [
        [1, 10, 2, 20],
        [100, 1000, 200, 2000],
        [3, 30, 4, 40],
        [300, 3000, 400, 4000],
    ]


def test_transposed_convolution_adds_where_stamps_overlap():
    grown = run(transposed(np.ones((3, 3)), 2), COARSE)
    assert grown == [
        [1, 1, 3, 2, 2],
        [1, 1, 3, 2, 2],
        [4, 4, 10, 6, 6],
        [3, 3, 7, 4, 4],
        [3, 3, 7, 4, 4],
    ]
    # "same" cuts what is over; Keras takes the odd row and column from the bottom and right.
    same = run(transposed(np.ones((3, 3)), 2, "same"), COARSE)
    assert same == [row[:4] for row in grown[:4]]
