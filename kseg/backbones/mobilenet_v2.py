"""MobileNet v2: inverted residuals with linear bottlenecks.

Source: Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381. Names and widths are those of
keras.applications.MobileNetV2, so that its weights fit.
"""

from keras import KerasTensor, layers

from kseg.backbones.endpoints import Endpoints, StrideToDilation, round_filters, scale_to_unit
from kseg.layers import PadToStride

# Filters, blocks and strides of the first block of each stage, Table 2 of the paper.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


def mobilenet_v2(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """Maps an image to endpoints with 96, 144, 192, 576 and 1280 channels.

    Args:
        image: RGB 0..255, (N, H, W, 3).
        output_stride: 8, 16 or 32: the coarsest stride; beyond it, dilation.

    Returns:
        Endpoints of the image padded to a multiple of output_stride.

    Raises:
        ValueError: If output_stride is none of these.
    """
    return _mobilenet_v2(image, 1.0, output_stride)


def mobilenet_v2_035(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v2` at 0.35 of its width; c5 keeps its 1280 channels."""
    return _mobilenet_v2(image, 0.35, output_stride)


def mobilenet_v2_050(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v2` at half its width; c5 keeps its 1280 channels."""
    return _mobilenet_v2(image, 0.5, output_stride)


def mobilenet_v2_075(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v2` at three quarters of its width; c5 keeps its 1280 channels."""
    return _mobilenet_v2(image, 0.75, output_stride)


def mobilenet_v2_130(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v2` at 1.3 times its width, c5 too."""
    return _mobilenet_v2(image, 1.3, output_stride)


def mobilenet_v2_140(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v2` at 1.4 times its width, c5 too."""
    return _mobilenet_v2(image, 1.4, output_stride)


def _mobilenet_v2(image, width, output_stride):
    plan = StrideToDilation(output_stride)
    x = PadToStride(output_stride, name="pad")(scale_to_unit(image))
    x = _conv(x, round_filters(32 * width), 3, plan.step(2)[0], "Conv1")
    x = _relu(_norm(x, "bn_Conv1"), "Conv1_relu")
    maps, block = [], 0
    for filters, blocks, first_strides in _STAGES:
        for repeat in range(blocks):
            strides = first_strides if repeat == 0 else 1
            name = f"block_{block}" if block else "expanded_conv"
            shortcut = x
            if block:
                x = _conv(x, 6 * x.shape[-1], 1, 1, f"{name}_expand")
                x = _relu(_norm(x, f"{name}_expand_BN"), f"{name}_expand_relu")
            if strides == 2:
                maps.append(x)
            planned_strides, dilation_rate = plan.step(strides)
            x = layers.DepthwiseConv2D(
                3,
                planned_strides,
                "same",
                dilation_rate=dilation_rate,
                use_bias=False,
                name=f"{name}_depthwise",
            )(x)
            x = _relu(_norm(x, f"{name}_depthwise_BN"), f"{name}_depthwise_relu")
            x = _conv(x, round_filters(int(filters * width)), 1, 1, f"{name}_project")
            x = _norm(x, f"{name}_project_BN")
            if strides == 1 and x.shape[-1] == shortcut.shape[-1]:
                x = layers.Add(name=f"{name}_add")([shortcut, x])
            block += 1
    x = _conv(x, round_filters(1280 * max(1.0, width)), 1, 1, "Conv_1")
    return Endpoints._make((*maps, _relu(_norm(x, "Conv_1_bn"), "out_relu")))


def _conv(x, filters, kernel_size, strides, name):
    return layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False, name=name)(x)


def _norm(x, name):
    return layers.BatchNormalization(epsilon=1e-3, name=name)(x)


def _relu(x, name):
    return layers.ReLU(6.0, name=name)(x)
