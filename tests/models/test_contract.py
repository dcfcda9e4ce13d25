"""What every network promises, whatever its architecture."""

import inspect

import keras
import numpy as np
import pytest

from kseg.backbones import BACKBONES
from kseg.backbones.records import WheelRecord
from kseg.losses import SparseCrossEntropy
from kseg.models import MODELS, build

SIZES = [(64, 64), (31, 65), (1, 1), (96, 32), (33, 47)]
# Of networks of three classes.
CHANNELS = {"logits": 3, "semantic": 3, "center": 1, "offset": 2}


def images(size, count=3):
    return np.random.default_rng(sum(size)).uniform(0, 255, (count, *size, 3)).astype("float32")


def parts(outputs):
    """Returns the outputs of a network by name; one that is alone is its logits."""
    return outputs if isinstance(outputs, dict) else {"logits": outputs}


def assert_close(outputs, expected, atol):
    outputs, expected = parts(outputs), parts(expected)
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected[name], atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def fixed(network, make):
    """A network of the table for 64 x 64 pixels, as built."""
    keras.utils.set_random_seed(0)
    return make(network, size=(64, 64))


def test_outputs_have_the_input_size_at_five_sizes_in_a_row(alive):
    for name, output in parts(alive.output).items():
        assert output.shape == (None, None, None, CHANNELS[name])
    for size in SIZES:
        for name, output in parts(alive.predict(images(size), verbose=0)).items():
            assert output.shape == (3, *size, CHANNELS[name])
            assert output.dtype == np.float32 and np.isfinite(output).all()


def test_outputs_are_layers_of_their_names(alive):
    for name, output in parts(alive.output).items():
        assert alive.get_layer(name).output is output


def test_a_size_known_beforehand_changes_nothing(network, alive, make):
    size = (31, 65)
    static = make(network, size=size)
    for name, output in parts(static.output).items():
        assert output.shape == (None, *size, CHANNELS[name])
    static.set_weights(alive.get_weights())
    outputs = alive.predict_on_batch(images(size))
    assert all(np.ptp(output) > 0.1 for output in parts(outputs).values())
    assert_close(static(images(size)), outputs, atol=1e-3)


def test_any_size_is_the_size_padded_with_grey_by_hand(alive):
    """One geometry: a network never sees a size whose stages are odd."""
    stride = alive.get_layer("pad").stride
    padded = np.full((3, 33 + -33 % stride, 47 + -47 % stride, 3), 127, "float32")
    padded[:, :33, :47] = images((33, 47))
    expected = {name: output[:, :33, :47] for name, output in parts(alive(padded)).items()}
    assert_close(parts(alive(images((33, 47)))), expected, atol=1e-3)


def test_the_last_rows_of_an_image_do_not_move_its_first(make, enliven):
    model = enliven(make("fcn8s"))
    image = images((320, 32), 1)
    whole = model(image).numpy()
    for height in (319, 306, 289):  # all are padded to 320
        cut = model(image[:, :height]).numpy()
        # c5 of this backbone sees 183 pixels, so 92 up and down, and upsampling from stride 32
        # reaches 32 more at most.
        far = height - 92 - 2 * 32
        np.testing.assert_allclose(cut[:, :far], whole[:, :far], atol=1e-4)
        assert np.abs(cut[:, far:] - whole[:, far:height]).max() > 0.01


def test_every_trainable_weight_gets_a_gradient_at_the_first_step(fixed):
    import tensorflow as tf

    labels = np.random.default_rng(0).integers(0, 3, (3, 64, 64))
    with tf.GradientTape() as tape:
        logits, *others = parts(fixed(images((64, 64)), training=True)).values()
        loss = SparseCrossEntropy()(labels, logits)
        loss += sum(tf.reduce_mean(tf.square(1 - other)) for other in others)
    gradients = tape.gradient(loss, [w.value for w in fixed.trainable_weights])
    lacking = [
        weight.path
        for weight, gradient in zip(fixed.trainable_weights, gradients, strict=True)
        if gradient is None or not np.abs(gradient).max() > 0
    ]
    assert lacking == []


def test_outputs_are_float32_in_mixed_precision(network, make):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make(network, size=(32, 32))
    finally:
        keras.config.set_dtype_policy(policy)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {"float16"}
    assert {output.dtype for output in model.outputs} == {"float32"}
    for output in parts(model(images((32, 32)))).values():
        assert output.dtype == "float32" and np.isfinite(output).all()


def test_saved_model_loads_without_custom_objects(alive, tmp_path):
    alive.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    outputs = alive(images((33, 47)))
    assert all(np.ptp(output) > 0.1 for output in parts(outputs).values())
    assert_close(loaded(images((33, 47))), outputs, atol=1e-5)


