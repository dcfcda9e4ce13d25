"""LR-ASPP: the lightest of the decoders that look at the whole image.

Source: Howard et al., Searching for MobileNetV3, ICCV 2019, https://arxiv.org/abs/1905.02244,
section 6.3.

Departures: the default backbone is EfficientNet-Lite0, MobileNetV3 is a choice; the gate pools the
whole image, where the paper pools windows of 49 with steps of 16 and 20 positions, for its images
of 1024 x 2048 pixels; ReLU6 for ReLU.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import lraspp_decoder
from kseg.layers import CropLike
from kseg.models.frame import check_arguments, finish


def build_lraspp(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
) -> keras.Model:
    """Builds LR-ASPP on a backbone of output stride 16; arguments as `build_fcn8s`."""
    check_arguments(num_classes, backbone, input_shape)
    image = keras.Input(input_shape, name="image")
    endpoints = BACKBONES[backbone](image, output_stride=16)
    logits = lraspp_decoder(endpoints, num_classes)
    logits = CropLike(name="logits", dtype="float32")([logits, image])
    arguments = {"num_classes": num_classes, "backbone": backbone}
    return finish("lraspp", image, endpoints._asdict(), logits, arguments, weights)
