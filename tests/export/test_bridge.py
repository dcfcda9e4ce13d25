import inspect
from dataclasses import replace

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

import kseg
from export import to_tf_keras
from export.compression import bridge_layers
from export.compression.bridge import build, check_equal, fold_norms, read_graph
from kseg.layers import BedOfNails, CropLike, MaxUnpooling, PadToStride, Resize
from kseg.models import MODELS
from kseg.models import build as build_kseg


def _images(*size):
    return np.random.default_rng(1).uniform(0, 255, (2, *size, 3)).astype("float32")


def _shuffle(model):
    """Gives every weight a number that matters."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if np.asarray(variable).dtype.kind == "f":
            variable.assign(rng.uniform(0.1, 0.6, variable.shape))
    return model


def _outputs(model, images):
    return [np.asarray(value) for value in keras.tree.flatten(model(images, training=False))]


def _assert_crosses(model, images):
    copy = to_tf_keras(model, images.shape[1:3])
    expected, got = _outputs(model, images), _outputs(copy, images)
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, atol=1e-4 * max(1, np.abs(a).max()))
    assert len({layer.name for layer in copy.layers}) == len(copy.layers)
    return copy


@pytest.mark.parametrize("size", [(64, 64), (50, 61)])
def test_a_network_of_kseg_crosses(enliven, size):
    model = enliven(kseg.build_fcn8s(3, backbone="separable", weights=None), (64, 64))
    copy = _assert_crosses(model, _images(*size))
    kinds = {type(layer).__name__ for layer in copy.layers}
    assert ("ZeroPadding2D" in kinds, "Cropping2D" in kinds) == (size == (50, 61),) * 2
    assert "UpSampling2D" in kinds
    assert all(type(layer).__module__.startswith("tf_keras") for layer in copy.layers)


def test_every_layer_of_the_table_crosses():
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling([1 / 255, 0.01, 0.02], -0.5)(image)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 4.0])(x)
    x = layers.Conv2D(8, 3, 2, "same", activation="leaky_relu")(layers.ZeroPadding2D(2)(x))
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.SeparableConv2D(8, 3, padding="same", dilation_rate=2, activation="silu")(x)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", groups=4)(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="hard_silu")(layers.Dropout(0.2)(x))
    scale = layers.GlobalAveragePooling2D(keepdims=True)(x)
    scale = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.Conv2D(2, 1)(scale))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Multiply()([x, scale]))
    pooled = layers.MaxPooling2D()(x)
    back = [MaxUnpooling()([pooled, x]), BedOfNails()(pooled), Resize(2)(pooled)]
    back += [Resize(2, "nearest")(pooled), layers.UpSampling2D(2)(layers.AveragePooling2D(2)(x))]
    x = layers.Concatenate()([layers.Add()(back), layers.Maximum()(back), layers.Average()(back)])
    x = layers.Subtract()([x, layers.LeakyReLU(0.3)(x)])
    x = layers.ELU()(layers.SpatialDropout2D(0.1)(layers.Identity()(x)))
    x = layers.ReLU(6.0, 0.1, 0.2)(layers.Activation("gelu")(x))
    x = layers.Conv2DTranspose(6, 4, 2, "same", activation="relu6")(PadToStride(8)(x))
    x = CropLike()([layers.Cropping2D(1)(x), image])
    flat = layers.Flatten()(layers.Permute((2, 1, 3))(x))
    scores = layers.Softmax()(layers.Dense(4, activation="tanh")(flat))
    top = layers.GlobalMaxPooling2D()(layers.Reshape((8, 8, 24))(flat))
    model = _shuffle(keras.Model(image, [x, scores, top]))
    _assert_crosses(model, _images(16, 16))


def test_nested_and_shared_layers_cross():
    shared = layers.Conv2D(4, 3, padding="same", name="conv")
    inner = keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(4, 1, name="conv")])
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 1)(image)
    x = layers.Add()([shared(shared(x)), inner(x), inner(shared(x))])
    copy = _assert_crosses(_shuffle(keras.Model(image, x)), _images(9, 7))
    assert [layer.name for layer in copy.layers].count("k_conv") == 1


def test_a_sequential_model_crosses():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3), layers.ReLU()])
    _assert_crosses(_shuffle(model), _images(8, 8))


def test_a_norm_behind_a_transposed_convolution_is_folded_by_hand():
    image = keras.Input((2, 2, 1))
    x = layers.Conv2DTranspose(1, 1, name="up")(image)
    model = keras.Model(image, layers.BatchNormalization(epsilon=0.0, name="norm")(x))
    model.get_layer("up").set_weights([np.full((1, 1, 1, 1), 3.0), np.array([1.0])])
    norm = [np.array([value]) for value in (4.0, 7.0, 5.0, 16.0)]  # gamma, beta, mean, variance
    model.get_layer("norm").set_weights(norm)
    (node,) = fold_norms(read_graph(model, (2, 2)), kinds=("Conv2DTranspose",)).nodes
    # (3x + 1 - 5) / sqrt(16) * 4 + 7 = 3x + 3
    assert [weight.ravel().tolist() for weight in node.weights] == [[3.0], [3.0]]


@pytest.mark.parametrize("kind", ["Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "Dense"])
def test_folding_changes_no_output(kind):
    image = keras.Input((6, 5, 3))
    made = {"Conv2D": (4, 3), "Conv2DTranspose": (4, 3, 2), "DepthwiseConv2D": (3,), "Dense": (4,)}
    options = {"depth_multiplier": 2} if kind == "DepthwiseConv2D" else {}
    x = getattr(layers, kind)(*made[kind], **options)(image)
    model = _shuffle(keras.Model(image, layers.BatchNormalization()(x)))
    graph = fold_norms(read_graph(model, (6, 5)), kinds=(kind,))
    assert [node.kind for node in graph.nodes] == [kind]
    check_equal(model, build(graph), _images(6, 5))


def test_a_norm_whose_convolution_is_used_twice_stays():
    image = keras.Input((6, 5, 3))
    x = layers.Conv2D(4, 3)(image)
    model = _shuffle(keras.Model(image, layers.Add()([x, layers.BatchNormalization()(x)])))
    graph = fold_norms(read_graph(model, (6, 5)), kinds=("Conv2D",))
    assert "BatchNormalization" in [node.kind for node in graph.nodes]


@keras.saving.register_keras_serializable("test")
class _Own(layers.Layer):
    def call(self, x):
        return x


def _model(layer):
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layer(image))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (_Own(name="mine"), "The layer mine is a _Own, which the bridge to tf_keras does not know"),
        (
            layers.UnitNormalization(name="u"),
            "layer u is a UnitNormalization, .* Build the network",
        ),
        (
            layers.Activation("mish", name="m"),
            "The layer m has the activation 'mish', which .* Use one of elu, gelu",
        ),
        (
            layers.BatchNormalization(axis=1, name="n"),
            r"The layer n normalizes axis 1; the bridge to tf_keras takes the last one",
        ),
        (
            layers.Normalization(axis=1, mean=1.0, variance=1.0, name="n"),
            r"n \(Normalization\) has axis=\(1,\), which .* Build it with axis=",
        ),
        (lambda x: x**2, r"calls \w+ \(\w+\) directly, .* of bare calls it takes Add, Concat"),
        (lambda x: 2 / x, r"calls \w+ \(TrueDivide\) directly"),
    ],
)
def test_what_the_table_lacks_is_named(layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        to_tf_keras(_model(layer), (8, 8))


def test_an_unknown_setting_is_named(monkeypatch):
    rule = bridge_layers._RULES["Conv2D"]
    keys = tuple(key for key in rule.keys if key != "groups")
    monkeypatch.setitem(bridge_layers._RULES, "Conv2D", replace(rule, keys=keys))
    with pytest.raises(ValueError, match=r"c \(Conv2D\) has groups=1, .* with no setting groups"):
        to_tf_keras(_model(layers.Conv2D(2, 3, name="c")), (8, 8))


def test_two_images_are_refused():
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = keras.Model([a, b], layers.Add()([a, b]))
    with pytest.raises(ValueError, match="needs a functional model of one image; got Functional"):
        to_tf_keras(model, (8, 8))


def test_a_copy_that_differs_is_noticed():
    model = _shuffle(_model(layers.Conv2D(2, 3)))
    with pytest.raises(RuntimeError, match=r"The tf_keras copy of .* differs from it by"):
        check_equal(model, lambda images: np.asarray(model(images)) + 1, _images(8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_zoo_crosses(name, enliven):
    arguments = {"num_classes": 3}
    takes = inspect.signature(MODELS[name]).parameters
    arguments |= {"backbone": "separable"} if "backbone" in takes else {}
    arguments |= {"weights": None} if "weights" in takes else {}
    model = enliven(build_kseg(name, arguments), (64, 64))
    _assert_crosses(model, _images(64, 64))
    _assert_crosses(model, _images(50, 61))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "VGG16", "EfficientNetV2B0"])
def test_keras_applications_cross(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)
    copy = _assert_crosses(model, _images(64, 64))
    assert isinstance(copy, tf_keras.Model)
    tf_keras.backend.clear_session()
