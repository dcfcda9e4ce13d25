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
    """A run of blocks, of which the first strides and the others keep the size."""

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


def efficientnet_lite(
    image: KerasTensor,
    *,
    output_stride: int,
    width: float = 1.0,
    depth: float = 1.0,
    cut: bool = False,
) -> Endpoints:
    """Maps an image to endpoints; Lite0 has 96, 144, 240, 672 and 1280 channels.

    Args:
        image: Images (N, H, W, channels), 0..255.
        output_stride: 8, 16 or 32: the coarsest stride; what would stride further dilates instead.
        width: Factor of the channels.
        depth: Factor of the blocks in a stage.
        cut: Whether to end at stride 16, with the expansion of the block that would reach stride
            32. Lite0 then has 0.8 M parameters, and c5 is c4.

    Returns:
        Endpoints of the image padded to a multiple of output_stride.

    Raises:
        ValueError: If output_stride is not one of these, or is 32 for a network that is cut.
    """
    if cut and output_stride not in (8, 16):
        raise ValueError(
            "efficientnet_lite0_cut ends at stride 16, so output_stride must be 8 or 16; got "
            f"{output_stride}."
        )
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
