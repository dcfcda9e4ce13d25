import json

import keras
import pytest
from keras import layers

import kseg
from kseg.analysis import describe, layer_table, summary


@pytest.fixture(scope="module")
def model():
    return kseg.build_fcn8s(3, backbone="separable", weights=None)


def _own(*outer):
    image = x = keras.Input((None, None, 3), name="image")
    for layer in outer:
        x = layer(x)
    return keras.Model(image, x)


def test_json_has_the_documented_keys(model):
    description = kseg.describe(model, (64, 96))
    facts = json.loads(json.dumps(description.to_json()))
    assert list(facts) == [
        "params", "macs", "receptive_field", "weights_bytes", "peak_activation_bytes", "layers",
    ]  # fmt: skip
    assert facts["receptive_field"]["c1"] == [3, 3]
    assert facts["layers"][2] == {
        "name": "stem_conv",
        "kind": "Conv2D",
        "output_shape": [32, 48, 8],
        "params": 3 * 3 * 3 * 8,
        "macs": 32 * 48 * 3 * 3 * 3 * 8,
        "weights_bytes": 3 * 3 * 3 * 8 + 4 * 8,
        "live_bytes": 64 * 96 * 3 * 2 + 32 * 48 * 8,
    }


def test_totals_are_sums_over_layers(model):
    description = describe(model, (64, 96))
    assert len(description.layers) == len(model.layers) - 1  # without the input
    for field in ("params", "macs", "weights_bytes"):
        total = sum(getattr(cost, field) for cost in description.layers)
        assert getattr(description, field) == total > 0
    assert description.params == model.count_params()
    live = max(cost.live_bytes for cost in description.layers)
    assert description.peak_activation_bytes == max(live, 64 * 96 * (3 + 2 * 3))


def test_size_counts_and_the_sizes_of_the_model_do_not(model):
    fixed = kseg.build_fcn8s(3, backbone="separable", weights=None, input_shape=(96, 64, 3))
    assert describe(fixed, (96, 64)) == describe(model, (96, 64))
    assert describe(model, (128, 128)).macs == 4 * describe(model, (64, 64)).macs
    padded, whole = describe(model, (40, 50)), describe(model, (64, 64))
    assert padded.macs == whole.macs and padded.size == (40, 50)
    assert padded.layers[-1].output_shape == (40, 50, 3)


def test_describing_leaves_no_trace(model):
    before = [len(layer._inbound_nodes) for layer in model.layers]
    weights = len(model.weights)
    describe(model, (64, 64))
    assert [len(layer._inbound_nodes) for layer in model.layers] == before
    assert len(model.weights) == weights
    assert model.get_layer("stem_conv").output.shape == (None, None, None, 8)


class Mixer(layers.Layer):
    """A layer of somebody's own, with weights."""

    def build(self, shape):
        self.mix = self.add_weight(shape=(shape[-1], 4), name="mix")

    def call(self, x):
        return keras.ops.matmul(x, self.mix)


class Flip(layers.Layer):
    def call(self, x):
        return keras.ops.flip(x, axis=1)


def test_own_layers_with_weights_are_named_as_not_counted():
    model = _own(layers.Conv2D(2, 1), Mixer(name="mixer"), Flip())
    description = describe(model, (8, 8))
    assert description.macs is None and description.to_json()["macs"] is None
    assert [cost.macs for cost in description.layers] == [64 * 3 * 2, None, 0]
    assert [cost.name for cost in description.not_counted] == ["mixer"]
    assert description.params == 8 + 8 and description.weights_bytes == 6 + 8 + 8
    text = summary(description)
    assert "at least 0.000 G; not counted: mixer (Mixer)" in text
    assert "receptive field, logits   not known" in text


def test_summary_and_layers_as_text(model):
    description = describe(model, (64, 96))
    lines = dict(line.split("  ", 1) for line in summary(description).splitlines())
    assert {name: text.strip() for name, text in lines.items()} == {
        "image": "64 x 96",
        "params": f"{model.count_params() / 1e6:.3f} M",
        "MACs": f"{description.macs / 1e9:.3f} G",
        "weights at int8": f"{description.weights_bytes / 1e6:.2f} MB",
        "peak activations at int8": f"{description.peak_activation_bytes / 1e6:.2f} MB",
        "receptive field, c1": "3 pixels",
        "receptive field, c2": "15 pixels",
        "receptive field, c3": "39 pixels",
        "receptive field, c4": "87 pixels",
        "receptive field, c5": "183 pixels",
        "receptive field, logits": "247 pixels",
    }
    rows = layer_table(description).splitlines()
    assert rows[0].split()[:3] == ["layer", "kind", "output"]
    assert len(rows) == 2 + len(description.layers)
    assert rows[4].split()[:2] == ["stem_conv", "Conv2D"]


@pytest.mark.parametrize(
    ("size", "match"),
    [
        ((64,), r"size must be \(height, width\) in pixels; got \(64,\)"),
        ((64, 0), r"size must be \(height, width\) in pixels; got \(64, 0\)"),
        ((64.0, 64), r"size must be \(height, width\) in pixels; got \(64.0, 64\)"),
    ],
)
def test_sizes_that_are_none_are_refused(model, size, match):
    with pytest.raises(ValueError, match=match):
        describe(model, size)


def test_models_that_cannot_be_followed_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="must be a functional or a built Sequential one"):
        describe(Own(), (8, 8))
    with pytest.raises(ValueError, match="must be a functional or a built Sequential one"):
        describe(keras.Sequential([layers.Dense(2)]), (8, 8))
    flat = keras.Input((7,))
    with pytest.raises(ValueError, match=r"must take one image .*; its inputs are \(None, 7\)"):
        describe(keras.Model(flat, layers.Dense(2)(flat)), (8, 8))
    fixed = keras.Input((16, 16, 3))
    with pytest.raises(ValueError, match=r"takes images of 16 x 16 pixels only; got size \(8, 8\)"):
        describe(keras.Model(fixed, layers.Conv2D(2, 1)(fixed)), (8, 8))


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_multispectral_networks_are_described(channels):
    """Only the first convolution differs: 3 x 3 taps for each of 8 filters."""
    shape = (None, None, channels)
    model = kseg.build_fcn8s(3, backbone="separable", weights=None, input_shape=shape)
    rgb = kseg.build_fcn8s(3, backbone="separable", weights=None)
    mine, other = describe(model, (64, 96)), describe(rgb, (64, 96))
    more = (channels - 3) * 9 * 8
    assert mine.params - other.params == more
    assert mine.macs - other.macs == more * 32 * 48
    assert mine.receptive_field == other.receptive_field
    assert describe(model, (64, 96), effective=True).effective["c1"] > 0
