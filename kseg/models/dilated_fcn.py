"""Dilated FCN: a backbone whose last strides are dilations, and the context module.

Source: Yu and Koltun, ICLR 2016, https://arxiv.org/abs/1511.07122.

Departures: the default backbone is light where the paper's is VGG-16, and is trained together with
the context module, which takes the class scores and starts as the identity, as there. Borders are
padded with zeros, not reflected.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import dilated_decoder
from kseg.layers import CropLike
from kseg.models.frame import check_arguments, finish

_OUTPUT_STRIDE = 8


def build_dilated_fcn(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0_cut",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
) -> keras.Model:
    """Builds the dilated FCN, whose features stay at stride 8; arguments as `build_fcn8s`."""
    check_arguments(num_classes, backbone, input_shape)
    image = keras.Input(input_shape, name="image")
    endpoints = BACKBONES[backbone](image, output_stride=_OUTPUT_STRIDE)
    logits = dilated_decoder(endpoints, num_classes, _OUTPUT_STRIDE)
    logits = CropLike(name="logits", dtype="float32")([logits, image])
    arguments = {"num_classes": num_classes, "backbone": backbone}
    return finish("dilated_fcn", image, endpoints._asdict(), logits, arguments, weights)
