"""Segmentation networks, one file each."""

from kseg.models.atrous_fpn import build_atrous_fpn
from kseg.models.fcn import build_fcn8s, build_fcn16s, build_fcn32s
from kseg.models.zoo import MODELS, TRAINED, TrainedRecord, build

__all__ = [
    "MODELS",
    "TRAINED",
    "TrainedRecord",
    "build",
    "build_atrous_fpn",
    "build_fcn8s",
    "build_fcn16s",
    "build_fcn32s",
]
