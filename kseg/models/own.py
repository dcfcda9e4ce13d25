"""Loading a network of the user's own from a .keras file.

Such a file is a zip of a configuration, which names classes to call, and weights. Keras's safe mode
refuses Python code in it; here only classes of a list are let through, and nothing that is larger
or deeper than a network needs, before Keras sees the file at all.
"""

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg import layers as kseg_layers
from kseg.plain_hdf5 import check_plain

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_CONFIG_BYTES = 16 << 20
_FILE_BYTES = 2 << 30
_RATIO = 200  # of unpacked to packed bytes; Keras itself packs nothing
_DEPTH = 100
_WHOLE_NUMBER = 1 << 20  # more filters, units or pixels than any network has
_ANY_NUMBER = ("seed", "shared_object_id")

_PLAIN = {"__keras_tensor__", "__slice__", "__ellipsis__", "__tensor__", "__numpy__"}
_MODELS = {
    ("keras.src.models.functional", "Functional"),
    *((module, name) for module in ("keras", "keras.models") for name in ("Model", "Sequential")),
}
_HELPERS = {
    "keras.initializers": keras.initializers,
    "keras.regularizers": keras.regularizers,
    "keras.constraints": keras.constraints,
    "keras.dtype_policies": keras.dtype_policies,
    "keras": keras.dtype_policies,
}
_OPS = {f"keras.src.ops.{name}" for name in ("numpy", "nn", "math", "image", "linalg")}
# These run code of the file or read other files.
_REFUSED_LAYERS = {
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("TextVectorization", "StringLookup", "IntegerLookup"),
}


class UnsafeFileError(ValueError):
    """A model file that is damaged or not safe; `exit_code` is the command line's."""

    exit_code = 4


def load_keras_file(path: str | Path) -> keras.Model:
    """Loads a .keras file made of Keras's and kseg's layers.

    Args:
        path: The file, as `model.save("NAME.keras")` writes it. How it was compiled is ignored.

    Returns:
        The model.

    Raises:
        ValueError: If there is no such file.
        UnsafeFileError: If it is damaged, too large, or names anything but a layer of Keras or
            kseg; `Lambda` layers are refused too.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; name a .keras file.")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            config = json.loads(archive.read("config.json"))
            weights = archive.read("model.weights.h5")
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, NotImplementedError) as error:
        raise UnsafeFileError(f"{path} is not a whole .keras file: {_line(error)}") from None
    except (ValueError, RecursionError, RuntimeError) as error:
        if isinstance(error, UnsafeFileError):
            raise
        raise UnsafeFileError(f"{path}: its config.json cannot be read: {_line(error)}") from None
    if not isinstance(config, dict):
        raise UnsafeFileError(f"{path}: its config.json describes no model.")
    config.pop("compile_config", None)  # a loss or optimizer of the user's is not needed
    _check_config(path, config)
    _check_weights(path, weights)
    return _load(path)


def _load(path: Path) -> keras.Model:
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # Keras raises whatever its layers do
        raise UnsafeFileError(f"{path} cannot be loaded by Keras: {_line(error)}") from None
    if not isinstance(model, keras.Model):
        raise UnsafeFileError(f"{path} holds a {type(model).__name__}; a model is needed.")
    for variable in model.weights:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UnsafeFileError(f"{path}: the weight {variable.path} is not finite.")
    return model


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if strange := sorted(set(names) - _MEMBERS):
        raise UnsafeFileError(
            f"{path} holds {strange[0]!r}; a .keras file of plain layers holds "
            f"{', '.join(sorted(_MEMBERS))} and nothing else."
        )
    if len(set(names)) != len(names):
        raise UnsafeFileError(f"{path} holds one member twice.")
    limits = {"config.json": _CONFIG_BYTES, "metadata.json": _CONFIG_BYTES}
    for member in members:
        limit = min(limits.get(member.filename, _FILE_BYTES), _RATIO * path.stat().st_size)
        if member.file_size > limit:
            raise UnsafeFileError(
                f"{path}: {member.filename} unpacks to {member.file_size} bytes; at most {limit} "
                "are taken."
            )


def _check_config(path: Path, config: Any) -> None:
    """Goes through all that a configuration holds, without recursion."""
    todo = [(config, 0, "")]
    while todo:
        value, depth, key = todo.pop()
        if depth > _DEPTH:
            raise UnsafeFileError(f"{path}: its config.json is nested more than {_DEPTH} deep.")
        if isinstance(value, dict):
            if "class_name" in value or "registered_name" in value:
                _check_class(path, value)
            todo += [(inner, depth + 1, name) for name, inner in value.items()]
        elif isinstance(value, list):
            todo += [(inner, depth + 1, key) for inner in value]
        elif isinstance(value, int) and abs(value) > _WHOLE_NUMBER and key not in _ANY_NUMBER:
            raise UnsafeFileError(
                f"{path}: {key} is {value} in its config.json; at most {_WHOLE_NUMBER} is taken."
            )


def _check_class(path: Path, entry: dict[str, Any]) -> None:
    name, module = entry.get("class_name"), entry.get("module")
    registered = entry.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        known = registered.startswith("kseg>") and registered[5:] in vars(kseg_layers)
        known = known and name == registered[5:]
    elif name == "function":
        function = entry.get("config")
        known = isinstance(function, str) and _is_activation(function) and module == "builtins"
    else:
        known = registered in (None, name) and _is_keras_class(str(module), str(name))
    if not known:
        shown = f"{module}.{name}" if module else f"{name}"
        raise UnsafeFileError(
            f"{path} names {shown[:100]!r}, which is not a layer of Keras or kseg that can be "
            "loaded safely; build the network in Python and use kseg.load and export.convert."
        )


def _is_activation(name: str) -> bool:
    return not name.startswith("_") and callable(getattr(keras.activations, name, None))


def _is_keras_class(module: str, name: str) -> bool:
    if name in _PLAIN and module == "None":
        return True
    if (module, name) in _MODELS:
        return True
    if module == "keras.layers":
        return name not in _REFUSED_LAYERS and isinstance(getattr(keras.layers, name, None), type)
    if module in _HELPERS:
        return isinstance(getattr(_HELPERS[module], name, None), type)
    if module == "keras.src.ops.core":  # others there take functions
        return name in ("Cast", "StopGradient", "Unstack")
    if module in _OPS:  # such as x / 255 in a functional model
        found = getattr(sys.modules.get(module), name, None)
        return isinstance(found, type) and issubclass(found, keras.Operation)
    return False


def _check_weights(path: Path, content: bytes) -> None:
    """Refuses HDF5 that reads other files, goes round in circles or claims more than it holds."""
    try:
        check_plain(io.BytesIO(content))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UnsafeFileError(f"{path}: its weights cannot be read: {_line(error)}") from None


def _line(error: BaseException) -> str:
    """Returns the first line of an error's text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