def test_spec_rebuilds_the_network_with_the_same_names(network, networks, alive):
    spec = alive.kseg_spec
    builder, arguments = networks[network]
    assert spec["builder"] == builder
    given = {key: list(v) if isinstance(v, tuple) else v for key, v in arguments.items()}
    given.pop("weights", None)
    assert given.items() <= spec["arguments"].items()
    copy = build(spec["builder"], {**spec["arguments"], "weights": None})
    described = [[(w.path, tuple(w.shape)) for w in m.variables] for m in (alive, copy)]
    assert described[0] == described[1]
    assert [(type(layer), layer.name) for layer in copy.layers] == [
        (type(layer), layer.name) for layer in alive.layers
    ]
    assert copy.kseg_spec == spec


def test_endpoints_are_named_at_their_strides(network, fixed):
    levels = [int(name.removeprefix("c")) for name in fixed.kseg_endpoints]
    assert levels == list(range(1, len(levels) + 1))
    widths = [fixed.get_layer(layer).output.shape[2] for layer in fixed.kseg_endpoints.values()]
    limit = fixed.get_layer("pad").stride
    assert [64 // width for width in widths] == [min(2**level, limit) for level in levels]


@pytest.mark.parametrize(
    ("name", "stride"),
    [("fcn8s", 32), ("dilated_fcn", 8), ("lraspp", 16), ("deeplab_v3", 16), ("segnet", 32)],
)
def test_encoders_end_at_the_stride_of_their_paper(name, stride, make):
    model = make(name, size=(64, 64))
    *_, last = model.kseg_endpoints.values()
    assert model.get_layer(last).output.shape[1] == 64 // stride


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_multispectral_images_have_their_own_networks(network, make, channels):
    model = make(network, channels=channels)
    assert model.input_shape == (None, None, None, channels)
    spec = model.kseg_spec
    assert spec["arguments"]["input_shape"] == [None, None, channels]
    copy = build(spec["builder"], {**spec["arguments"], "weights": None})
    assert [(w.path, w.shape) for w in copy.weights] == [(w.path, w.shape) for w in model.weights]
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 47, channels)).astype("float32")
    for name, output in parts(copy(image)).items():
        assert output.shape == (1, 33, 47, CHANNELS[name])
    assert "input_shape" not in make(network).kseg_spec["arguments"]


def test_graph_is_layers_with_unique_names_and_paths(alive):
    names = [layer.name for layer in alive.layers]
    assert len(set(names)) == len(names)
    paths = [w.path for w in alive.weights]
    assert len(set(paths)) == len(paths)
    # A bare keras.ops call is an operation that is no layer.
    assert {operation.name for operation in alive.operations} == set(names)


@pytest.mark.parametrize("name", MODELS)
def test_builders_have_few_arguments_and_defaults_that_work_offline(name):
    parameters = inspect.signature(MODELS[name]).parameters
    assert len(parameters) <= 7
    first, *others = parameters.values()
    assert (first.name, first.default) == ("num_classes", 21)
    assert all(p.kind == p.KEYWORD_ONLY and p.default is not p.empty for p in others)
    assert parameters["input_shape"].default == (None, None, 3)
    backbone = parameters["backbone"].default if "backbone" in parameters else None
    weights = parameters["weights"].default if "weights" in parameters else None
    if backbone is None:
        assert weights is None
    else:
        assert weights == "imagenet"
        assert isinstance(BACKBONES[backbone].weights, WheelRecord)


@pytest.mark.parametrize(
    "name", [p if p == "fcn32s" else pytest.param(p, marks=pytest.mark.slow) for p in MODELS]
)
def test_imagenet_weights_are_in_the_default_network(name):
    from kseg.backbones.torch_file import efficientnet_lite_arrays
    from kseg.backbones.weights import _find

    model = MODELS[name]()
    assert next(iter(parts(model.output).values())).shape == (None, None, None, 21)
    backbone = model.kseg_spec["arguments"].get("backbone")
    if backbone is None:
        return
    arrays = efficientnet_lite_arrays(_find(BACKBONES[backbone].weights), backbone)
    layers = [layer for layer in model.layers if layer.name in arrays]
    assert len(layers) > 50
    for layer in layers:
        for value, weight in zip(arrays[layer.name], layer.get_weights(), strict=True):
            np.testing.assert_array_equal(value, weight)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_carries_every_kind_of_decoder(backbone):
    """Scores, a pyramid of endpoints, a dilated last stage."""
    for name in ("fcn8s", "atrous_fpn", "panoptic_deeplab", "deeplab_v3_plus", "lraspp"):
        ends_at_16 = BACKBONES[backbone].stride == 16
        if name == "fcn8s" and ends_at_16:
            continue
        pyramid = name in ("atrous_fpn", "panoptic_deeplab")
        arguments = {"output_stride": 16} if pyramid and ends_at_16 else {}
        model = MODELS[name](3, backbone=backbone, weights=None, **arguments)
        for part, output in parts(model(images((33, 47), 1))).items():
            assert output.shape == (1, 33, 47, CHANNELS[part]) and np.isfinite(output).all()
