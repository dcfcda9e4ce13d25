"""Segmentation networks, one file each."""

from kseg.models.atrous_fpn import build_atrous_fpn
from kseg.models.deeplab import build_deeplab_v3, build_deeplab_v3_plus
from kseg.models.dilated_fcn import build_dilated_fcn
from kseg.models.encoder_decoder import build_encoder_decoder
from kseg.models.fast_scnn import build_fast_scnn
from kseg.models.fcn import build_fcn8s, build_fcn16s, build_fcn32s
from kseg.models.frame import check_choice
from kseg.models.linknet import build_linknet
from kseg.models.lraspp import build_lraspp
from kseg.models.segnet import build_segnet
from kseg.models.trained import copy_weights
from kseg.models.unet import build_unet
from kseg.models.zoo import MODELS, TRAINED, TrainedRecord, build

__all__ = [
    "MODELS",
    "TRAINED",
    "TrainedRecord",
    "build",
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
    "check_choice",
    "copy_weights",
]
