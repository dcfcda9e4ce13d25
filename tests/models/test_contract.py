"""What every network promises, whatever its architecture."""

import inspect
import itertools

import keras
import numpy as np
import pytest

from kseg.decoders import UPSAMPLINGS
from kseg.losses import SparseCrossEntropy
from kseg.models import MODELS, build

VARIANTS = list(itertools.product(MODELS, UPSAMPLINGS))
SIZES = [(64, 64), (33, 47), (1, 1)]
NUM_CLASSES = 5


def network(name, upsampling="transposed", size=(None, None)):
    model = MODELS[name](
        NUM_CLASSES,
        backbone="separable",
        input_shape=(*size, 3),
        weights=None,
        upsampling=upsampling,
    )
    model.jit_compile = False  # XLA compiles for seconds what TensorFlow runs in milliseconds
    return model


def photos(size, count=2):
    return np.random.default_rng(sum(size)).uniform(0, 255, (count, *size, 3)).astype("float32")


@pytest.mark.parametrize(("name", "upsampling"), VARIANTS)
def test_logits_have_the_input_size_and_a_fixed_size_changes_nothing(name, upsampling, enliven):
    dynamic = enliven(network(name, upsampling))
    assert dynamic.output_shape == (None, None, None, NUM_CLASSES)
    for size in SIZES:
        x = photos(size)
        logits = dynamic.predict(x, verbose=0)
        assert logits.shape == (2, *size, NUM_CLASSES)
        assert logits.dtype == np.float32
        if size != (64, 64):
            static = network(name, upsampling, size)
            assert static.output_shape == (None, *size, NUM_CLASSES)
            static.set_weights(dynamic.get_weights())
            assert np.ptp(logits) > 0.1
            np.testing.assert_allclose(static(x), logits, atol=1e-4)


