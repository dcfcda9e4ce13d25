"""Decoders: endpoints to logits."""

from kseg.decoders.fcn import UPSAMPLINGS, fcn_decoder

__all__ = ["UPSAMPLINGS", "fcn_decoder"]
