"""Where a network ends, and whether in logits or in scores."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import kseg
from export import convert, float32, load_tflite
from export.graph.acceptance import heads_of
from export.graph.ends import strides
from kseg.analysis.graph import trace
from kseg.models.endings import ending_of

SIZE = (32, 32)


def _model(last, channels=3):
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(channels, 1)(layers.Rescaling(1 / 128, -1)(image))
    return keras.Model(image, last(x))


def _shares(x):
    p = ops.sigmoid(x)
    return ops.concatenate([1 - p, p], -1)


SCORES = {
    "two of one": lambda: _model(_shares, 1),
    "enlarged": lambda: _model(lambda x: layers.UpSampling2D(2)(layers.Softmax()(x))),
    "through a linear layer": lambda: _model(
        lambda x: layers.Activation("linear", dtype="float32")(layers.Softmax()(x))
    ),
    "a sigmoid for each class": lambda: _model(layers.Activation("sigmoid")),
    "log probabilities": lambda: _model(layers.Activation("log_softmax")),
    "logits": lambda: _model(layers.Activation("linear")),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_no_logits(name):
    logits = name in ("log probabilities", "logits")
    assert heads_of(SCORES[name](), "logits")[0] == ("logits" if logits else "softmax")
    assert heads_of(SCORES[name](), "softmax")[1] == ("softmax" if logits else "scores")
    assert heads_of(SCORES[name](), "argmax") == ("argmax", "argmax")


def test_shares_of_two_classes_stay_as_they_are_in_a_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = SCORES["two of one"]()
    result = convert(model, float32(), input_size=SIZE, path=tmp_path / "x.tflite")
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    with load_tflite(result.path) as file:
        np.testing.assert_allclose(file(image), np.asarray(model(image)), atol=1e-5)
    assert result.report["head"] == "softmax"


def _enlarged(kernel, stride=2):
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(3, 1, strides=stride)(image)
    last = layers.Conv2DTranspose(3, kernel.shape[0], stride, "same", use_bias=False)
    model = keras.Model(image, last(x))
    last.set_weights([kernel])
    return model


def test_an_enlargement_that_makes_other_channels_is_no_end():
    """Only what interpolates can be left to the app, about as much as training leaves of it."""
    taps = np.array([0.25, 0.75, 0.75, 0.25])
    bilinear = np.outer(taps, taps)[..., None, None] * np.eye(3)
    rng = np.random.default_rng(0)
    trained = bilinear + rng.normal(0, 0.02, bilinear.shape)
    for kernel in (bilinear, trained):
        assert set(strides(trace(_enlarged(kernel), SIZE))) == {1, 2}
    exchanged = bilinear[..., [1, 2, 0]]
    assert set(strides(trace(_enlarged(exchanged), SIZE))) == {1}
    assert set(strides(trace(_enlarged(bilinear, stride=1), SIZE))) == {1}


def test_ensembles_and_networks_of_kseg_end_in_logits():
    model = kseg.build_lraspp(3, backbone="separable", weights=None)
    assert ending_of(model) is None
    assert ending_of(kseg.models.ensemble([model, model])) is None
