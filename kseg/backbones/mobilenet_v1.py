"""MobileNet v1: depthwise separable convolutions throughout.

Source: Howard et al., 2017, https://arxiv.org/abs/1704.04861. Names and widths are those of
keras.applications.MobileNet, so that its weights fit.
"""

from keras import KerasTensor, layers

from kseg.backbones.endpoints import Endpoints, StrideToDilation, scale_to_unit
from kseg.layers import PadToStride

# Filters and strides of the blocks, Table 1 of the paper.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


def mobilenet_v1(image: KerasTensor, *, output_stride: int, width: float = 1.0) -> Endpoints:
    """Maps an image to endpoints, which have 64, 128, 256, 512 and 1024 channels at full width.

    Args:
        image: Images (N, H, W, channels), 0..255.
        output_stride: 8, 16 or 32: the coarsest stride; what would stride further dilates instead.
        width: Factor of the channels.

    Returns:
        Endpoints of the image padded to a multiple of output_stride.

    Raises:
        ValueError: If output_stride is not one of these.
    """
    plan = StrideToDilation(output_stride)
    x = PadToStride(output_stride, name="pad")(scale_to_unit(image))
    x = _conv(x, int(32 * width), 3, plan.step(2)[0], "conv1")
    maps = []
    for block, (filters, strides) in enumerate(_BLOCKS, start=1):
        if strides == 2:
            maps.append(x)
        strides, dilation_rate = plan.step(strides)
        name = f"conv_dw_{block}"
        x = layers.DepthwiseConv2D(
            3, strides, "same", dilation_rate=dilation_rate, use_bias=False, name=name
        )(x)
        x = _norm_relu(x, name)
        x = _conv(x, int(filters * width), 1, 1, f"conv_pw_{block}")
    return Endpoints._make((*maps, x))


def _conv(x, filters, kernel_size, strides, name):
    x = layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False, name=name)(x)
    return _norm_relu(x, name)


def _norm_relu(x, name):
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
