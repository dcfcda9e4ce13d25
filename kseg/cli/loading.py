"""Finding the model that a command names, .keras files of the user's own among them."""

from pathlib import Path
from typing import Any

import keras

import kseg
from kseg.classes import Classes
from kseg.cli.opening import open_model
from kseg.instances import tells_objects_apart
from kseg.models.own import load_keras_file
from kseg.training.run import is_run, open_run


def find_model(
    name: str, *, network: Path | None = None, num_classes: int | None = None, **given: Any
):
    """Returns (model, classes, working size) of what a command names.

    Args:
        name: As for `kseg.cli.opening.open_model`, or a .keras file.
        network: As for `load_own`.
        num_classes: As for `open_model`.
        **given: More for `open_model`: how a .tflite file is run. None is as if it was not given.

    Raises:
        ValueError: If there is no such model, or an option does not go with it.
    """
    given = {option: value for option, value in given.items() if value is not None}
    model = load_own(name, network)
    if model is None:
        return open_model(name, num_classes=num_classes, **given)
    for option in given:
        raise ValueError(f"--{option} is for .tflite files; {name} is none. Export it first.")
    if is_keras_file(name):
        return model, _unnamed(model, name), None
    run = open_run(name)
    return model, run.classes, run.size


def load_own(name: str, network: Path | None) -> keras.Model | None:
    """Returns the model of a .keras file or of a run whose network kseg did not build, or None.

    Args:
        name: What the command names.
        network: The .keras file of the network, for such a run.

    Raises:
        ValueError: If network is missing or not needed, or a file holds a network without weights
            or of another input than one image.
    """
    if is_run(name) and open_run(name).record.get("spec") is None:
        if network is None:
            raise ValueError(
                f"{name} was trained from a network that kseg did not build; name its file with "
                "--model FILE.keras."
            )
        return kseg.load(name, model=load_keras_file(network))
    if network is not None:
        raise ValueError(
            f"--model is for runs of networks that kseg did not build; leave it out for {name}."
        )
    return _of_one_image(load_keras_file(name), name) if is_keras_file(name) else None


def _of_one_image(model: keras.Model, name: str) -> keras.Model:
    """Returns a model, once it is known to have weights and to take one image."""
    if not model.built or not model.inputs:
        raise ValueError(
            f"The network in {name} has no weights yet, as it never saw an image; train it, or "
            "begin it with keras.Input((height, width, 3)), and save it again."
        )
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        inputs = f"{len(shapes)} input{'s' * (len(shapes) > 1)} of shape"
        raise ValueError(
            f"{name} takes {inputs} {', '.join(map(str, shapes))}; a segmentation network takes "
            "one image (N, H, W, channels). Save keras.Model(image, ...) with that one."
        )
    return model


def is_keras_file(name: str) -> bool:
    """Returns whether a name is meant to be that of a .keras file."""
    return Path(name).suffix == ".keras" and not Path(name).is_dir()


def _unnamed(model: keras.Model, name: str) -> Classes:
    """Returns made-up classes, as many as the model has outputs for a pixel."""
    shape = model.output["semantic"].shape if tells_objects_apart(model) else model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or not isinstance(shape[-1], int):
        raise ValueError(
            f"{name} gives {shape}; a segmentation network gives one output (N, H, W, classes)."
        )
    if not 2 <= shape[-1] <= 255:
        raise ValueError(
            f"{name} gives {shape[-1]} values for a pixel; it must give one for each of 2 to 255 "
            "classes."
        )
    return Classes(tuple(f"class {index}" for index in range(shape[-1])))
