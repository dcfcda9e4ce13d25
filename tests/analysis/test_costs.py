import keras
import pytest
from keras import layers

from kseg.analysis import count_macs, describe
from kseg.backbones import BACKBONES

MAP = (8, 6, 4)

# What a layer makes of a map of 8 x 6 positions and 4 channels, counted by hand.
BY_HAND = [
    (layers.Conv2D(5, 3, padding="same"), 48 * (3 * 3 * 4) * 5),
    (layers.Conv2D(5, 1, use_bias=False), 48 * 4 * 5),
    (layers.Conv2D(5, 3, strides=2, padding="same"), (4 * 3) * (3 * 3 * 4) * 5),
    (layers.Conv2D(5, 3), (6 * 4) * (3 * 3 * 4) * 5),
    (layers.Conv2D(5, 3, padding="same", dilation_rate=2), 48 * (3 * 3 * 4) * 5),
    (layers.Conv2D(6, (1, 5), padding="same"), 48 * (1 * 5 * 4) * 6),
    (layers.Conv2D(6, 3, padding="same", groups=2), 48 * (3 * 3 * 2) * 6),
    (layers.DepthwiseConv2D(3, padding="same"), 48 * (3 * 3) * 4),
    (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 48 * (3 * 3) * 8),
    (layers.DepthwiseConv2D(5, strides=2, padding="same"), 12 * (5 * 5) * 4),
    (layers.SeparableConv2D(5, 3, padding="same"), 48 * (3 * 3 * 4 + 4 * 5)),
    (
        layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2),
        48 * (3 * 3 * 8 + 8 * 5),
    ),
    (layers.Conv2DTranspose(5, 4, strides=2, padding="same"), 48 * (4 * 4 * 4) * 5),
    (layers.Dense(5), 48 * 4 * 5),
    (layers.TimeDistributed(layers.Conv1D(5, 3)), None),
    (layers.BatchNormalization(), 0),
    (layers.LayerNormalization(), 0),
    (layers.PReLU(), 0),
    (layers.MaxPooling2D(), 0),
    (layers.GlobalAveragePooling2D(), 0),
    (layers.UpSampling2D(interpolation="bilinear"), 0),
    (layers.EinsumDense("nhwc,cd->nhwd", (8, 6, 5)), None),
]


@pytest.mark.parametrize(("layer", "expected"), BY_HAND, ids=[layer.name for layer, _ in BY_HAND])
def test_macs_of_a_layer_by_hand(layer, expected):
    image = keras.Input((None, None, 4))
    if isinstance(layer, layers.PReLU | layers.LayerNormalization | layers.EinsumDense):
        image = keras.Input(MAP)
    description = describe(keras.Model(image, layer(image)), MAP[:2])
    assert description.macs == expected
    assert description.layers[0].macs == expected


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Conv1D(5, 3), (10, 4), 8 * 3 * 4 * 5),
        (layers.Conv1DTranspose(5, 3), (10, 4), 10 * 3 * 4 * 5),
        (layers.DepthwiseConv1D(3), (10, 4), 8 * 3 * 4),
        (layers.SeparableConv1D(5, 3), (10, 4), 8 * (3 * 4 + 4 * 5)),
        (layers.Conv3D(2, 2), (4, 3, 5, 1), (3 * 2 * 4) * 8 * 2),
        (layers.Conv3DTranspose(2, 2), (4, 3, 5, 1), 60 * 8 * 2),
        (layers.Dense(5), (7,), 7 * 5),
    ],
)
def test_macs_in_other_dimensions_by_hand(layer, shape, expected):
    output = layer(keras.Input(shape)).shape
    assert count_macs(layer, [(1, *shape)], [(1, *output[1:])]) == expected


def test_bare_products_are_not_passed_over_in_silence():
    image = keras.Input((4, 6, 3))
    model = keras.Model(image, keras.ops.matmul(image, keras.ops.ones((3, 2))))
    (step,) = describe(model, (4, 6)).layers
    assert (step.kind, step.macs, step.params) == ("Matmul", None, 0)
    summed = keras.Model(image, image + image)
    assert describe(summed, (4, 6)).macs == 0


