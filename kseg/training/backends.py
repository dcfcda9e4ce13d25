"""Where a training finds what its backend can do and Keras has no switch for.

kseg is pure Keras, so code for one backend is not in it. It is loaded by its name, when a training
needs it and runs on that backend.
"""

import importlib
from types import ModuleType

import keras

_PARTS = {"tensorflow": "export.tensorflow_training"}


def part_of_backend() -> ModuleType | None:
    """Returns the module for the backend in use; None where it needs none."""
    name = _PARTS.get(keras.backend.backend())
    return importlib.import_module(name) if name else None
