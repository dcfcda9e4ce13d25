"""Max unpooling and bed of nails in an integer file, number by number."""

import keras
import numpy as np
import pytest

from export import convert, full_integer, load_tflite
from kseg.layers import BedOfNails, MaxUnpooling

SIDE, CHANNELS = 32, 8


def cells(x):
    """Turns (H, W, C) into (H / 2, W / 2, 4, C): top left, top right, low left, low right."""
    x = x.reshape(SIDE // 2, 2, SIDE // 2, 2, CHANNELS)
    return x.transpose(0, 2, 1, 3, 4).reshape(SIDE // 2, SIDE // 2, 4, CHANNELS)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), "uint8") for _ in range(12)]


def network(layer):
    """Sums of 27 random bytes, which are nearly normal, pooled, unpooled, and as they are."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(image)
    source = keras.layers.Conv2D(CHANNELS, 3, padding="same", name="source")(x)
    x = keras.layers.MaxPooling2D(2)(source)
    x = layer([x, source]) if isinstance(layer, MaxUnpooling) else layer(x)
    return keras.Model(image, keras.layers.Concatenate()([x, source]))


def integers(model, images, path):
    """Converts the network, which checks that no number is a float; returns it and its outputs.

    The outputs are pairs of cells: what was placed and what was pooled, 0 for 0.
    """
    result = convert(model, full_integer(images), input_size=(SIDE, SIDE), path=path)
    with load_tflite(path) as file:
        outputs = [file.run(image[None])[0][0].astype(int) for image in images]
        outputs = [output - file.output.zero_point for output in outputs]
    pairs = [(cells(output[..., :CHANNELS]), cells(output[..., CHANNELS:])) for output in outputs]
    return result, pairs


def test_max_unpooling_places_each_integer_once_where_the_integer_maximum_was(images, tmp_path):
    model = network(MaxUnpooling())
    result, pairs = integers(model, images, tmp_path / "unpooling.tflite")
    assert result.agreement > 0.97
    assert "CUSTOM" not in result.report["ops"]
    moved = []
    for image, (placed, source) in zip(images, pairs, strict=True):
        first = source.argmax(2)  # of equal values the top one, then the left one
        at_switch = np.arange(4)[:, None] == first[:, :, None]
        np.testing.assert_array_equal(placed, np.where(at_switch, source, 0))
        floats = cells(model(np.float32(image[None])).numpy()[0, ..., CHANNELS:])
        moved.append(floats.argmax(2) != first)
        # A value moves only where another one is a rounding step beside it.
        largest, second = np.sort(source, 2)[:, :, :1:-1].transpose(2, 0, 1, 3)
        assert (largest - second)[moved[-1]].max() <= 1
    # Of two equal integers the first may be the one that was smaller: 1.2 % of these values.
    assert 0.005 < np.mean(moved) < 0.02


def test_bed_of_nails_places_each_integer_at_the_top_left(images, tmp_path):
    _, pairs = integers(network(BedOfNails()), images, tmp_path / "nails.tflite")
    for placed, source in pairs:
        np.testing.assert_array_equal(placed[:, :, 0], source.max(2))
        assert not placed[:, :, 1:].any()
