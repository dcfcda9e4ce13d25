"""FCN-8s, FCN-16s and FCN-32s: skip adds over scores of strides 32, 16 and 8.

Source: Long, Shelhamer and Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038.

Departures: the default backbone is EfficientNet-Lite0, not VGG-16, so c5 takes the place of fc7
and the scored maps are c4 and c3 instead of pool4 and pool3. The paper pads the image by 100
pixels and crops by fixed offsets; here "same" convolutions and one geometry for all sizes (see
`kseg.layers.geometry`) keep every map aligned. Score layers start from small numbers, not zeros.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import UPSAMPLINGS, fcn_decoder
from kseg.models.frame import check_choice, finish, start


def build_fcn32s(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    upsampling: str = "transposed",
) -> keras.Model:
    """Builds FCN-32s, which scores stride 32 alone.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.
        upsampling: How scores grow to the image's size. "transposed": learnt x2 steps that start
            as bilinear interpolation, then one fixed bilinear step, as in the paper. "bilinear":
            no learnt step. "all_transposed": the last step is learnt too, at about five times its
            cost in int8.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above.
        ImportError: If the weights are in a package that is not installed.
        OSError: If the weights must be fetched from Keras's server and cannot be.
    """
    return _build_fcn(
        32,
        num_classes=num_classes,
        backbone=backbone,
        input_shape=input_shape,
        weights=weights,
        upsampling=upsampling,
    )


def build_fcn16s(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    upsampling: str = "transposed",
) -> keras.Model:
    """Builds FCN-16s, which adds the scores of strides 32 and 16.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.
        upsampling: How scores grow to the image's size. "transposed": learnt x2 steps that start
            as bilinear interpolation, then one fixed bilinear step, as in the paper. "bilinear":
            no learnt step. "all_transposed": the last step is learnt too, at about five times its
            cost in int8.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above.
        ImportError: If the weights are in a package that is not installed.
        OSError: If the weights must be fetched from Keras's server and cannot be.
    """
    return _build_fcn(
        16,
        num_classes=num_classes,
        backbone=backbone,
        input_shape=input_shape,
        weights=weights,
        upsampling=upsampling,
    )


def build_fcn8s(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    upsampling: str = "transposed",
) -> keras.Model:
    """Builds FCN-8s, which adds the scores of strides 32, 16 and 8.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.
        upsampling: How scores grow to the image's size. "transposed": learnt x2 steps that start
            as bilinear interpolation, then one fixed bilinear step, as in the paper. "bilinear":
            no learnt step. "all_transposed": the last step is learnt too, at about five times its
            cost in int8.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above.
        ImportError: If the weights are in a package that is not installed.
        OSError: If the weights must be fetched from Keras's server and cannot be.
    """
    return _build_fcn(
        8,
        num_classes=num_classes,
        backbone=backbone,
        input_shape=input_shape,
        weights=weights,
        upsampling=upsampling,
    )


def _build_fcn(finest_stride, *, num_classes, backbone, input_shape, weights, upsampling):
    image = start(num_classes, input_shape, backbone)
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    # Adding the scores of strides 32, 16 and 8 defines FCN, so there is no output_stride to choose.
    endpoints = BACKBONES[backbone](image, output_stride=32)
    logits = fcn_decoder(endpoints, num_classes, finest_stride, upsampling)
    arguments = {"num_classes": num_classes, "backbone": backbone, "upsampling": upsampling}
    return finish(f"fcn{finest_stride}s", image, endpoints._asdict(), logits, arguments, weights)
