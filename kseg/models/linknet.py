"""LinkNet: an encoder-decoder that adds its skips, which costs no channels.

Source: Chaurasia and Culurciello, VCIP 2017, https://arxiv.org/abs/1707.03718.

Departures, for phones: the default backbone is EfficientNet-Lite0 where the paper's is ResNet-18;
the 3x3 convolution before the last step is depthwise separable; ReLU6 for ReLU, and none directly
behind a transposed convolution.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import linknet_decoder
from kseg.models.frame import finish, start


def build_linknet(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
) -> keras.Model:
    """Builds LinkNet, which adds a skip at every level.

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
    endpoints = BACKBONES[backbone](image, output_stride=32)
    logits = linknet_decoder(endpoints, num_classes)
    arguments = {"num_classes": num_classes, "backbone": backbone}
    return finish("linknet", image, endpoints._asdict(), logits, arguments, weights)
