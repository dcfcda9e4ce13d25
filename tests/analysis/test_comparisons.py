import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from kseg.analysis import (
    convolution_costs,
    describe,
    draw_convolution_costs,
    draw_dilated_receptive_fields,
    stacked_receptive_field,
)


def test_costs_by_hand():
    costs = convolution_costs(3, channels=32, filters=64, size=(10, 20))
    assert {kind: cost.params for kind, cost in costs.items()} == {
        "standard": 18432, "depthwise": 288, "separable": 288 + 2048,
    }  # fmt: skip
    assert all(cost.macs == 200 * cost.params for cost in costs.values())


def test_costs_are_those_of_keras_layers():
    costs = convolution_costs(5, channels=6, filters=8, size=(12, 16))
    image = keras.Input((12, 16, 6))
    options = {"padding": "same", "use_bias": False}
    kinds = {
        "standard": layers.Conv2D(8, 5, **options),
        "depthwise": layers.DepthwiseConv2D(5, **options),
        "separable": layers.SeparableConv2D(8, 5, **options),
    }
    for kind, layer in kinds.items():
        description = describe(keras.Model(image, layer(image)), (12, 16))
        assert (description.params, description.macs) == costs[kind]


def test_dilation_widens_the_field_at_equal_params():
    assert stacked_receptive_field(3, (1, 1, 1, 1)) == [3, 5, 7, 9]
    assert stacked_receptive_field(3, (1, 2, 4, 8)) == [3, 7, 15, 31]
    assert stacked_receptive_field(5, (3,)) == [13]
    described = []
    for rates in ((1, 1, 1, 1), (1, 2, 4, 8)):
        image = x = keras.Input((64, 64, 2))
        for rate in rates:
            x = layers.Conv2D(2, 3, dilation_rate=rate, padding="same")(x)
        described.append(describe(keras.Model(image, x), (64, 64)))
    plain, dilated = described
    assert plain.params == dilated.params and plain.macs == dilated.macs
    assert plain.receptive_field == {"logits": (9, 9)}
    assert dilated.receptive_field == {"logits": (31, 31)}


def test_costs_are_drawn():
    figure = draw_convolution_costs(3, 32, 64, (10, 20))
    assert isinstance(figure, Figure)
    params, macs = figure.axes
    for axes, heights in ((params, [18.432, 0.288, 2.336]), (macs, [3.6864, 0.0576, 0.4672])):
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], heights)
    assert [label.get_text() for label in params.get_xticklabels()] == [
        "standard", "depthwise", "separable",
    ]  # fmt: skip


def test_fields_are_drawn_with_their_holes():
    figure = draw_dilated_receptive_fields(3, ((1, 1), (2, 2), (1, 2)))
    seen = [np.asarray(axes.images[0].get_array())[4] > 0 for axes in figure.axes]
    assert ["".join(".x"[int(pixel)] for pixel in row) for row in seen] == [
        "..xxxxx..", "x.x.x.x.x", ".xxxxxxx.",
    ]  # fmt: skip
    assert [axes.get_title() for axes in figure.axes] == [
        "rates 1, 1:\n5 of 5 pixels", "rates 2, 2:\n5 of 9 pixels", "rates 1, 2:\n7 of 7 pixels",
    ]  # fmt: skip
