"""kseg: from labelled images to a segmentation model that runs on a phone or a Coral board.

Names are imported when they are first used, so that `import kseg` and `kseg --help` are fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kseg.analysis import Description, describe
    from kseg.classes import Classes
    from kseg.data import Data, load_data
    from kseg.inference import predict
    from kseg.metrics import Scores
    from kseg.models import (
        MODELS,
        build_atrous_fpn,
        build_deeplab_v3,
        build_deeplab_v3_plus,
        build_dilated_fcn,
        build_encoder_decoder,
        build_fast_scnn,
        build_fcn8s,
        build_fcn16s,
        build_fcn32s,
        build_linknet,
        build_lraspp,
        build_segnet,
        build_unet,
    )
    from kseg.training import Recipe, Run, evaluate, fit, load
    from kseg.visualize import colorize, overlay

__version__ = "0.2.0"

_HOMES = {
    "Data": "kseg.data",
    "Description": "kseg.analysis",
    "Classes": "kseg.classes",
    "MODELS": "kseg.models",
    "Recipe": "kseg.training",
    "Run": "kseg.training",
    "Scores": "kseg.metrics",
    "build_atrous_fpn": "kseg.models",
    "build_deeplab_v3": "kseg.models",
    "build_deeplab_v3_plus": "kseg.models",
    "build_dilated_fcn": "kseg.models",
    "build_encoder_decoder": "kseg.models",
    "build_fast_scnn": "kseg.models",
    "build_fcn16s": "kseg.models",
    "build_fcn32s": "kseg.models",
    "build_fcn8s": "kseg.models",
    "build_linknet": "kseg.models",
    "build_lraspp": "kseg.models",
    "build_segnet": "kseg.models",
    "build_unet": "kseg.models",
    "colorize": "kseg.visualize",
    "describe": "kseg.analysis",
    "evaluate": "kseg.training",
    "fit": "kseg.training",
    "load": "kseg.training",
    "load_data": "kseg.data",
    "overlay": "kseg.visualize",
    "predict": "kseg.inference",
}

__all__ = [
    "MODELS",
    "Classes",
    "Data",
    "Description",
    "Recipe",
    "Run",
    "Scores",
    "build_atrous_fpn",
    "build_deeplab_v3",
    "build_deeplab_v3_plus",
    "build_dilated_fcn",
    "build_encoder_decoder",
    "build_fast_scnn",
    "build_fcn8s",
    "build_fcn16s",
    "build_fcn32s",
    "build_linknet",
    "build_lraspp",
    "build_segnet",
    "build_unet",
    "colorize",
    "describe",
    "evaluate",
    "fit",
    "load",
    "load_data",
    "overlay",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
