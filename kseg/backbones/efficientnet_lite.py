"""EfficientNet-Lite: inverted residuals with ReLU6 and without squeeze-and-excite.

Source: Tan and Le, ICML 2019, https://arxiv.org/abs/1905.11946 (the plan and the scaling), and
the Lite variants of tensorflow/tpu, models/official/efficientnet/lite, made for post-training
quantization. Padding is TensorFlow's "same", as there.
"""

import math
from typing import NamedTuple

from keras import KerasTensor

from kseg.backbones.endpoints import Endpoints, StrideToDilation, round_filters, scale_to_unit
from kseg.layers import PadToStride, conv_norm_act, inverted_residual


class _Stage(NamedTuple):
    """A run of blocks; the first strides, the others keep the size."""

    expansion: int
    kernel_size: int
    strides: int
    filters: int
    blocks: int


_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(6, 3, 2, 24, 2),
    _Stage(6, 5, 2, 40, 2),
    _Stage(6, 3, 2, 80, 3),
    _Stage(6, 5, 1, 112, 3),
    _Stage(6, 5, 2, 192, 4),
    _Stage(6, 3, 1, 320, 1),
)


def efficientnet_lite0(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """Maps an image to endpoints with 96, 144, 240, 672 and 1280 channels.

    Args:
        image: RGB 0..255, (N, H, W, 3).
        output_stride: 8, 16 or 32: the coarsest stride; beyond it, dilation.

    Returns:
        Endpoints of the image padded to a multiple of output_stride.

    Raises:
        ValueError: If output_stride is none of these.
    """
    return _efficientnet_lite(image, 1.0, 1.0, output_stride)


def efficientnet_lite0_cut(image: KerasTensor, *, output_stride: int = 16) -> Endpoints:
    """Lite0 up to the expansion of block 11: 0.8 M parameters, with the same ImageNet weights.

    Args:
        image: RGB 0..255, (N, H, W, 3).
        output_stride: 8 or 16: the network ends before it would reach stride 32.

    Returns:
        Endpoints of the image padded to a multiple of output_stride; c5 is c4, 672 channels.

    Raises:
        ValueError: If output_stride is neither.
    """
    if output_stride not in (8, 16):
        raise ValueError(
            "efficientnet_lite0_cut ends at stride 16, so output_stride must be 8 or 16; got "
            f"{output_stride}."
        )
    return _efficientnet_lite(image, 1.0, 1.0, output_stride, cut=True)


def efficientnet_lite1(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `efficientnet_lite0`, deeper by 1.1."""
    return _efficientnet_lite(image, 1.0, 1.1, output_stride)


def efficientnet_lite2(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `efficientnet_lite0`, wider by 1.1 and deeper by 1.2."""
    return _efficientnet_lite(image, 1.1, 1.2, output_stride)


def efficientnet_lite3(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `efficientnet_lite0`, wider by 1.2 and deeper by 1.4."""
    return _efficientnet_lite(image, 1.2, 1.4, output_stride)


def efficientnet_lite4(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `efficientnet_lite0`, wider by 1.4 and deeper by 1.8."""
    return _efficientnet_lite(image, 1.4, 1.8, output_stride)


def _efficientnet_lite(image, width, depth, output_stride, cut=False):
    plan = StrideToDilation(output_stride)
    x = PadToStride(output_stride, name="pad")(scale_to_unit(image))
    # Lite scales neither the stem and the head, nor the depth of the first and last stage.
    x = conv_norm_act(x, 32, strides=plan.step(2)[0], name="stem")
    maps, index = [], 0
    for number, stage in enumerate(_STAGES):
        blocks = stage.blocks
        if 0 < number < len(_STAGES) - 1:
            blocks = math.ceil(blocks * depth)
        for repeat in range(blocks):
            strides = stage.strides if repeat == 0 else 1
            planned_strides, dilation_rate = plan.step(strides)
            x, wide = inverted_residual(
                x,
                round_filters(stage.filters * width),
                stage.kernel_size,
                expansion=stage.expansion,
                strides=planned_strides,
                dilation_rate=dilation_rate,
                name=f"block{index}",
            )
            if strides == 2:
                maps.append(wide)
            if cut and len(maps) == 4:
                return Endpoints._make((*maps, wide))
            index += 1
    return Endpoints._make((*maps, conv_norm_act(x, 1280, 1, name="head")))
