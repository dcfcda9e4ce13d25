"""Decoders: endpoints to logits."""

from kseg.decoders.atrous_fpn import atrous_fpn_decoder
from kseg.decoders.fcn import UPSAMPLINGS, fcn_decoder

__all__ = ["UPSAMPLINGS", "atrous_fpn_decoder", "fcn_decoder"]
