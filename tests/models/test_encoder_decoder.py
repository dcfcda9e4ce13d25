"""The menu serves what was ordered."""

import pytest

from kseg.models import MODELS


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({"downsampling": "max"}, {"down1": "MaxPooling2D"}),
        ({"downsampling": "average"}, {"down1": "AveragePooling2D"}),
        ({"upsampling": "nearest"}, {"up0": "Resize"}),
        ({"upsampling": "bilinear"}, {"up0": "Resize"}),
        ({"upsampling": "bed_of_nails"}, {"up0": "BedOfNails"}),
        ({"upsampling": "max_unpooling"}, {"up0": "MaxUnpooling"}),
        ({"upsampling": "transposed"}, {"up0": "Conv2DTranspose"}),
        ({"skip": "add"}, {"fuse0": "Add"}),
        ({"convolution": "depthwise_separable"}, {"encode1_1_depthwise_conv": "DepthwiseConv2D"}),
        ({"convolution": "standard"}, {"encode1_1_conv": "Conv2D"}),
    ],
)  # fmt: skip
def test_menu_serves_what_was_ordered(arguments, kinds):
    model = MODELS["encoder_decoder"](3, widths=(4, 8), **arguments)
    got = {layer.name: layer for layer in model.layers}
    assert {name: type(got[name]).__name__ for name in kinds} == kinds
    if "up0" in kinds and kinds["up0"] == "Resize":
        assert got["up0"].interpolation == arguments["upsampling"]


def test_menu_strides_dilates_and_leaves_out_skips():
    strided = MODELS["encoder_decoder"](3, widths=(4, 8, 8), downsampling="strided", skip="none")
    assert [strided.get_layer(f"encode{k}_1_conv").strides[0] for k in range(3)] == [1, 2, 2]
    dilated = MODELS["encoder_decoder"](3, widths=(4, 8, 8), downsampling="dilated")
    rates = [
        dilated.get_layer(f"encode{k}_{n}_conv").dilation_rate[0] for k in range(3) for n in (1, 2)
    ]
    assert rates == [1, 1, 2, 2, 4, 4]
    names = [layer.name for layer in strided.layers] + [layer.name for layer in dilated.layers]
    assert not any(name.startswith("down") for name in names)
    assert "fuse0" not in [layer.name for layer in strided.layers]
    assert not any(layer.name.startswith("up") for layer in dilated.layers)
