"""Backbones: image to endpoints at strides 2 to 32."""

from collections.abc import Callable

from kseg.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from kseg.backbones.endpoints import Endpoints
from kseg.backbones.separable import separable
from kseg.backbones.weights import load_imagenet_weights

BACKBONES: dict[str, Callable[..., Endpoints]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
    "efficientnet_lite3": efficientnet_lite3,
    "efficientnet_lite4": efficientnet_lite4,
    "separable": separable,
}

__all__ = ["BACKBONES", "Endpoints", "load_imagenet_weights", *BACKBONES]
