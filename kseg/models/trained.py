"""Networks that were trained with kseg: their weights and what goes with them.

The weights of a network, its label map, its score and the command that trained it stand in one
record, so that they cannot be told apart.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

import keras
import numpy as np

from kseg.label_map import CAMVID, LabelMap


@dataclass(frozen=True)
class TrainedRecord:
    """A trained network.

    Attributes:
        builder: Name of the network in `kseg.models.MODELS`.
        arguments: What it was built with, beside the weights.
        data: The data set, the word to pass as `weights`.
        file: The float16 weights, a file in `kseg/weights`.
        sha256: Of the file.
        label_map: The names and colours of the classes.
        size: (height, width) of the photos, the scale that the network works at.
        mean_iou: On the data set's validation photos, with these weights.
        command: What trained it.
        licence: How the weights may be used.
    """

    builder: str
    arguments: dict
    data: str
    file: str
    sha256: str
    label_map: LabelMap
    size: tuple[int, int]
    mean_iou: float
    command: str
    licence: str


TRAINED: dict[str, TrainedRecord] = {
    "fcn8s_camvid": TrainedRecord(
        builder="fcn8s",
        arguments={
            "num_classes": 11,
            "backbone": "efficientnet_lite0",
            "upsampling": "transposed",
        },
        data="camvid",
        file="fcn8s_efficientnet_lite0_camvid.npz",
        sha256="f4268900c2f187012ed428ae180693fa2a1d8d101152a6444f4381bedb79dbf6",
        label_map=CAMVID,
        size=(360, 480),
        mean_iou=0.7126,
        command=(
            "kseg train camvid.yaml --model fcn8s --crop 288 384 --freeze c2 --epochs 42 "
            "--validate-every 3 --out runs/camvid"
        ),
        licence="research only: CamVid has no open licence",
    ),
}


def load_trained_weights(model: keras.Model, data: str) -> None:
    """Sets all weights of a model that was built like a trained one.

    Args:
        model: Has `kseg_spec`.
        data: Name of the data set.

    Raises:
        ValueError: If no network of this kind was trained on the data set, or the file is
            damaged.
    """
    spec = model.kseg_spec
    for record in TRAINED.values():
        same = (record.builder, record.arguments) == (spec["builder"], spec["arguments"])
        if record.data == data and same:
            break
    else:
        known = [f"{r.builder} with {r.arguments}" for r in TRAINED.values() if r.data == data]
        raise ValueError(
            f"There are no weights {data!r} for {spec['builder']} with {spec['arguments']}; "
            f"there are for {'; '.join(known) or 'no network'}."
        )
    source = resources.files("kseg") / "weights" / record.file
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise ValueError(f"{source} is damaged (wrong sha256). Install kseg anew.")
    with resources.as_file(source) as path:
        load_weights_npz(model, path)


def save_weights_npz(model: keras.Model, path) -> None:
    """Writes the weights of a model as float16, under their variable paths.

    Args:
        model: The network.
        path: The .npz file.
    """
    arrays = {variable.path: np.asarray(variable).astype("float16") for variable in model.weights}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_weights_npz(model: keras.Model, path) -> None:
    """Sets the weights of a model from a file that `save_weights_npz` wrote.

    Args:
        model: The network.
        path: The .npz file.

    Raises:
        ValueError: If the file lacks a weight of the model or has it in another shape.
    """
    with np.load(path, allow_pickle=False) as arrays:
        for variable in model.weights:
            if variable.path not in arrays or arrays[variable.path].shape != variable.shape:
                raise ValueError(
                    f"{path} has no weight {variable.path} of shape {tuple(variable.shape)}; it "
                    f"is not of the network {model.name}."
                )
            variable.assign(arrays[variable.path].astype("float32"))
