"""MobileNet v3: inverted residuals with squeeze-and-excite and hard swish, or without either.

Source: Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244; the minimalistic networks
(3x3 kernels, ReLU, no squeeze-and-excite, made for accelerators) from tensorflow/models,
research/slim/nets/mobilenet. Names are those of keras.applications.MobileNetV3Small and Large, so
that their weights fit; their activation layers, which have none, are named here.
"""

from typing import NamedTuple

from keras import KerasTensor, layers

from kseg.backbones.endpoints import Endpoints, StrideToDilation, round_filters, scale_to_unit
from kseg.layers import PadToStride


class _Block(NamedTuple):
    """A row of Tables 1 and 2 of the paper."""

    kernel_size: int
    expanded: int
    filters: int
    squeeze: bool
    swish: bool
    strides: int


_SMALL = (
    _Block(3, 16, 16, True, False, 2),
    _Block(3, 72, 24, False, False, 2),
    _Block(3, 88, 24, False, False, 1),
    _Block(5, 96, 40, True, True, 2),
    _Block(5, 240, 40, True, True, 1),
    _Block(5, 240, 40, True, True, 1),
    _Block(5, 120, 48, True, True, 1),
    _Block(5, 144, 48, True, True, 1),
    _Block(5, 288, 96, True, True, 2),
    _Block(5, 576, 96, True, True, 1),
    _Block(5, 576, 96, True, True, 1),
)
_LARGE = (
    _Block(3, 16, 16, False, False, 1),
    _Block(3, 64, 24, False, False, 2),
    _Block(3, 72, 24, False, False, 1),
    _Block(5, 72, 40, True, False, 2),
    _Block(5, 120, 40, True, False, 1),
    _Block(5, 120, 40, True, False, 1),
    _Block(3, 240, 80, False, True, 2),
    _Block(3, 200, 80, False, True, 1),
    _Block(3, 184, 80, False, True, 1),
    _Block(3, 184, 80, False, True, 1),
    _Block(3, 480, 112, True, True, 1),
    _Block(3, 672, 112, True, True, 1),
    _Block(5, 672, 160, True, True, 2),
    _Block(5, 960, 160, True, True, 1),
    _Block(5, 960, 160, True, True, 1),
)


def mobilenet_v3_small(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """Maps an image to endpoints with 16, 72, 96, 288 and 576 channels.

    Args:
        image: RGB 0..255, (N, H, W, 3).
        output_stride: 8, 16 or 32: the coarsest stride; beyond it, dilation.

    Returns:
        Endpoints of the image padded to a multiple of output_stride. Squeeze-and-excite averages
        over the padding too.

    Raises:
        ValueError: If output_stride is none of these.
    """
    return _mobilenet_v3(image, _SMALL, output_stride)


def mobilenet_v3_large(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v3_small` with 64, 72, 240, 672 and 960 channels."""
    return _mobilenet_v3(image, _LARGE, output_stride)


def mobilenet_v3_small_minimalistic(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v3_small` with 3x3 kernels, ReLU and no squeeze-and-excite."""
    return _mobilenet_v3(image, _minimalistic(_SMALL), output_stride)


def mobilenet_v3_large_minimalistic(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v3_large` with 3x3 kernels, ReLU and no squeeze-and-excite."""
    return _mobilenet_v3(image, _minimalistic(_LARGE), output_stride)


def _minimalistic(blocks):
    return tuple(b._replace(kernel_size=3, squeeze=False, swish=False) for b in blocks)


def _mobilenet_v3(image, blocks, output_stride):
    plan = StrideToDilation(output_stride)
    swish = blocks[-1].swish  # the stem and the head have the last block's activation
    x = PadToStride(output_stride, name="pad")(scale_to_unit(image))
    x = _act(_conv(x, 16, 3, plan.step(2)[0], "conv"), swish, "conv")
    maps = []
    for index, block in enumerate(blocks):
        name = f"expanded_conv_{index}" if index else "expanded_conv"
        shortcut = x
        if index:
            x = _conv(x, block.expanded, 1, 1, f"{name}_expand")
            x = _act(x, block.swish, f"{name}_expand")
        if block.strides == 2:
            maps.append(x)
        strides, dilation_rate = plan.step(block.strides)
        x = layers.DepthwiseConv2D(
            block.kernel_size,
            strides,
            "same",
            dilation_rate=dilation_rate,
            use_bias=False,
            name=f"{name}_depthwise",
        )(x)
        x = _act(_norm(x, f"{name}_depthwise"), block.swish, f"{name}_depthwise")
        if block.squeeze:
            x = _squeeze_and_excite(x, f"{name}_squeeze_excite")
        x = _conv(x, block.filters, 1, 1, f"{name}_project")
        if block.strides == 1 and shortcut.shape[-1] == block.filters:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    x = _conv(x, 6 * x.shape[-1], 1, 1, "conv_1")
    return Endpoints._make((*maps, _act(x, swish, "conv_1")))


def _squeeze_and_excite(x, name):
    """Scales each channel by a number from 0 to 1 that all channels' means decide."""
    channels = x.shape[-1]
    scale = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
    scale = layers.Conv2D(round_filters(channels / 4), 1, name=f"{name}_conv")(scale)
    scale = layers.ReLU(name=f"{name}_relu")(scale)
    scale = layers.Conv2D(channels, 1, name=f"{name}_conv_1")(scale)
    scale = layers.Activation("hard_sigmoid", name=f"{name}_hard_sigmoid")(scale)
    return layers.Multiply(name=f"{name}_mul")([x, scale])


def _conv(x, filters, kernel_size, strides, name):
    x = layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False, name=name)(x)
    return _norm(x, name)


def _norm(x, name):
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _act(x, swish, name):
    if swish:
        return layers.Activation("hard_swish", name=f"{name}_hard_swish")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
