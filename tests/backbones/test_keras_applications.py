"""The same features as keras.applications, layer by layer, weight for weight."""

import keras
import numpy as np
import pytest

from kseg.backbones import BACKBONES
from kseg.backbones.catalogue import IMAGENET_WEIGHTS
from kseg.backbones.records import KerasRecord

LIGHT = (
    "mobilenet_v1_025",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "mobilenet_v3_small_minimalistic",
)
NETWORKS = [
    pytest.param(name, marks=() if name in LIGHT else pytest.mark.slow)
    for name, record in IMAGENET_WEIGHTS.items()
    if isinstance(record, KerasRecord) and name != "vgg16"
]


def reference(backbone, size):
    """Returns the network of keras.applications, for images that are scaled already."""
    record = IMAGENET_WEIGHTS[backbone]
    options = dict(record.options)
    if record.application.startswith("MobileNetV3"):
        options["include_preprocessing"] = False
    return getattr(keras.applications, record.application)(
        include_top=record.include_top, weights=None, input_shape=(*size, 3), **options
    )


@pytest.mark.parametrize("backbone", NETWORKS)
def test_features_layers_and_parameters_are_those_of_keras_applications(backbone, enliven):
    size = (64, 96)
    image = keras.Input((*size, 3))
    endpoints = BACKBONES[backbone](image)._asdict()
    ours = enliven(keras.Model(image, endpoints), size)
    theirs = reference(backbone, size)
    assert ours.count_params() == theirs.count_params()
    weighted = {layer.name: layer.get_weights() for layer in ours.layers if layer.weights}
    assert set(weighted) == {layer.name for layer in theirs.layers if layer.weights}
    for name, values in weighted.items():
        theirs.get_layer(name).set_weights(values)
    # keras.applications leaves the activations of MobileNetV3 without stable names.
    names = {layer.name for layer in theirs.layers}
    ends = {k: tensor._keras_history.operation.name for k, tensor in endpoints.items()}
    outputs = {k: theirs.get_layer(name).output for k, name in ends.items() if name in names}
    outputs["c5"] = theirs.output
    assert len(outputs) == (1 if "v3" in backbone else 5)
    x = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    features = ours(x)
    expected = keras.Model(theirs.input, outputs)((x - 127) / 128)
    for level, value in expected.items():
        scale = np.ptp(value)
        assert scale > 1
        np.testing.assert_allclose(features[level], value, atol=1e-4 * scale)


@pytest.mark.slow
def test_vgg16_is_keras_applications_with_its_dense_layers_slid_over_the_image():
    image = keras.Input((224, 224, 3))
    endpoints = BACKBONES["vgg16"](image)
    ours, theirs = keras.Model(image, endpoints._asdict()), reference("vgg16", (224, 224))
    for layer in theirs.layers:
        if layer.weights and layer.name != "predictions":
            shapes = [w.shape for w in ours.get_layer(layer.name).weights]
            values = zip(layer.get_weights(), shapes, strict=True)
            ours.get_layer(layer.name).set_weights([v.reshape(s) for v, s in values])
    assert ours.count_params() == theirs.count_params() - 4097 * 1000 == 134_260_544
    x = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    features = ours(x)
    outputs = {f"c{k}": theirs.get_layer(f"block{k}_pool").output for k in (1, 2, 3, 4)}
    outputs["c5"] = theirs.get_layer("fc2").output
    expected = keras.Model(theirs.input, outputs)((x - 127) / 128)
    # Of 7 x 7 positions the middle one sees just what the dense layers see.
    features = {**features, "c5": features["c5"][:, 3, 3]}
    for level, value in expected.items():
        assert np.ptp(value) > 1e-3
        np.testing.assert_allclose(features[level], value, atol=1e-4 * np.ptp(value))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "mobilenet_v3_small_minimalistic"])
def test_mobilenet_v3_becomes_an_integer_file_of_builtin_ops(backbone, tmp_path):
    from export import convert, full_integer
    from export.tflite.reader import read_model
    from kseg.models import build

    model = build("fcn8s", {"num_classes": 3, "backbone": backbone, "weights": None})
    images = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), "uint8") for i in range(8)]
    convert(model, full_integer(images), input_size=(64, 64), path=tmp_path / "m.tflite")
    graph = read_model(tmp_path / "m.tflite")
    assert {t.dtype for t in graph.tensors} <= {"int8", "uint8", "int32"}
    swishes = {"mobilenet_v3_small": 18}.get(backbone, 0)
    squeezes = {"mobilenet_v3_small": 9}.get(backbone, 0)
    counts = graph.op_counts()
    assert (counts.get("HARD_SWISH", 0), counts.get("MEAN", 0)) == (swishes, squeezes)
    assert "CUSTOM" not in counts
