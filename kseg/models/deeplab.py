"""DeepLabv3 and DeepLabv3+: atrous convolutions in parallel, at several rates.

Sources: Chen et al., 2017, https://arxiv.org/abs/1706.05587 (v3), and Chen et al., ECCV 2018,
https://arxiv.org/abs/1802.02611 (v3+).

Departures: the default backbone is EfficientNet-Lite0, whose c2 takes the place of the first
stage's output in v3+; the atrous branches are depthwise separable in v3 too, as in v3+; ReLU6 for
ReLU; the image-pooling branch is added after its own 1x1 convolution, which is the same sum (see
`kseg.layers.add_image_features`).
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import deeplab_v3_decoder, deeplab_v3_plus_decoder
from kseg.models.frame import check_filters, finish, start


def build_deeplab_v3(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    output_stride: int = 16,
    filters: int = 256,
) -> keras.Model:
    """Builds DeepLabv3, which scores the atrous branches at the backbone's stride.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.
        output_stride: Stride of the features that the atrous branches see: 8 or 16.
        filters: Channels of the atrous branches and of what follows them; the paper has 256, and
            128 serve phones.

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
    return _build_deeplab(
        "deeplab_v3",
        deeplab_v3_decoder,
        num_classes=num_classes,
        backbone=backbone,
        input_shape=input_shape,
        weights=weights,
        output_stride=output_stride,
        filters=filters,
    )


def build_deeplab_v3_plus(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    output_stride: int = 16,
    filters: int = 256,
) -> keras.Model:
    """Builds DeepLabv3+, which joins the atrous branches with features of stride 4.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.
        output_stride: Stride of the features that the atrous branches see: 8 or 16.
        filters: Channels of the atrous branches and of what follows them; the paper has 256, and
            128 serve phones.

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
    return _build_deeplab(
        "deeplab_v3_plus",
        deeplab_v3_plus_decoder,
        num_classes=num_classes,
        backbone=backbone,
        input_shape=input_shape,
        weights=weights,
        output_stride=output_stride,
        filters=filters,
    )


def _build_deeplab(
    name, decoder, *, num_classes, backbone, input_shape, weights, output_stride, filters
):
    image = start(num_classes, input_shape, backbone)
    check_filters(filters)
    if output_stride not in (8, 16):
        raise ValueError(f"output_stride must be 8 or 16; got {output_stride!r}.")
    endpoints = BACKBONES[backbone](image, output_stride=output_stride)
    logits = decoder(endpoints, num_classes, output_stride, filters)
    arguments = {
        "num_classes": num_classes,
        "backbone": backbone,
        "output_stride": output_stride,
        "filters": filters,
    }
    return finish(name, image, endpoints._asdict(), logits, arguments, weights)
