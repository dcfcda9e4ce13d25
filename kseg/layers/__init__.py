"""Blocks that networks are written with, and the few layers that Keras lacks."""

from kseg.layers.blocks import conv_norm_act, depthwise_norm_act, separable_norm_act
from kseg.layers.geometry import CropLike, PadToStride, Resize
from kseg.layers.initializers import BilinearKernel

__all__ = [
    "BilinearKernel",
    "CropLike",
    "PadToStride",
    "Resize",
    "conv_norm_act",
    "depthwise_norm_act",
    "separable_norm_act",
]
