"""VGG-16, the backbone of the FCN paper: its two fully connected layers are convolutions.

Source: Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556; as convolutions in
Long et al., CVPR 2015, https://arxiv.org/abs/1411.4038, where fc1 and fc2 are called fc6 and fc7.
Names are those of keras.applications.VGG16, so that its weights fit. Departures: "same" padding
instead of 100 pixels around the image, and no dropout after fc1 and fc2.
"""

from keras import KerasTensor, layers

from kseg.backbones.endpoints import Endpoints, StrideToDilation, scale_to_unit
from kseg.layers import PadToStride

# Filters and convolutions of the blocks, each of which ends in a pooling; configuration D.
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg16(image: KerasTensor, *, output_stride: int) -> Endpoints:
    """Maps an image to endpoints with 64, 128, 256, 512 and 4096 channels.

    134 M parameters, of which the 7x7 convolution fc1 has 103 M.

    Args:
        image: Images (N, H, W, channels), 0..255.
        output_stride: 8, 16 or 32: the coarsest stride; what would stride further dilates instead.

    Returns:
        Endpoints of the image padded to a multiple of output_stride: the results of the first
        four poolings and of fc2.

    Raises:
        ValueError: If output_stride is not one of these.
    """
    plan = StrideToDilation(output_stride)
    x = PadToStride(output_stride, name="pad")(scale_to_unit(image))
    maps = []
    for block, (filters, convolutions) in enumerate(_BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            x = _conv(x, filters, 3, plan, f"block{block}_conv{index}")
        strides, dilation_rate = plan.step(2)
        if strides == 2:
            x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        else:
            x = _dilated_pool(x, dilation_rate, f"block{block}_pool")
        maps.append(x)
    x = _conv(x, 4096, 7, plan, "fc1")
    maps[4] = _conv(x, 4096, 1, plan, "fc2")
    return Endpoints(*maps)


def _conv(x, filters, kernel_size, plan, name):
    _, dilation_rate = plan.step(1)
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        dilation_rate=dilation_rate,
        activation="relu",
        name=name,
    )(x)


def _dilated_pool(x, rate, name):
    """Takes the maximum of 2 x 2 pixels that lie `rate` apart, at a stride of 1.

    Keras has no layer for it. Zeros pad the map, and after a ReLU nothing is smaller.
    """
    padded = layers.ZeroPadding2D(((0, rate), (0, rate)), name=f"{name}_pad")(x)
    corners = [
        layers.Cropping2D(((top, rate - top), (left, rate - left)), name=f"{name}_{top}_{left}")(
            padded
        )
        for top in (0, rate)
        for left in (0, rate)
    ]
    return layers.Maximum(name=name)(corners)
