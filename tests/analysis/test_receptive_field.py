"""Theoretical receptive fields, against what really depends on what."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.analysis import describe
from kseg.layers import BedOfNails, CropLike, MaxUnpooling, PadToStride, Resize
from kseg.models import MODELS

HEIGHT = 64


def _dependence(model, height, chunk=64):
    """Returns which rows of the image (first axis) move which rows of the output (second).

    With kernels of ones and no biases an image of zeros gives zeros, and one bright row lights
    every row of the output that depends on it and no other.
    """
    for layer in model.layers:
        for weight in layer.weights:
            if "kernel" in weight.name:
                weight.assign(keras.ops.ones_like(weight))
            elif weight.name == "bias":
                weight.assign(keras.ops.zeros_like(weight))
        if isinstance(layer, layers.Rescaling):
            layer.offset = 0.0
        if isinstance(layer, layers.ReLU):
            layer.max_value = 1e6  # nothing overflows further down
    width = 32
    rows = []
    for start in range(0, height, chunk):
        images = np.zeros((min(chunk, height - start), height, width, 3), "float32")
        for index in range(len(images)):
            images[index, start + index] = 1
        rows.append(np.asarray(model.predict_on_batch(images)).max(axis=(2, 3)) > 0)
    return np.concatenate(rows)


def _fields(dependence):
    """Returns the extent of what each row of the output sees, and whether the border cuts it."""
    fields, cut = [], []
    for column in dependence.T:
        seen = np.flatnonzero(column)
        fields.append(seen[-1] - seen[0] + 1 if len(seen) else 0)
        cut.append(len(seen) > 0 and (seen[0] == 0 or seen[-1] == len(column) - 1))
    return np.array(fields), np.array(cut)


def _check(model, height, level="logits"):
    """Compares the rows that are not cut by the border."""
    field = describe(model, (height, 32)).receptive_field[level]
    fields, cut = _fields(_dependence(model, height))
    assert (~cut).any(), "the image is too small to tell"
    assert fields.max() <= field[0]
    assert fields[~cut].max() == field[0]


def _down_and_up(*up):
    def build(image):
        x = layers.Conv2D(2, 3, 2, "same", use_bias=False)(image)
        x = layers.Conv2D(2, 3, padding="same", use_bias=False)(x)
        for layer in up:
            x = layer(x)
        return x

    return build


def _inception(image):
    one = layers.Conv2D(2, 1, use_bias=False)(image)
    five = layers.Conv2D(2, (5, 3), padding="same", use_bias=False)(image)
    return layers.Concatenate()([one, layers.Add()([five, one])])


def _unet(image):
    c1 = layers.Conv2D(2, 3, padding="same", use_bias=False)(image)
    c2 = layers.Conv2D(2, 3, padding="same", use_bias=False)(layers.MaxPooling2D()(c1))
    up = layers.Conv2DTranspose(2, 2, 2, use_bias=False)(c2)
    return layers.Conv2D(2, 3, padding="same", use_bias=False)(layers.Concatenate()([c1, up]))


def _odd_padding(image):
    x = PadToStride(8)(image)
    for _ in range(3):
        x = layers.Conv2D(2, 3, 2, "same", use_bias=False)(x)
    return CropLike()([Resize(8)(x), image])


def _odd_sizes(image):  # "same" pads odd sizes (1, 1) and even ones (0, 1)
    x = layers.Conv2D(2, 3, 2, "same", use_bias=False)(image)
    x = layers.Conv2D(2, 5, 2, "same", use_bias=False)(x)
    return layers.Resizing(HEIGHT + 1, 32)(x)


CASES = {
    "conv": (lambda x: layers.Conv2D(2, 3, use_bias=False)(x), 3),
    "even kernel": (lambda x: layers.Conv2D(2, 4, padding="same", use_bias=False)(x), 4),
    "dilated": (lambda x: layers.Conv2D(2, 3, dilation_rate=4, use_bias=False)(x), 9),
    "depthwise": (lambda x: layers.DepthwiseConv2D(5, 2, "same", use_bias=False)(x), 5),
    "separable": (lambda x: layers.SeparableConv2D(2, 7, use_bias=False)(x), 7),
    "max": (lambda x: layers.MaxPooling2D(3, 2)(layers.Conv2D(2, 3, use_bias=False)(x)), 5),
    "average": (lambda x: layers.AveragePooling2D(3, 2, "same")(x), 3),
    "strides": (_down_and_up(), 7),
    "nearest": (_down_and_up(Resize(2, "nearest")), 7),
    "nearest then conv": (
        _down_and_up(Resize(2, "nearest"), layers.Conv2D(2, 3, use_bias=False)),
        9,
    ),
    "bilinear": (_down_and_up(Resize(2)), 9),
    "bilinear by 3": (_down_and_up(Resize(3)), 9),
    "Keras's bilinear": (_down_and_up(layers.UpSampling2D(4, interpolation="bilinear")), 9),
    "transposed 2": (_down_and_up(layers.Conv2DTranspose(2, 2, 2, use_bias=False)), 7),
    "transposed 3": (
        _down_and_up(layers.Conv2DTranspose(2, 3, 2, "same", use_bias=False)),
        9,
    ),
    "transposed 4": (
        _down_and_up(layers.Conv2DTranspose(2, 4, 2, "same", use_bias=False)),
        9,
    ),
    "transposed 16": (
        _down_and_up(layers.Conv2DTranspose(1, 16, 8, "same", use_bias=False)),
        9,
    ),
    "transposed with holes": (_down_and_up(layers.Conv2DTranspose(2, 2, 3, use_bias=False)), 7),
    "bed of nails": (_down_and_up(BedOfNails()), 7),
    "bed of nails then conv": (
        _down_and_up(BedOfNails(), layers.Conv2D(2, 5, padding="same", use_bias=False)),
        11,
    ),
    "padding and cropping": (
        _down_and_up(layers.ZeroPadding2D(((2, 1), (0, 0))), layers.Cropping2D(((1, 0), (0, 0)))),
        7,
    ),
    "pointwise": (
        _down_and_up(layers.BatchNormalization(), layers.ReLU(), layers.Activation("relu6")),
        7,
    ),
    "branches": (_inception, 5),
    "skip": (_unet, 10),
    "odd padding": (_odd_padding, 23),
    "odd sizes": (_odd_sizes, 15),
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_layer(name):
    build, expected = CASES[name]
    height = HEIGHT + 1 if name.startswith("odd") else HEIGHT
    image = keras.Input((height, 32, 3))
    model = keras.Model(image, build(image))
    assert describe(model, (height, 32)).receptive_field["logits"][0] == expected
    _check(model, height)


def test_endpoints_of_the_separable_backbone_by_hand():
    """A 3 x 3 kernel adds twice the stride it works at: 2 (the stem), 2 * 2, 2 * 4, 2 * 4, ..."""
    model = kseg.build_fcn8s(2, backbone="separable", weights=None)
    fields = describe(model, (64, 64)).receptive_field
    assert list(fields) == ["c1", "c2", "c3", "c4", "c5", "logits"]
    sides = [3, 3 + 4 + 8, 15 + 8 + 16, 39 + 16 + 32, 87 + 32 + 64]
    assert [fields[f"c{level}"] for level in range(1, 6)] == [(side, side) for side in sides]
    assert describe(model, (33, 47)).receptive_field == fields  # one geometry for every size


def test_logits_of_fcn8s():
    _check(kseg.build_fcn8s(2, backbone="separable", weights=None, input_shape=(352, 32, 3)), 352)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_of_every_network(name, small_arguments):
    arguments = small_arguments(name)
    model = MODELS[name](2, **arguments)
    fields = describe(model, (64, 64)).receptive_field
    field = fields.get("logits") or fields["center"]
    if field == "image":
        kinds = (layers.GlobalAveragePooling2D, layers.AveragePooling2D)
        assert any(isinstance(layer, kinds) for layer in model.layers)
        return
    # Some rows of each phase of the coarsest stride see their whole field.
    height = -(-(field[0] + 66) // 64) * 64
    model = MODELS[name](2, **arguments, input_shape=(height, 32, 3))
    if isinstance(model.output, dict):
        model = keras.Model(model.inputs, model.output["center"])
    if name == "segnet":  # a switch steers without a trace in these images
        fields, _ = _fields(_dependence(model, height))
        assert fields.max() <= field[0]
    else:
        _check(model, height)


def test_unpooling_counts_the_pixels_that_steer_it():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    pooled = layers.MaxPooling2D()(x)
    unpooled = MaxUnpooling()([layers.Conv2D(4, 1)(pooled), x])
    assert describe(keras.Model(image, unpooled), (16, 16)).receptive_field == {"logits": (4, 4)}


def test_height_and_width_are_told_apart():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, (1, 7), padding="same")(image)
    x = layers.Conv2D(2, (3, 1), strides=(1, 2), padding="same")(x)
    x = layers.Conv2D(2, 3, padding="same")(x)
    assert describe(keras.Model(image, x), (32, 32)).receptive_field == {"logits": (5, 11)}


def test_global_pooling_sees_the_whole_image():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    model = keras.Model(image, layers.Multiply()([x, layers.Conv2D(4, 1)(gate)]))
    description = describe(model, (32, 32))
    assert description.receptive_field == {"logits": "image"}
    assert description.to_json()["receptive_field"] == {"logits": "image"}


@pytest.mark.parametrize(
    "layer", [layers.LayerNormalization(axis=(1, 2, 3)), layers.Softmax(axis=(1, 2))]
)
def test_layers_over_all_positions_see_the_whole_image(layer):
    image = keras.Input((16, 16, 3))
    x = layer(layers.Conv2D(4, 3, padding="same")(image))
    assert describe(keras.Model(image, x), (16, 16)).receptive_field == {"logits": "image"}
    x = type(layer)()(image)  # over channels alone
    assert describe(keras.Model(image, x), (16, 16)).receptive_field == {"logits": (1, 1)}


def test_layers_that_are_not_known_leave_the_field_open():
    image = keras.Input((16, 16, 3))
    x = layers.Permute((2, 1, 3))(image)
    description = describe(keras.Model(image, x), (16, 16))
    assert description.receptive_field == {"logits": None}
    assert description.to_json()["receptive_field"] == {"logits": None}
