"""Atrous FPN: a light decoder that reaches stride 4, for poles, signs and other thin things.

kseg's own, made of two published ideas. Context: parallel atrous separable convolutions at stride
16, as in DeepLabv3+ (Chen et al., ECCV 2018, https://arxiv.org/abs/1802.02611), at rates 2, 4 and
8 and without its image-pooling branch, which the Edge TPU compiler does not take. Detail: a
top-down pyramid with skip adds, as in Feature Pyramid Networks (Lin et al., CVPR 2017,
https://arxiv.org/abs/1612.03144), that narrows as it grows. Stride 8, where FCN-8s and DeepLabv3
stop, cannot draw a pole of three pixels; stride 4 can. ReLU6, batch norm, add and bilinear resize
throughout, so that int8 stays close to float.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import atrous_fpn_decoder
from kseg.models.frame import check_choice, check_filters, finish, start


def build_atrous_fpn(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    output_stride: int = 32,
    filters: int = 128,
    upsampling: str = "bilinear",
) -> keras.Model:
    """Builds the atrous FPN.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.
        output_stride: Stride of the backbone's last stage, 16 or 32. 16 sees finer, at more MACs;
            a backbone that ends at stride 16 needs it.
        filters: Channels at stride 16; there are three quarters of them at stride 8 and half at
            stride 4.
        upsampling: How features grow: "bilinear" interpolates; "nearest" repeats each value, for
            chips that cannot interpolate large maps, such as the Coral NPU. The weights are of the
            same names and shapes, so that one can start the other. Logits are interpolated in both.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above, or filters is not a whole
            number from 4 on.
        ImportError: If the weights are in a package that is not installed.
        OSError: If the weights must be fetched from Keras's server and cannot be.
    """
    image = start(num_classes, input_shape, backbone)
    check_filters(filters)
    if output_stride not in (16, 32):
        raise ValueError(f"output_stride must be 16 or 32; got {output_stride!r}.")
    check_choice("upsampling", upsampling, ("bilinear", "nearest"))
    endpoints = BACKBONES[backbone](image, output_stride=output_stride)
    logits = atrous_fpn_decoder(endpoints, num_classes, output_stride, filters, upsampling)
    arguments = {
        "num_classes": num_classes,
        "backbone": backbone,
        "output_stride": output_stride,
        "filters": filters,
    }
    if upsampling != "bilinear":  # left out of the rest, as it is of the records of trained ones
        arguments["upsampling"] = upsampling
    return finish("atrous_fpn", image, endpoints._asdict(), logits, arguments, weights)
