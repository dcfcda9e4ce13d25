"""The menu: an encoder-decoder whose ways down and up are arguments.

It is not the network of a paper. It puts the ideas of many papers in one place, so that they can
be compared: what max pooling, average pooling, a stride or dilation buys on the way down, and what
each way up makes of it.
"""

from collections.abc import Sequence

import keras
from keras import layers

from kseg.backbones.endpoints import scale_to_unit
from kseg.layers import (
    BedOfNails,
    BilinearKernel,
    MaxUnpooling,
    PadToStride,
    Resize,
    conv_norm_act,
    separable_norm_act,
)
from kseg.models.frame import check_choice, check_widths, finish, start

CONVOLUTIONS = {"standard": conv_norm_act, "depthwise_separable": separable_norm_act}
DOWNSAMPLINGS = ("max", "average", "strided", "dilated")
UPSAMPLINGS = ("nearest", "bed_of_nails", "max_unpooling", "transposed", "bilinear")
SKIPS = ("add", "none")


def build_encoder_decoder(
    num_classes: int = 21,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    convolution: str = "standard",
    downsampling: str = "max",
    upsampling: str = "transposed",
    skip: str = "add",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> keras.Model:
    """Builds an encoder-decoder with random weights.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        widths: Channels of the levels, finest first; level k has stride 2**k.
        convolution: "standard" or "depthwise_separable", each 3x3.
        downsampling: How one level leads to the next: "max" or "average" pooling, a "strided"
            convolution, or "dilated", which keeps the size and looks twice as far at every level,
            so that nothing is upsampled later.
        upsampling: How maps grow again: "nearest" repeats each value, "bed_of_nails" puts zeros
            around it, "max_unpooling" puts it where the encoder's maximum was (needs max
            pooling), "transposed" is a transposed convolution that starts as bilinear
            interpolation, and "bilinear" interpolates.
        skip: Whether each level of the encoder is added to the decoder's ("add") or not ("none").
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above, or max unpooling is asked
            for without max pooling.
    """
    image = start(num_classes, input_shape)
    widths = check_widths(widths)
    check_choice("convolution", convolution, CONVOLUTIONS)
    check_choice("downsampling", downsampling, DOWNSAMPLINGS)
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    check_choice("skip", skip, SKIPS)
    if upsampling == "max_unpooling" and downsampling != "max":
        raise ValueError(
            "upsampling='max_unpooling' needs the switches of max pooling; pass "
            f"downsampling='max' instead of {downsampling!r}."
        )
    convolve, dilated = CONVOLUTIONS[convolution], downsampling == "dilated"
    x = PadToStride(1 if dilated else 2 ** (len(widths) - 1), name="pad")(scale_to_unit(image))

    encoded = []
    for level, filters in enumerate(widths):
        strides = 1
        if level and downsampling == "strided":
            strides = 2
        elif level and downsampling == "max":
            x = layers.MaxPooling2D(2, name=f"down{level}")(x)
        elif level and downsampling == "average":
            x = layers.AveragePooling2D(2, name=f"down{level}")(x)
        rate = 2**level if dilated else 1
        x = convolve(x, filters, strides=strides, dilation_rate=rate, name=f"encode{level}_1")
        x = convolve(x, filters, dilation_rate=rate, name=f"encode{level}_2")
        encoded.append(x)

    for level in range(len(widths) - 2, -1, -1):
        filters, source = widths[level], encoded[level]
        # Narrowed first: the ways up keep the channels, and unpooling needs the switches'.
        x = conv_norm_act(x, filters, 1, name=f"narrow{level}")
        if not dilated:
            x = _upsample(x, source, upsampling, f"up{level}")
        if skip == "add":
            x = layers.Add(name=f"fuse{level}")([x, source])
        x = convolve(x, filters, name=f"decode{level}")

    x = layers.Conv2D(num_classes, 1, name="score")(x)
    arguments = {
        "num_classes": num_classes,
        "widths": list(widths),
        "convolution": convolution,
        "downsampling": downsampling,
        "upsampling": upsampling,
        "skip": skip,
    }
    endpoints = {f"c{level}": features for level, features in enumerate(encoded) if level}
    return finish("encoder_decoder", image, endpoints, x, arguments, None)


def _upsample(x, source, upsampling, name):
    if upsampling == "transposed":
        return layers.Conv2DTranspose(
            x.shape[-1],
            4,
            2,
            "same",
            use_bias=False,
            kernel_initializer=BilinearKernel(),
            name=name,
        )(x)
    if upsampling == "bed_of_nails":
        return BedOfNails(name=name)(x)
    if upsampling == "max_unpooling":
        return MaxUnpooling(name=name)([x, source])
    return Resize(2, upsampling, name=name)(x)
