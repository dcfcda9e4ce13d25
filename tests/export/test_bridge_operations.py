"""Networks with operators and keras.ops among their layers cross to tf_keras."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from export import to_tf_keras
from export.compression.bridge import read_graph
from export.compression.qat_graph import lower

CONSTANT = np.array([0.5, 2.0, -1.0], "float32")

CALLS = {
    "add": lambda x: x + 3.0,
    "subtract": lambda x: x - 3,
    "subtract from": lambda x: 3.0 - x,
    "multiply": lambda x: 0.25 * x,
    "divide": lambda x: x / 255.0,
    "negative": lambda x: -x,
    "a number a channel": lambda x: x * CONSTANT,
    "of more axes": lambda x: x - CONSTANT.reshape(1, 1, 1, 3),
    "relu": ops.relu,
    "relu6": lambda x: ops.relu6(x / 20.0),
    "sigmoid": lambda x: ops.sigmoid(x / 255.0),
    "silu": lambda x: ops.silu(x / 255.0),
    "two": lambda x: x + layers.Conv2D(3, 1)(x),
    "itself": lambda x: x + x,
    "maximum": lambda x: ops.maximum(x, layers.Conv2D(3, 1)(x)),
    "product": lambda x: x * layers.Conv2D(3, 1)(x),
    "concatenate": lambda x: ops.concatenate([x, -x], -1),
    "cast": lambda x: ops.cast(x, "float32") / 2.0,
}


@pytest.mark.parametrize("name", CALLS)
def test_it_crosses(name):
    image = keras.Input((8, 8, 3))
    to_tf_keras(keras.Model(image, CALLS[name](image)), (8, 8))  # compares the outputs


@pytest.mark.parametrize(
    "call", [lambda x: 2 / x, lambda x: x**2.0, lambda x: x * np.ones((8, 1), "float32") * 2]
)
def test_what_does_not_cross_is_one_sentence(call):
    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"directly, which the bridge .* Use a layer") as said:
        to_tf_keras(keras.Model(image, call(image)), (8, 8))
    assert "\n" not in str(said.value)


def test_scaling_by_operators_is_left_to_the_input():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(2, 1)(image / 127.5 - 1.0))
    graph, scaling = lower(read_graph(model, (8, 8)))
    assert scaling == pytest.approx((1 / 127.5, -1.0))
    assert [node.kind for node in graph.nodes] == ["Conv2D"]


def test_a_network_of_operators_becomes_an_int8_file(calibrate_network, tmp_path):
    """As after quantization-aware training: lowered, calibrated, rounded and converted."""
    rng = np.random.default_rng(0)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, padding="same")(image / 255.0)
    y = ops.relu(layers.Conv2D(8, 3, padding="same")(x))
    x = ops.concatenate([x + y, 0.5 * y], -1)
    model = keras.Model(image, layers.Conv2D(3, 1)(x))
    blocks = rng.integers(0, 256, (8, 4, 4, 3), "uint8").repeat(8, 1).repeat(8, 2)
    quantized = calibrate_network(model, blocks.astype("float32"))
    result = quantized.convert(tmp_path / "x.tflite", input_size=(32, 32))
    assert result.report["input"]["shape"] == (1, 32, 32, 3)
    assert result.agreement > 0.9
