"""U-Net: a contracting path, an expanding path, and a concatenation at every level between them.

Source: Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597.

Departures: "same" convolutions, so that the logits have the image's size and no skip is cropped;
batch norm; ReLU6 for ReLU; no dropout. With a backbone, its endpoints take the place of the
contracting path, and the last x2 is an interpolation of the scores.
"""

from collections.abc import Sequence

import keras
from keras import layers

from kseg.backbones import BACKBONES
from kseg.backbones.endpoints import scale_to_unit
from kseg.layers import PadToStride, Resize, conv_norm_act
from kseg.models.frame import check_widths, finish, start


def build_unet(
    num_classes: int = 21,
    *,
    backbone: str | None = None,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = None,
) -> keras.Model:
    """Builds U-Net, with the paper's contracting path or on a backbone.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`, or None for the paper's contracting path.
        widths: Channels of the five levels, finest first; the default is the paper's, and
            (16, 32, 64, 128, 256) serve phones. A backbone has its own in place of the coarsest.
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
    image = start(num_classes, input_shape, backbone or "")
    widths = check_widths(widths, 5)
    if backbone is None:
        maps = _contract(image, widths)
        endpoints = {f"c{level}": x for level, x in enumerate(maps[1:], 1)}
    else:
        endpoints = BACKBONES[backbone](image, output_stride=32)._asdict()
        maps = list(endpoints.values())
    x = maps[-1]
    for level in range(3, -1, -1):
        x = _up_convolution(x, widths[level], f"upsample{level}")
        x = layers.Concatenate(name=f"fuse{level}")([x, maps[level]])
        x = _two_convolutions(x, widths[level], f"expand{level}")
    x = layers.Conv2D(num_classes, 1, name="score")(x)
    if backbone is not None:
        x = Resize(2, name="upsample_image")(x)
    arguments = {"num_classes": num_classes, "backbone": backbone, "widths": list(widths)}
    return finish("unet", image, endpoints, x, arguments, weights)


def _contract(image, widths):
    """Returns the features of the contracting path at strides 1 to 16."""
    x = PadToStride(16, name="pad")(scale_to_unit(image))
    maps = []
    for level, filters in enumerate(widths):
        if level:
            x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
        x = _two_convolutions(x, filters, f"contract{level}")
        maps.append(x)
    return maps


def _two_convolutions(x, filters, name):
    x = conv_norm_act(x, filters, name=f"{name}_1")
    return conv_norm_act(x, filters, name=f"{name}_2")


def _up_convolution(x, filters, name):
    return layers.Conv2DTranspose(filters, 2, 2, "same", name=name)(x)
