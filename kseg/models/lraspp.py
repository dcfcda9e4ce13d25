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
from kseg.models.frame import finish, start


def build_lraspp(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
) -> keras.Model:
    """Builds LR-ASPP on a backbone of output stride 16.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network ("camvid", RGB only), or None for random numbers.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above.
        ImportError: If the weights are in a package that is not installed.
        OSError: If the weights must be fetched from Keras's server and cannot be.
    """
    image = start(num_classes, input_shape, backbone)
    endpoints = BACKBONES[backbone](image, output_stride=16)
    logits = lraspp_decoder(endpoints, num_classes)
    arguments = {"num_classes": num_classes, "backbone": backbone}
    return finish("lraspp", image, endpoints._asdict(), logits, arguments, weights)
