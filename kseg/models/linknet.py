"""LinkNet: an encoder-decoder that adds its skips, which costs no channels.

Source: Chaurasia and Culurciello, VCIP 2017, https://arxiv.org/abs/1707.03718.

Departures, for phones: the default backbone is EfficientNet-Lite0 where the paper's is ResNet-18;
the 3x3 convolution before the last step is depthwise separable; ReLU6 for ReLU, and none directly
behind a transposed convolution.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import linknet_decoder
from kseg.layers import CropLike
from kseg.models.frame import check_arguments, finish


def build_linknet(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
) -> keras.Model:
    """Builds LinkNet; arguments as `build_fcn8s`."""
    check_arguments(num_classes, backbone, input_shape)
    image = keras.Input(input_shape, name="image")
    endpoints = BACKBONES[backbone](image, output_stride=32)
    logits = linknet_decoder(endpoints, num_classes)
    logits = CropLike(name="logits", dtype="float32")([logits, image])
    arguments = {"num_classes": num_classes, "backbone": backbone}
    return finish("linknet", image, endpoints._asdict(), logits, arguments, weights)
