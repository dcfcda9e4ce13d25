"""Backbones: image to endpoints at strides 2 to 32."""

from collections.abc import Callable

from kseg.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite0_cut,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from kseg.backbones.endpoints import Endpoints
from kseg.backbones.mobilenet_v1 import (
    mobilenet_v1,
    mobilenet_v1_025,
    mobilenet_v1_050,
    mobilenet_v1_075,
)
from kseg.backbones.mobilenet_v2 import (
    mobilenet_v2,
    mobilenet_v2_035,
    mobilenet_v2_050,
    mobilenet_v2_075,
    mobilenet_v2_130,
    mobilenet_v2_140,
)
from kseg.backbones.mobilenet_v3 import (
    mobilenet_v3_large,
    mobilenet_v3_large_minimalistic,
    mobilenet_v3_small,
    mobilenet_v3_small_minimalistic,
)
from kseg.backbones.resnet import resnet50
from kseg.backbones.separable import separable
from kseg.backbones.vgg import vgg16
from kseg.backbones.weights import load_imagenet_weights

BACKBONES: dict[str, Callable[..., Endpoints]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite0_cut": efficientnet_lite0_cut,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
    "efficientnet_lite3": efficientnet_lite3,
    "efficientnet_lite4": efficientnet_lite4,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_025": mobilenet_v1_025,
    "mobilenet_v1_050": mobilenet_v1_050,
    "mobilenet_v1_075": mobilenet_v1_075,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_035": mobilenet_v2_035,
    "mobilenet_v2_050": mobilenet_v2_050,
    "mobilenet_v2_075": mobilenet_v2_075,
    "mobilenet_v2_130": mobilenet_v2_130,
    "mobilenet_v2_140": mobilenet_v2_140,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_large_minimalistic": mobilenet_v3_large_minimalistic,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_small_minimalistic": mobilenet_v3_small_minimalistic,
    "resnet50": resnet50,
    "separable": separable,
    "vgg16": vgg16,
}

__all__ = ["BACKBONES", "Endpoints", "load_imagenet_weights", *BACKBONES]
