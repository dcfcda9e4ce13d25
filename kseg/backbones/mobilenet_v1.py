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


def mobilenet_v1(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """Maps an image to endpoints with 64, 128, 256, 512 and 1024 channels.

    Args:
        image: RGB 0..255, (N, H, W, 3).
        output_stride: 8, 16 or 32: the coarsest stride; beyond it, dilation.

    Returns:
        Endpoints of the image padded to a multiple of output_stride.

    Raises:
        ValueError: If output_stride is none of these.
    """
    return _mobilenet_v1(image, 1.0, output_stride)


def mobilenet_v1_025(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v1` at a quarter of its width."""
    return _mobilenet_v1(image, 0.25, output_stride)


def mobilenet_v1_050(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v1` at half its width."""
    return _mobilenet_v1(image, 0.5, output_stride)


def mobilenet_v1_075(image: KerasTensor, *, output_stride: int = 32) -> Endpoints:
    """As `mobilenet_v1` at three quarters of its width."""
    return _mobilenet_v1(image, 0.75, output_stride)


def _mobilenet_v1(image, width, output_stride):
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
