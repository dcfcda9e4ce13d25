"""A small backbone of depthwise separable blocks, without pretrained weights.

It has seventeen layers of MobileNetV1's plan, at an eighth of its width, so that networks on it
train and convert in seconds. It is meant for tests and for very small devices.
"""

from keras import KerasTensor

from kseg.backbones.endpoints import Endpoints, StrideToDilation, scale_to_unit
from kseg.layers import PadToStride, conv_norm_act, separable_norm_act

_WIDTHS = (8, 16, 32, 48, 64)


def separable(image: KerasTensor, *, output_stride: int) -> Endpoints:
    """Maps an image to endpoints with 8, 16, 32, 48 and 64 channels.

    Args:
        image: Images (N, H, W, channels), 0..255.
        output_stride: 8, 16 or 32: the coarsest stride; what would stride further dilates instead.

    Returns:
        Endpoints of the image padded to a multiple of output_stride.

    Raises:
        ValueError: If output_stride is not one of these.
    """
    plan = StrideToDilation(output_stride)
    x = PadToStride(output_stride, name="pad")(scale_to_unit(image))
    maps = []
    for level, filters in enumerate(_WIDTHS, start=1):
        strides, dilation_rate = plan.step(2)
        if level == 1:
            x = conv_norm_act(x, filters, strides=strides, name="stem")
        else:
            x = separable_norm_act(
                x, filters, strides=strides, dilation_rate=dilation_rate, name=f"stage{level}_down"
            )
            dilation_rate = plan.step(1)[1]
            x = separable_norm_act(x, filters, dilation_rate=dilation_rate, name=f"stage{level}")
        maps.append(x)
    return Endpoints(*maps)
