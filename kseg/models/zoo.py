"""The networks by name, for the command line, run folders and tests."""

from collections.abc import Callable

import keras

from kseg.models._checks import check_choice
from kseg.models.atrous_fpn import build_atrous_fpn
from kseg.models.fcn import build_fcn8s, build_fcn16s, build_fcn32s
from kseg.models.trained import TRAINED, TrainedRecord

__all__ = ["MODELS", "TRAINED", "TrainedRecord", "build"]

MODELS: dict[str, Callable[..., keras.Model]] = {
    "fcn32s": build_fcn32s,
    "fcn16s": build_fcn16s,
    "fcn8s": build_fcn8s,
    "atrous_fpn": build_atrous_fpn,
}


def build(builder: str, arguments: dict) -> keras.Model:
    """Builds a network by name.

    Args:
        builder: A name of `MODELS`.
        arguments: For the builder.

    Returns:
        The network.

    Raises:
        ValueError: If there is no such network, or its builder refuses the arguments.
    """
    check_choice("model", builder, MODELS)
    return MODELS[builder](**arguments)