def test_a_layer_called_twice_computes_twice_and_is_stored_once():
    image = keras.Input((8, 6, 4))
    layer = layers.Conv2D(4, 3, padding="same")
    description = describe(keras.Model(image, layer(layer(image))), (8, 6))
    assert description.macs == 2 * 48 * 9 * 4 * 4
    assert description.params == 9 * 4 * 4 + 4
    assert description.weights_bytes == 9 * 4 * 4 + 4 * 4
    assert [step.params for step in description.layers] == [148, 0]


def test_models_inside_models_are_followed():
    inner = keras.Sequential(
        [keras.Input((None, None, 4)), layers.Conv2D(5, 3, padding="same", name="conv")],
        name="inner",
    )
    image = keras.Input((None, None, 4))
    description = describe(keras.Model(image, layers.ReLU(name="relu")(inner(image))), (8, 6))
    assert [layer.name for layer in description.layers] == ["inner/conv", "relu"]
    assert description.macs == 48 * 36 * 5
    assert describe(inner, (8, 6)).macs == 48 * 36 * 5


def test_weights_in_bytes_by_hand():
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 128)(image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)  # 216 + a bias for the norm
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    skip = x
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 72 + 8 biases
    x = layers.Add()([x, skip])
    x = layers.BatchNormalization()(x)  # not behind a convolution: 8 factors, 8 summands
    x = layers.SeparableConv2D(5, 3)(x)  # 72 + 8 biases, 40 + 5 biases
    x = layers.Conv2DTranspose(5, 2, 2, use_bias=False)(x)  # 100
    x = layers.Conv2DTranspose(5, 2, 2)(x)  # 100 + 5 biases
    x = layers.Conv2DTranspose(5, 2, 2, use_bias=False)(x)  # 100 + 5 biases for the norm
    x = layers.BatchNormalization()(x)
    sizes = [cost.weights_bytes for cost in describe(keras.Model(image, x), (8, 8)).layers]
    assert sizes == [
        0, 216 + 32, 0, 0, 72 + 32, 0, 16, 72 + 32 + 40 + 20, 100, 120, 120, 0,
    ]  # fmt: skip


def test_efficientnet_lite0_as_published():
    """407 M and 4.7 M params: README of tensorflow/tpu's efficientnet/lite.

    Its convolutions and its dense layer have 385 M.
    """
    image = keras.Input((None, None, 3))
    features = BACKBONES["efficientnet_lite0"](image).c5
    x = layers.Dense(1000)(layers.GlobalAveragePooling2D()(features))
    description = describe(keras.Model(image, x), (224, 224))
    assert description.macs == pytest.approx(407e6, rel=0.06)
    assert description.params == pytest.approx(4.7e6, rel=0.02)
    assert description.receptive_field == {"logits": "image"}


def test_mobilenet_v2_as_published():
    """300 M MACs, 3.4 M params: Sandler et al., 2018, table 4."""
    model = keras.applications.MobileNetV2(weights=None)
    description = describe(model, (224, 224))
    assert description.macs == pytest.approx(300e6, rel=0.01)
    assert description.params == model.count_params() == sum(x.params for x in description.layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("VGG16", 15.5e9),  # Canziani et al., 2016, https://arxiv.org/abs/1605.07678
        ("ResNet50", 3.8e9),  # He et al., 2016, table 1
        ("MobileNet", 569e6),  # Howard et al., 2017, table 4
        ("InceptionV3", 5.7e9),  # torchvision's table of models
        ("EfficientNetB0", 0.39e9),  # Tan and Le, 2019, table 2
    ],
)
def test_macs_of_classifiers_as_published(name, macs):
    model = getattr(keras.applications, name)(weights=None)
    assert describe(model, model.input_shape[1:3]).macs == pytest.approx(macs, rel=0.02)
