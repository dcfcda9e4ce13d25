"""Fast-SCNN: two branches that share their first three layers.

Source: Poudel, Liwicki and Cipolla, BMVC 2019, https://arxiv.org/abs/1902.04502.

Departures: ReLU6 for ReLU. The pyramid pools sliding windows of 3, 5 and 9 positions and the whole
image, where the paper pools 6, 3 and 2 bins per side and the whole and enlarges them again: at the
paper's 32 x 64 positions a bin is as large, other sizes need no odd resize, and every op maps to
the Edge TPU. The image's part is added (`kseg.layers.add_image_features`). No dropout.
"""

import keras
from keras import layers

from kseg.backbones.endpoints import scale_to_unit
from kseg.layers import (
    PadToStride,
    Resize,
    add_image_features,
    conv_norm_act,
    depthwise_norm_act,
    inverted_residual,
    separable_norm_act,
)
from kseg.models.frame import finish, start

# filters and strides of the first of three blocks
_STAGES = ((64, 2), (96, 2), (128, 1))
_WINDOWS = (3, 5, 9)
_FILTERS = 128


def build_fast_scnn(
    num_classes: int = 21,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = None,
) -> keras.Model:
    """Builds Fast-SCNN, with random weights or those of a trained network.

    Args:
        num_classes: Channels of the logits: the classes and the background, but not the ignored
            class.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: The name of the data set of a trained network ("camvid", RGB only), or None for
            random numbers.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to logits (N, H, W, num_classes), float32.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above.
    """
    image = start(num_classes, input_shape)
    endpoints = {}
    x = PadToStride(32, name="pad")(scale_to_unit(image))
    endpoints["c1"] = x = conv_norm_act(x, 32, strides=2, name="learn_to_downsample1")
    endpoints["c2"] = x = separable_norm_act(x, 48, strides=2, name="learn_to_downsample2")
    endpoints["c3"] = x = separable_norm_act(x, 64, strides=2, name="learn_to_downsample3")
    fine = x
    for stage, (filters, strides) in enumerate(_STAGES, 1):
        for block in range(3):
            x, _ = inverted_residual(
                x, filters, strides=1 if block else strides, name=f"stage{stage}_block{block}"
            )
        if stage == 1:
            endpoints["c4"] = x
    endpoints["c5"] = x = _pyramid_pooling(x)
    x = _fuse(x, fine)
    x = separable_norm_act(x, _FILTERS, name="classify1")
    x = separable_norm_act(x, _FILTERS, name="classify2")
    x = layers.Conv2D(num_classes, 1, name="score_c3")(x)
    x = Resize(8, name="upsample_image")(x)
    return finish("fast_scnn", image, endpoints, x, {"num_classes": num_classes}, weights)


def _pyramid_pooling(x):
    width = x.shape[-1] // 4
    branches = [x]
    for window in _WINDOWS:
        pooled = layers.AveragePooling2D(window, 1, "same", name=f"pool{window}")(x)
        branches.append(conv_norm_act(pooled, width, 1, name=f"pool{window}"))
    near = layers.Concatenate(name="pool_concat")(branches)
    near = conv_norm_act(near, _FILTERS, 1, activation=False, name="pool_project")
    return add_image_features(near, x, width, name="pool")


def _fuse(coarse, fine):
    """Adds context of stride 32 to detail of stride 8."""
    x = Resize(4, name="upsample_c3")(coarse)
    x = depthwise_norm_act(x, dilation_rate=4, name="fuse_depthwise")
    x = conv_norm_act(x, _FILTERS, 1, activation=False, name="fuse_coarse")
    fine = conv_norm_act(fine, _FILTERS, 1, activation=False, name="fuse_fine")
    x = layers.Add(name="fuse_c3")([x, fine])
    return layers.ReLU(6.0, name="fuse_relu")(x)
