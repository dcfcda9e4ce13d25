import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from export import load_tflite
from export.compression.bridge import read_graph
from export.compression.qat_graph import quantized_outputs, round_kernel
from kseg.layers import BedOfNails, MaxUnpooling


def _blocks():
    """Every way in which the file quantizes a layer, and each kind of convolution before a ReLU."""
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 128, -127 / 128)(image)
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="plain")(x))
    x = layers.Rescaling(np.linspace(0.5, 2, 8).tolist(), 0.1, name="by_channel")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid", name="gate")(squeezed)
    x = layers.BatchNormalization()(layers.Multiply()([x, gate]))
    pooled = layers.MaxPooling2D()(x)
    back = [MaxUnpooling()([pooled, x]), BedOfNails()(pooled)]
    back += [layers.UpSampling2D(2, interpolation="bilinear")(layers.AveragePooling2D(2)(x))]
    x = layers.Concatenate()([*back, layers.Average()(back)])
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="swish", name="swish")(x)
    x = layers.Add()([x, layers.Conv2D(8, 1, activation="hard_swish", name="hard")(x)])
    x = layers.MaxPooling2D()(layers.PReLU(shared_axes=[1, 2])(x))
    x = layers.Conv2DTranspose(8, 4, 2, "same", use_bias=False, name="transposed")(x)
    return keras.Model(image, layers.Conv2D(3, 1, name="score")(layers.ReLU()(x)))


@pytest.fixture(scope="module")
def blocks():
    keras.utils.set_random_seed(3)
    model, rng = _blocks(), np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias", "alpha"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


def test_every_kind_of_layer_is_an_integer_op_and_equal(blocks, tmp_path, calibrate_network):
    rng = np.random.default_rng(1)
    small = np.rint(rng.uniform(0, 255, (8, 8, 8, 3)))
    images = np.kron(small, np.ones((1, 4, 4, 1))).astype("float32")
    quantized = calibrate_network(blocks, images)
    path = tmp_path / "blocks.tflite"
    quantized.convert(path, input_size=(32, 32))  # check_graph refuses any float tensor
    emulation = quantized.at((32, 32))
    with load_tflite(path) as file:
        got, expected = file(images), emulation(images)
    step = file.output.scale
    assert np.abs(got - expected).mean() < step
    assert (got.argmax(-1) == expected.argmax(-1)).mean() > 0.97


def test_everything_that_is_stored_is_rounded_in_training(blocks, tmp_path):
    blocks.save(tmp_path / "blocks.keras")
    code = """
import json, sys
import keras, numpy as np
import kseg.layers
from export.compression.bridge import read_graph
from export.compression.qat_graph import KERNELS, calibrate, lower, quantized_outputs
from export.compression.qat_wrappers import wrapped
graph, _ = lower(read_graph(keras.saving.load_model(sys.argv[1]), (32, 32)))
noise = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
ranges = calibrate(graph, [noise])
trained = wrapped(graph, ranges, 2)
names = [v.name.split(":")[0] for v in trained.network.variables]
print(json.dumps({
    "kernels": {n.name: n.kind for n in graph.nodes if n.kind in KERNELS},
    "rounded": [n for n in names if n.endswith("kernel_min")],
    "outputs": len(quantized_outputs(graph)),
    "ranges": len([n for n in names if n.endswith("output_min")]) + len(trained.fixed),
    "calibrated": all(np.isclose(float(v[1]), ranges[k][1]) for k, v in trained.limits.items()),
    "moved": float(np.abs(trained.network(noise).numpy()).max()),
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "blocks.keras")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    names = "plain by_channel separable_depthwise separable depthwise gate swish hard score"
    expected = {f"k_{name}" for name in [*names.split(), "transposed"]}
    # The norm behind Multiply, too, is a convolution in the file.
    kernels = {n for n in found["kernels"] if "batch_norm" not in n}
    assert kernels == expected
    assert set(found["kernels"].values()) == {"Conv2D", "Conv2DTranspose", "DepthwiseConv2D"}
    assert len(found["rounded"]) == len(found["kernels"]) == len(kernels) + 1
    assert found["ranges"] == found["outputs"]
    assert found["calibrated"]
    assert found["moved"] > 0


def test_outputs_of_fused_and_moving_layers_are_not_rounded():
    image = keras.Input((8, 8, 3))
    x = layers.ReLU(name="fused_relu")(layers.Conv2D(4, 3, name="fused")(image))
    x = layers.Conv2D(4, 1, name="used_twice")(layers.MaxPooling2D(name="pool")(x))
    x = layers.Concatenate(name="cat")([x, layers.ReLU(name="relu")(x)])
    x = layers.ReLU(1.0, name="not_fusable")(layers.Conv2D(4, 1, name="before")(x))
    x = layers.Softmax(name="scores")(layers.UpSampling2D(name="up")(x))
    found = quantized_outputs(read_graph(keras.Model(image, x), (8, 8)))
    names = ("fused_relu", "used_twice", "cat", "relu", "not_fusable", "before", "scores")
    assert found.keys() == {f"k_{name}" for name in names}
    assert found["k_scores"] == (0, 255 / 256)


def test_kernels_are_rounded_by_output_channel_by_hand():
    kernel = np.array([1.27, 0.014, -0.006, 0.0, 254.0, -3.0], "float32")
    got = round_kernel(kernel[None, None, :3, None].transpose(0, 1, 2, 3), "Conv2D")
    np.testing.assert_allclose(got.ravel(), [1.27, 0.01, -0.01], atol=1e-6)
    # Depthwise: each channel has its own scale, so each single tap is exact.
    got = round_kernel(kernel.reshape(1, 1, 6, 1), "DepthwiseConv2D")
    np.testing.assert_allclose(got.ravel(), kernel, rtol=1e-6)
    got = round_kernel(kernel.reshape(1, 1, 2, 3), "Conv2DTranspose")  # 2 output channels
    np.testing.assert_allclose(got.ravel(), [1.27, 0.01, -0.01, 0, 254, -4], atol=1e-5)
    got = round_kernel(kernel.reshape(1, 1, 6, 1), "DepthwiseConv2D", per_channel=False)
    np.testing.assert_allclose(got.ravel(), [2, 0, 0, 0, 254, -4], atol=1e-5)
