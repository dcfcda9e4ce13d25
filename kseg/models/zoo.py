"""The networks by name, for the command line, run folders and tests."""

import inspect
from collections.abc import Callable

import keras

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
from kseg.models.trained import TRAINED, TrainedRecord
from kseg.models.unet import build_unet

__all__ = ["MODELS", "TRAINED", "TrainedRecord", "build"]

MODELS: dict[str, Callable[..., keras.Model]] = {
    "fcn32s": build_fcn32s,
    "fcn16s": build_fcn16s,
    "fcn8s": build_fcn8s,
    "dilated_fcn": build_dilated_fcn,
    "segnet": build_segnet,
    "unet": build_unet,
    "linknet": build_linknet,
    "deeplab_v3": build_deeplab_v3,
    "deeplab_v3_plus": build_deeplab_v3_plus,
    "lraspp": build_lraspp,
    "fast_scnn": build_fast_scnn,
    "atrous_fpn": build_atrous_fpn,
    "encoder_decoder": build_encoder_decoder,
}


def build(builder: str, arguments: dict) -> keras.Model:
    """Builds a network by name.

    Args:
        builder: A name of `MODELS`.
        arguments: For the builder; weights of None are what a builder without them has.

    Returns:
        The network.

    Raises:
        ValueError: If there is no such network, or its builder refuses the arguments.
    """
    check_choice("model", builder, MODELS)
    takes = inspect.signature(MODELS[builder]).parameters
    if "weights" not in takes and (weights := arguments.get("weights")) is not None:
        raise ValueError(f"There are no weights {weights!r} for {builder}; pass weights=None.")
    if "weights" not in takes:
        arguments = {name: value for name, value in arguments.items() if name != "weights"}
    return MODELS[builder](**arguments)
