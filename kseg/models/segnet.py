"""SegNet: an encoder that remembers where its maxima were, and a decoder that puts them back.

Source: Badrinarayanan, Kendall and Cipolla, TPAMI 2017, https://arxiv.org/abs/1511.00561.

Departures: ReLU6 for ReLU; convolutions have no bias, because batch norm has one; the encoder
starts from random numbers, not from VGG-16's. The switches are found again by comparison, not
stored (`kseg.layers.MaxUnpooling`): the positions are the same.
"""

from collections.abc import Sequence

import keras
from keras import layers

from kseg.backbones.endpoints import scale_to_unit
from kseg.layers import MaxUnpooling, PadToStride, conv_norm_act
from kseg.models.frame import check_widths, finish, start

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each stage, as in VGG-16


def build_segnet(
    num_classes: int = 21,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = None,
) -> keras.Model:
    """Builds SegNet, with random weights or those of a trained network.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        widths: Channels of the five stages, finest first; the default is the paper's.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: The name of the data set of a trained network ("camvid", RGB only), or None for
            random numbers.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above.
    """
    image = start(num_classes, input_shape)
    widths = check_widths(widths, len(_CONVOLUTIONS))
    x = PadToStride(32, name="pad")(scale_to_unit(image))
    sources, endpoints = [], {}
    for stage, (filters, convolutions) in enumerate(zip(widths, _CONVOLUTIONS, strict=True), 1):
        for number in range(1, convolutions + 1):
            x = conv_norm_act(x, filters, name=f"encode{stage}_{number}")
        sources.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
        endpoints[f"c{stage}"] = x
    for stage in range(5, 0, -1):
        x = MaxUnpooling(name=f"unpool{stage}")([x, sources[stage - 1]])
        last = _CONVOLUTIONS[stage - 1]
        for number in range(1, last + (stage > 1)):
            # The last convolution of a stage narrows to the next one's width.
            filters = widths[stage - 2] if stage > 1 and number == last else widths[stage - 1]
            x = conv_norm_act(x, filters, name=f"decode{stage}_{number}")
    x = layers.Conv2D(num_classes, 3, padding="same", name="score_image")(x)
    arguments = {"num_classes": num_classes, "widths": list(widths)}
    return finish("segnet", image, endpoints, x, arguments, weights)
