"""Dilated FCN: a backbone whose last strides are dilations, and the context module.

Source: Yu and Koltun, ICLR 2016, https://arxiv.org/abs/1511.07122.

Departures: the default backbone is light where the paper's is VGG-16, and is trained together with
the context module, which takes the class scores and starts as the identity, as there. Borders are
padded with zeros, not reflected.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import dilated_decoder
from kseg.models.frame import finish, start

_OUTPUT_STRIDE = 8


def build_dilated_fcn(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0_cut",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
) -> keras.Model:
    """Builds the dilated FCN, whose features stay at stride 8.

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
    endpoints = BACKBONES[backbone](image, output_stride=_OUTPUT_STRIDE)
    logits = dilated_decoder(endpoints, num_classes, _OUTPUT_STRIDE)
    arguments = {"num_classes": num_classes, "backbone": backbone}
    return finish("dilated_fcn", image, endpoints._asdict(), logits, arguments, weights)