@pytest.mark.parametrize(("name", "upsampling"), VARIANTS)
def test_every_trainable_weight_gets_a_gradient(name, upsampling):
    """From the first step on, as built."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = network(name, upsampling, (64, 64))
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, (2, 64, 64))
    with tf.GradientTape() as tape:
        loss = SparseCrossEntropy()(labels, model(photos((64, 64)), training=True))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    lacking = [
        weight.path
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True)
        if gradient is None or not np.abs(gradient).max() > 0
    ]
    assert lacking == []


@pytest.mark.parametrize("name", MODELS)
def test_any_size_is_the_size_padded_with_grey_by_hand(name, enliven):
    """One geometry: a network never sees a size whose stages are odd."""
    model = enliven(network(name))
    odd = photos((33, 47))
    padded = np.full((2, 64, 64, 3), 127, "float32")
    padded[:, :33, :47] = odd
    expected = model.predict_on_batch(padded)[:, :33, :47]
    np.testing.assert_allclose(model.predict_on_batch(odd), expected, atol=1e-4)


def test_the_last_rows_of_a_photo_do_not_move_its_first(enliven):
    model = enliven(network("fcn8s"))
    photo = photos((320, 32), 1)
    whole = model.predict_on_batch(photo)
    for height in (319, 306, 289):  # all are padded to 320
        cut = model.predict_on_batch(photo[:, :height])
        # c5 of this backbone sees 183 pixels, so 92 up and down, and upsampling from stride 32
        # reaches 32 more at most.
        far = height - 92 - 2 * 32
        np.testing.assert_allclose(cut[:, :far], whole[:, :far], atol=1e-4)
        assert np.abs(cut[:, far:] - whole[:, far:height]).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_float32_in_mixed_precision(name):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network(name, size=(32, 32))
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("stem_conv").compute_dtype == "float16"
    assert model.output.dtype == "float32"
    logits = model.predict_on_batch(photos((32, 32)))
    assert logits.dtype == np.float32 and np.isfinite(logits).all()


@pytest.mark.parametrize(("name", "upsampling"), VARIANTS)
def test_saved_model_loads_without_custom_objects(name, upsampling, tmp_path, enliven):
    model = enliven(network(name, upsampling), (64, 64))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = photos((33, 47))
    logits = model(x).numpy()
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(loaded(x), logits, atol=1e-5)


@pytest.mark.parametrize(("name", "upsampling"), VARIANTS)
def test_spec_rebuilds_the_network(name, upsampling):
    model = network(name, upsampling)
    spec = model.kseg_spec
    assert spec["builder"] == name
    copy = build(spec["builder"], {**spec["arguments"], "weights": None})
    described = [[(w.path, tuple(w.shape)) for w in m.variables] for m in (model, copy)]
    assert described[0] == described[1]
    assert [(type(layer), layer.name) for layer in copy.layers] == [
        (type(layer), layer.name) for layer in model.layers
    ]
    assert copy.kseg_spec == spec


@pytest.mark.parametrize("name", MODELS)
def test_endpoints_are_named(name):
    model = network(name, size=(64, 64))
    assert list(model.kseg_endpoints) == ["c1", "c2", "c3", "c4", "c5"]
    heights = [model.get_layer(layer).output.shape[1] for layer in model.kseg_endpoints.values()]
    assert heights == [32, 16, 8, 4, 2]


@pytest.mark.parametrize("name", MODELS)
def test_graph_is_layers_with_unique_names_and_paths(name):
    model = network(name)
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    paths = [w.path for w in model.weights]
    assert len(set(paths)) == len(paths)
    # A bare keras.ops call is an operation that is no layer.
    assert {operation.name for operation in model.operations} == set(names)


@pytest.mark.parametrize("name", MODELS)
def test_builders_default_to_offline_imagenet_weights_and_any_size(name):
    defaults = {
        key: value.default for key, value in inspect.signature(MODELS[name]).parameters.items()
    }
    assert defaults["weights"] == "imagenet"
    assert defaults["backbone"] == "efficientnet_lite0"
    assert defaults["input_shape"] == (None, None, 3)


def test_imagenet_weights_are_in_the_default_network():
    from kseg.backbones.weights import IMAGENET_WEIGHTS, _find, efficientnet_lite_arrays

    model = MODELS["fcn32s"]()
    assert model.output_shape[-1] == 21
    arrays = efficientnet_lite_arrays(
        _find(IMAGENET_WEIGHTS["efficientnet_lite0"]), "efficientnet_lite0"
    )
    for name in set(arrays) - {"classifier"}:
        for value, weight in zip(arrays[name], model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(value, weight)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_classes": 2.0}, TypeError, r"num_classes must be a whole number; got 2\.0"),
        ({"num_classes": True}, TypeError, "num_classes must be a whole number; got True"),
        ({"num_classes": "21"}, TypeError, "num_classes must be a whole number; got '21'"),
        ({"num_classes": 1}, ValueError, r"num_classes must be from 2 to 255 .*; got 1\."),
        ({"num_classes": 256}, ValueError, r"num_classes must be from 2 to 255 .*; got 256\."),
        ({"backbone": "resnet50"}, ValueError, "backbone must be one of .*; got 'resnet50'"),
        (
            {"backbone": "efficientnet_lite"},
            ValueError,
            r"got 'efficientnet_lite'\. Did you mean 'efficientnet_lite\d'\?",
        ),
        ({"input_shape": (64, 64)}, ValueError, r"input_shape must be \(height, width, 3\)"),
        ({"input_shape": (64, 64, 1)}, ValueError, r"input_shape must be .*got \(64, 64, 1\)"),
        ({"input_shape": (0, 64, 3)}, ValueError, r"input_shape must be .*got \(0, 64, 3\)"),
        ({"input_shape": (64.0, 64, 3)}, ValueError, r"input_shape must be .*got \(64\.0, 64, 3"),
        ({"upsampling": "linear"}, ValueError, "upsampling must be one of .*; got 'linear'"),
        ({"weights": "coco"}, ValueError, "weights must be one of .*imagenet.*; got 'coco'"),
        ({"weights": "imagenet"}, ValueError, "no ImageNet weights for the backbone 'separable'"),
    ],
)
def test_arguments_that_make_no_network_are_refused(name, arguments, error, match):
    with pytest.raises(error, match=match):
        MODELS[name](**{"backbone": "separable", "weights": None, **arguments})


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="builds channels_last networks only"):
            network("fcn8s")
    finally:
        keras.config.set_image_data_format("channels_last")


def test_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(
        ValueError, match=r"model must be one of .*; got 'fcn8'\. Did you mean 'fcn"
    ):
        build("fcn8", {})
