"""Arguments that make no network are refused in one sentence."""

import inspect

import keras
import pytest

from kseg.models import MODELS, build

EVERYWHERE = [
    ({"num_classes": 2.0}, TypeError, r"num_classes must be a whole number; got 2\.0"),
    ({"num_classes": True}, TypeError, "num_classes must be a whole number; got True"),
    ({"num_classes": "21"}, TypeError, "num_classes must be a whole number; got '21'"),
    ({"num_classes": 1}, ValueError, r"num_classes must be from 2 to 255 .*; got 1\."),
    ({"num_classes": 256}, ValueError, r"num_classes must be from 2 to 255 .*; got 256\."),
    ({"input_shape": (64, 64)}, ValueError, r"input_shape must be \(height, width, channels\)"),
    ({"input_shape": (64, 64, 0)}, ValueError, r"input_shape must be .*got \(64, 64, 0\)"),
    ({"input_shape": (64, 64, None)}, ValueError, r"input_shape must be .*got \(64, 64, None"),
    ({"input_shape": (64, True, 3)}, ValueError, r"input_shape must be .*got \(64, True, 3"),
    ({"input_shape": (0, 64, 3)}, ValueError, r"input_shape must be .*got \(0, 64, 3\)"),
    ({"input_shape": (64.0, 64, 3)}, ValueError, r"input_shape must be .*got \(64\.0, 64, 3"),
    ({"backbone": "resnet5"}, ValueError, "got 'resnet5'. Did you mean 'resnet50'"),
    ({"backbone": "lite"}, ValueError, "backbone must be one of .*; got 'lite'"),
    ({"input_shape": 3}, ValueError, r"input_shape must be \(height, width, channels\).*; got 3"),
    ({"weights": "coco"}, ValueError, "weights must be one of .*imagenet.*; got 'coco'"),
]
OF_ONE = [
    ("fcn8s", {"upsampling": "linear"}, "upsampling must be one of .*; got 'linear'"),
    ("fcn8s", {"weights": "imagenet"}, "no ImageNet weights for the backbone 'separable'"),
    ("segnet", {"weights": "imagenet"}, "no ImageNet weights for segnet without a backbone"),
    ("unet", {"weights": "imagenet", "backbone": None}, "no ImageNet weights for unet without"),
    ("fast_scnn", {"weights": "imagenet"}, "no ImageNet weights for fast_scnn without"),
    ("segnet", {"widths": (8, 8, 8, 8)}, r"widths must be 5 whole numbers .*; got \(8, 8, 8, 8\)"),
    ("segnet", {"widths": (8, 8, 8, 8, 0)}, "widths must be 5 whole numbers above 0"),
    ("unet", {"widths": (8.0, 8, 8, 8, 8)}, "widths must be 5 whole numbers above 0"),
    ("unet", {"widths": (8,) * 6}, "widths must be 5 whole numbers above 0"),
    ("encoder_decoder", {"widths": (8,)}, r"widths must be two or more .*; got \(8,\)"),
    ("encoder_decoder", {"convolution": "full"}, "convolution must be one of .*; got 'full'"),
    ("encoder_decoder", {"downsampling": "mean"}, "downsampling must be one of .*; got 'mean'"),
    ("encoder_decoder", {"upsampling": "neares"}, "Did you mean 'nearest'"),
    ("encoder_decoder", {"skip": "concat"}, "skip must be one of add, none; got 'concat'"),
    (
        "encoder_decoder",
        {"upsampling": "max_unpooling", "downsampling": "strided"},
        "needs the switches of max pooling; pass downsampling='max' instead of 'strided'",
    ),
    ("deeplab_v3", {"output_stride": 32}, r"output_stride must be 8 or 16; got 32\."),
    ("deeplab_v3_plus", {"output_stride": "16"}, "output_stride must be 8 or 16; got '16'"),
    ("atrous_fpn", {"output_stride": 8}, r"output_stride must be 16 or 32; got 8\."),
    ("atrous_fpn", {"upsampling": "linear"}, "upsampling must be one of bilinear, nearest; got 'l"),
    ("atrous_fpn", {"backbone": None}, "backbone must be one of .*; got None"),
    ("lraspp", {"backbone": None}, "backbone must be one of .*; got None"),
    ("atrous_fpn", {"filters": "abc"}, "filters must be a whole number from 4 on; got 'abc'"),
    ("deeplab_v3", {"filters": 1}, "filters must be a whole number from 4 on; got 1"),
    ("panoptic_deeplab", {"output_stride": 8}, r"output_stride must be 16 or 32; got 8\."),
    ("linknet", {"backbone": "efficientnet_lite0_cut"}, "ends at stride 16, so output_stride must"),
    ("fcn8s", {"backbone": "efficientnet_lite0_cut"}, "ends at stride 16, so output_stride must"),
]


@pytest.fixture
def small(small_arguments):
    """A function that builds a small network: (name, arguments beside the small ones)."""
    return lambda name, arguments: MODELS[name](**{**small_arguments(name), **arguments})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("arguments", "error", "match"), EVERYWHERE)
def test_arguments_of_every_builder(small, name, arguments, error, match):
    if not arguments.keys() <= inspect.signature(MODELS[name]).parameters.keys():
        error, match = TypeError, "unexpected keyword argument"
    with pytest.raises(error, match=match):
        small(name, arguments)


@pytest.mark.parametrize(("name", "arguments", "match"), OF_ONE)
def test_arguments_of_one_builder(small, name, arguments, match):
    with pytest.raises(ValueError, match=match):
        small(name, arguments)


def test_channels_first_is_refused(small):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="builds channels_last networks only"):
            small("fcn8s", {})
    finally:
        keras.config.set_image_data_format("channels_last")


def test_trained_weights_are_for_rgb():
    match = r"weights 'camvid' are for RGB images, and input_shape asks for 1 channel\(s\); pass"
    with pytest.raises(ValueError, match=match):
        build("fcn8s", {"num_classes": 11, "weights": "camvid", "input_shape": (None, None, 1)})


def test_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(
        ValueError, match=r"model must be one of .*; got 'fcn8'\. Did you mean 'fcn"
    ):
        build("fcn8", {})


def test_weights_that_a_network_cannot_have_are_refused():
    with pytest.raises(ValueError, match="no weights 'imagenet' for encoder_decoder"):
        build("encoder_decoder", {"weights": "imagenet"})
