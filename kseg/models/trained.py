"""Networks that were trained with kseg: their weights and what goes with them.

Each has a record, `kseg/weights/NAME.json`, in which the weights, the label map, the scores and the
commands that trained it stand together, so that they cannot be told apart. `scripts/publish.py`
writes it.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import keras
import numpy as np

from kseg.classes import Classes


@dataclass(frozen=True)
class TrainedRecord:
    """A trained network.

    Attributes:
        builder: Name of the network in `kseg.models.MODELS`.
        arguments: What it was built with, beside the weights.
        data: The data set, the word to pass as `weights`.
        file: The float16 weights, a file in `kseg/weights`.
        sha256: Of the file.
        classes: The names and colours of the classes.
        input_range: What it takes; the scaling is its first layer.
        size: (height, width) of the images, the scale that the network works at.
        mean_iou: On the data set's validation images, of the weights that `commands` made: they
            were not trained on those images.
        iou_per_class: Likewise, name to IoU.
        commands: What trained it, in order; each starts from those before.
        licence: How the weights may be used.
        final_command: What trained on from there with the validation images too, and so made the
            weights in the file; None where `commands` did.
        final_mean_iou: Of the weights in the file on the validation images. With a final_command,
            that is no measure of the network; it shows whether a file is as it should be.
        int8_file: The verified full-integer .tflite file of size `size` in `kseg/weights`, or None.
        int8_sha256: Of that file.
        int8_mean_iou: As mean_iou, of such a file of the same weights.
        final_int8_mean_iou: As final_mean_iou, of int8_file.
    """

    builder: str
    arguments: dict[str, Any]
    data: str
    file: str
    sha256: str
    classes: Classes
    input_range: str
    size: tuple[int, int]
    mean_iou: float
    iou_per_class: dict[str, float]
    commands: tuple[str, ...]
    licence: str
    final_command: str | None = None
    final_mean_iou: float | None = None
    int8_file: str | None = None
    int8_sha256: str | None = None
    int8_mean_iou: float | None = None
    final_int8_mean_iou: float | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the weights in the file were trained on."""
        return ("train", "val") if self.final_command else ("train",)


def _read_record(file: Traversable) -> TrainedRecord:
    facts = json.loads(file.read_text(encoding="utf-8"))
    facts["classes"] = Classes.from_json(facts["classes"])
    facts["size"], facts["commands"] = tuple(facts["size"]), tuple(facts["commands"])
    return TrainedRecord(**facts)


TRAINED: dict[str, TrainedRecord] = {
    file.name.removesuffix(".json"): _read_record(file)
    for file in sorted((resources.files("kseg") / "weights").iterdir(), key=lambda f: f.name)
    if file.name.endswith(".json")
}


def best_int8(data: str) -> TrainedRecord | None:
    """Returns the network with the best .tflite file for a data set, or None."""
    files = [r for r in TRAINED.values() if r.data == data and r.int8_mean_iou is not None]
    return max(files, key=lambda record: record.int8_mean_iou or 0.0, default=None)


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
    with resources.as_file(packaged(record.file, record.sha256)) as path:
        load_weights_npz(model, path)
    model.kseg_size = record.size  # the scale at which kseg.predict and kseg.evaluate use it


def copy_weights(source: keras.Model, target: keras.Model) -> int:
    """Sets every weight of a model that another has under the same path and shape.

    So a backbone that has learnt with one decoder starts the next one.

    Args:
        source: The trained model; it is not changed.
        target: The model to start.

    Returns:
        How many weights were set.

    Raises:
        ValueError: If there is none.
    """
    weights = {variable.path: variable for variable in source.weights}
    copied = 0
    for variable in target.weights:
        found = weights.get(variable.path)
        if found is not None and found.shape == variable.shape:
            variable.assign(found)
            copied += 1
    if not copied:
        raise ValueError(
            f"{source.name} shares no layer with {target.name}; its weights cannot start it."
        )
    return copied


def packaged(file: str, sha256: str) -> Traversable:
    """Returns a file of `kseg/weights`.

    Raises:
        ValueError: If it is not what its record says.
    """
    source = resources.files("kseg") / "weights" / file
    if hashlib.sha256(source.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{source} is damaged (wrong sha256). Install kseg anew.")
    return source


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
