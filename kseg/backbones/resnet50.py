"""ResNet-50: residual bottleneck blocks.

Source: He et al., CVPR 2016, https://arxiv.org/abs/1512.03385; dilation as in Chen et al., 2017,
https://arxiv.org/abs/1706.05587. Names, symmetric padding of the stem and the stride in the first
1x1 convolution are those of keras.applications.ResNet50, so that its weights fit.
"""

from keras import KerasTensor, layers

from kseg.backbones.endpoints import Endpoints, StrideToDilation, scale_to_unit
from kseg.layers import PadToStride

# Filters, blocks and strides of stages conv2 to conv5, Table 1 of the paper.
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def resnet50(image: KerasTensor, *, output_stride: int) -> Endpoints:
    """Maps an image to endpoints with 64, 256, 512, 1024 and 2048 channels.

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
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, plan.step(2)[0], name="conv1_conv")(x)
    x = _relu(_norm(x, "conv1_bn"), "conv1_relu")
    maps = [x]
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, plan.step(2)[0], name="pool1_pool")(x)
    for level, (filters, blocks, first_strides) in enumerate(_STAGES, start=2):
        for block in range(1, blocks + 1):
            name = f"conv{level}_block{block}"
            shortcut = x
            strides, _ = plan.step(first_strides if block == 1 else 1)
            if block == 1:
                shortcut = layers.Conv2D(4 * filters, 1, strides, name=f"{name}_0_conv")(x)
                shortcut = _norm(shortcut, f"{name}_0_bn")
            x = layers.Conv2D(filters, 1, strides, name=f"{name}_1_conv")(x)
            x = _relu(_norm(x, f"{name}_1_bn"), f"{name}_1_relu")
            # The 1x1 convolution strides, so this one already looks as far as those after it.
            _, dilation_rate = plan.step(1)
            x = layers.Conv2D(
                filters, 3, padding="same", dilation_rate=dilation_rate, name=f"{name}_2_conv"
            )(x)
            x = _relu(_norm(x, f"{name}_2_bn"), f"{name}_2_relu")
            x = _norm(layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x), f"{name}_3_bn")
            x = layers.Add(name=f"{name}_add")([shortcut, x])
            x = _relu(x, f"{name}_out")
        maps.append(x)
    return Endpoints(*maps)


def _norm(x, name):
    return layers.BatchNormalization(epsilon=1.001e-5, name=name)(x)


def _relu(x, name):
    return layers.ReLU(name=name)(x)
