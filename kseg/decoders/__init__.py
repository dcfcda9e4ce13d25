"""Decoders: functions from the endpoints of a backbone to logits."""

from kseg.decoders.atrous_fpn import atrous_fpn_decoder
from kseg.decoders.deeplab import deeplab_v3_decoder, deeplab_v3_plus_decoder
from kseg.decoders.dilated import dilated_decoder
from kseg.decoders.fcn import UPSAMPLINGS, fcn_decoder
from kseg.decoders.linknet import linknet_decoder
from kseg.decoders.lraspp import lraspp_decoder
from kseg.decoders.panoptic import panoptic_decoder

__all__ = [
    "UPSAMPLINGS",
    "atrous_fpn_decoder",
    "deeplab_v3_decoder",
    "deeplab_v3_plus_decoder",
    "dilated_decoder",
    "fcn_decoder",
    "linknet_decoder",
    "lraspp_decoder",
    "panoptic_decoder",
]
