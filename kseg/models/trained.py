"""Networks that were trained with kseg: their weights and what goes with them.

Each has a record, `kseg/weights/NAME.json`, which names the weights, the classes, the scores and
the commands that trained it. `scripts/publish.py` writes it.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from kseg.classes import Classes


@dataclass(frozen=True)
class TrainedRecord:
    """A trained network.

    Attributes:
        builder: Name of the network in `kseg.models.MODELS`.
        arguments: Arguments of the builder, without the weights.
        data: Name of the data set that it was trained on, and the word to pass as `weights`.
        file: Name of the file in `kseg/weights` that holds the float16 weights.
        sha256: Hash of that file.
        classes: Names and colours of the classes.
        input_range: Images that the network takes; it scales them itself.
        size: (height, width) that the network works at, and of the input of int8_file.
        mean_iou: Score on the data set's validation images of the weights that `commands` made,
            which were not trained on those images.
        iou_per_class: The same score for each class, name to IoU.
        commands: The commands that trained it, in order; each starts from those before.
        licence: How the weights may be used.
        final_commands: The commands that went on from these runs with the validation images too.
            The weights in the file are the mean of those of `final_runs`; () if `commands` made
            them.
        logit_adjustment: How much of what class weights put into the logits was then taken out of
            the last biases, where the commands trained with `logit_adjustment=0`.
        final_mean_iou: Score of the weights in the file on the validation images. If there is a
            final command, this does not measure the network: it shows whether a file is whole.
        int8_file: Name of the verified full-integer .tflite file of size `size` in
            `kseg/weights`, or None.
        int8_sha256: Hash of int8_file.
        int8_mean_iou: Like mean_iou, measured with a full-integer file made of the same weights in
            the same way as int8_file.
        final_int8_mean_iou: Like final_mean_iou, measured with int8_file.
        qat_epochs: How many epochs of quantization-aware training int8_file had after these
            weights, on the images of `splits`; 0 if it was quantized after training.
        test: Score of int8_file on the data set's test images, as {"mean_iou": 0..1, "note": who
            graded it and how}; None where nobody has.
        native: Whether the network works at the images' own size, and size is int8_file's alone.
        things: Ids of the classes whose objects it tells apart.
        instances: Its other scores where it does, {"float": {...}, "int8": {...}}, each as
            `kseg.instances.PanopticScores.to_json` gives them, and "offset_error" in pixels.
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
    final_commands: tuple[str, ...] = ()
    logit_adjustment: float = 0.0
    final_mean_iou: float | None = None
    int8_file: str | None = None
    int8_sha256: str | None = None
    int8_mean_iou: float | None = None
    final_int8_mean_iou: float | None = None
    qat_epochs: int = 0
    test: dict[str, Any] | None = None
    native: bool = False
    things: tuple[int, ...] = ()
    instances: dict[str, Any] | None = None

    @property
    def working_size(self) -> tuple[int, int] | None:
        """The (height, width) that images are fitted into; None where they keep their own."""
        return None if self.native else self.size

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the weights in the file were trained on."""
        return ("train", "val") if self.final_commands else ("train",)

    @property
    def final_runs(self) -> list[str]:
        """The run folders of final_commands from which no other of them starts."""
        return last_runs(self.final_commands)


def last_runs(commands: Iterable[str]) -> list[str]:
    """Returns the run folders that commands make, without those that a later command needs."""
    made: list[str] = []
    for command in commands:
        words = list(pairwise(shlex.split(command, comments=True)))
        needed = [after for before, after in words if before in ("--weights", "--teacher")]
        made = [run for run in made if run not in needed]
        made += [after for before, after in words if before == "--out"]
    return made


def _read_record(file: Traversable) -> TrainedRecord:
    facts = json.loads(file.read_text(encoding="utf-8"))
    facts["classes"] = Classes.from_json(facts["classes"])
    for name in ("size", "commands", "final_commands", "things"):
        facts[name] = tuple(facts.get(name, ()))
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
        model: A network that one of kseg's builders made.
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
    if "val" in record.splits:
        model.kseg_saw_val = record.classes.names
    model.kseg_size = record.working_size  # what kseg.predict and kseg.evaluate use it at
    if record.things:
        model.kseg_things = record.things


def copy_weights(source: keras.Model, target: keras.Model) -> int:
    """Sets every weight of a model that another has in a layer of the same name and shape.

    In this way a backbone that was trained with one decoder starts a network with another. Layers
    of models inside the model are told apart by the names of both, because blocks often repeat the
    names inside them. The target is then held to have seen what the source has
    (`kseg_saw_val`: the names of the classes of data whose validation images it was trained on).

    Args:
        source: The trained model; it is not changed.
        target: The model to start.

    Returns:
        How many weights were set.

    Raises:
        ValueError: If the models share no weight.
    """
    sources = dict(_layers(source))
    copied = 0
    for name, layer in _layers(target):
        given = sources[name].weights if name in sources else []
        for variable, found in zip(layer.weights, given, strict=False):
            if (found.name, found.shape) == (variable.name, variable.shape):
                variable.assign(found)
                copied += 1
    if not copied:
        raise ValueError(
            f"{source.name} shares no layer with {target.name}; its weights cannot start it."
        )
    target.kseg_saw_val = getattr(source, "kseg_saw_val", None)
    return copied


def _layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yields the layers of a model and of the models inside it, with "outer/inner" names."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.layers:
            yield from _layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def packaged(file: str, sha256: str) -> Traversable:
    """Returns a file of `kseg/weights`, after checking that it is whole.

    Args:
        file: Name of the file.
        sha256: Hash that the file's record gives.

    Raises:
        ValueError: If the file has another hash.
    """
    source = resources.files("kseg") / "weights" / file
    if hashlib.sha256(source.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{source} is damaged (wrong sha256). Install kseg again.")
    return source


def save_weights_npz(model: keras.Model, path, bits: int = 6) -> None:
    """Writes the weights of a model as float16, under their variable paths.

    Weights with a number above 65,504, such as the variances of large features, stay float32.

    Of dense kernels, 6 bits of the fraction are kept, which makes the file a fifth smaller and is
    finer than the int8 of a file; but both together may cost that file a fifth of a point of mean
    IoU. Depthwise kernels are few and delicate, and keep all 10.

    Args:
        model: The network.
        path: The .npz file to write.
        bits: Of the fraction of dense kernels.

    Raises:
        ValueError: If two weights of the model have the same path.
    """
    arrays = {k: _compact(np.asarray(variable), bits) for k, variable in _by_path(model).items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _compact(values: np.ndarray, bits: int) -> np.ndarray:
    """Returns weights as float16, those of dense kernels with so many bits of the fraction."""
    largest = np.finfo("float16").max
    if np.abs(values).max(initial=0) > largest:
        return values
    packed = values.astype("float16")
    if values.ndim < 2 or values.shape[-1] == 1:
        return packed
    fraction, exponent = np.frexp(packed.astype("float32"))
    steps = 2 ** (bits + 1)
    rounded = np.ldexp(np.rint(fraction * steps) / steps, exponent)  # which may be larger
    return values if np.abs(rounded).max(initial=0) > largest else rounded.astype("float16")


def load_weights_npz(model: keras.Model, path) -> None:
    """Sets the weights of a model from a file that `save_weights_npz` wrote.

    Args:
        model: The network.
        path: The .npz file to read.

    Raises:
        ValueError: If two weights of the model have the same path, or the file lacks a weight of
            the model or has it in another shape.
    """
    with np.load(path, allow_pickle=False) as arrays:
        for name, variable in _by_path(model).items():
            if name not in arrays or arrays[name].shape != variable.shape:
                raise ValueError(
                    f"{path} has no weight {name} of shape {tuple(variable.shape)}; it does not "
                    f"belong to the network {model.name}."
                )
            variable.assign(arrays[name].astype("float32"))


def _by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a model by path, and refuses paths that say two things."""
    found: dict[str, keras.Variable] = {}
    for variable in model.weights:
        if variable.path in found:
            raise ValueError(
                f"Two weights of the model {model.name} are called {variable.path}, so weights "
                "cannot be told apart by name; give each layer and each nested model a name of "
                "its own."
            )
        found[variable.path] = variable
    return found
