"""The blocks that networks are made of, and the few layers that Keras lacks."""

from kseg.layers.blocks import (
    add_image_features,
    conv_norm_act,
    depthwise_norm_act,
    inverted_residual,
    separable_norm_act,
)
from kseg.layers.geometry import CropLike, PadToStride, Resize
from kseg.layers.initializers import BilinearKernel, IdentityKernel
from kseg.layers.matrix import convolution_matrix
from kseg.layers.unpooling import BedOfNails, MaxUnpooling

__all__ = [
    "BedOfNails",
    "BilinearKernel",
    "CropLike",
    "IdentityKernel",
    "MaxUnpooling",
    "PadToStride",
    "Resize",
    "add_image_features",
    "conv_norm_act",
    "convolution_matrix",
    "depthwise_norm_act",
    "inverted_residual",
    "separable_norm_act",
]
