"""What is asked of an export, with what the model says of it; what cannot be is refused.

It is refused before anything is done, in a sentence.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import keras

from export.graph.acceptance import as_network
from export.graph.ends import end_at
from export.options import ExportOptions
from export.proof.workshop import check_free
from export.recipes import INT8, QuantizationRecipe
from export.targets import TARGETS
from kseg.analysis.graph import trace
from kseg.data import Data
from kseg.instances import tells_objects_apart
from kseg.instances.predicting import things_of
from kseg.seeing import channels_of, check_channels, check_classes, working_size
from kseg.training.outputs import num_classes_of


def check_request(
    model: keras.Model,
    recipe: QuantizationRecipe,
    target: str,
    input_size: tuple[int, int],
    path: Path,
) -> keras.Model:
    """Refuses what cannot be converted, by the arguments and with the errors of `export.convert`.

    Returns:
        The model as one whose layers can be followed; see `as_network`.
    """
    if not isinstance(recipe, QuantizationRecipe):
        raise TypeError(
            f"recipe must be what a function of export.recipes returns, such as "
            f"full_integer(images); got {getattr(recipe, '__name__', type(recipe).__name__)}."
        )
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {target!r}.")
    if recipe.name not in TARGETS[target].recipes:
        raise ValueError(
            f"The target {target} takes {' or '.join(TARGETS[target].recipes)} files; got the "
            f"recipe {recipe.name}."
        )
    sizes = tuple(input_size)
    if len(sizes) != 2 or not all(isinstance(side, int) and side > 0 for side in sizes):
        raise ValueError(f"input_size must be (height, width) in pixels; got {input_size}.")
    _check_place(path)
    check_backend("convert")
    return as_network(model, (sizes[0], sizes[1]))


def check_backend(caller: str) -> None:
    """Refuses to go on where Keras does not run on TensorFlow.

    Args:
        caller: The name of the function that needs it.

    Raises:
        ValueError: If Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{caller} needs the TensorFlow backend; Keras runs on {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow and load the run there."
        )


def _check_place(path: Path) -> None:
    if path.suffix != ".tflite":
        raise ValueError(f"path must end in .tflite; got {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {path.parent} does not exist.")
    try:  # the rights of a folder do not say it: root has them everywhere
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-").cleanup()
    except OSError as error:
        raise ValueError(
            f"Nothing can be written into the folder {path.parent}: {error.strerror}."
        ) from error


def check_options(
    model: keras.Model,
    recipe: QuantizationRecipe,
    target: str,
    input_size: tuple[int, int],
    path: Path,
    validation: Data | None,
    options: ExportOptions,
) -> None:
    """Refuses options that do not fit; see `export.convert` for arguments and errors."""
    check_free(path, options.overwrite)
    channels = channels_of(model)
    if recipe.images and recipe.images[0].shape[-1] != channels:
        raise ValueError(
            f"The recipe's images must have the channels that the model takes, {channels}; they "
            f"have {recipe.images[0].shape[-1]}."
        )
    if channels != 3 and not recipe.images and validation is None:
        # Made-up images say little of a network, and nothing of one for other than RGB.
        raise ValueError(
            f"model takes images of {channels} channel(s), and there is none to compare the file "
            f"on; pass validation= (a data set with `channels: {channels}`), or a recipe with "
            "images, such as full_integer(images)."
        )
    if validation is not None:
        if not isinstance(validation, Data):
            raise TypeError(
                "validation must be a data set that kseg.load_data returns; got "
                f"{type(validation).__name__}. Leave it out to compare on the recipe's images."
            )
        check_channels(model, validation)
        check_classes(num_classes_of(model), validation)
    elif options.classes is not None and options.classes.num_classes != num_classes_of(model):
        raise ValueError(
            f"classes must name the model's {num_classes_of(model)} classes; got "
            f"{options.classes.num_classes} names."
        )
    things_for(model, validation, options)
    end_at(trace(model, input_size), options.stride)
    if recipe.activations == "int16" and options.head == "argmax":
        raise ValueError(
            "TensorFlow has no argmax of 16 bits; take the head logits or softmax with int16x8."
        )
    if options.rescue:
        _check_rescue(recipe, target, validation)


def check_qat_request(
    model: keras.Model,
    target: str,
    input_size: tuple[int, int],
    path: Path,
    validation: Data | None,
    options: ExportOptions,
) -> keras.Model:
    """Refuses, before hours of training, what `QuantizedModel.convert` would refuse after them.

    Arguments and errors as there; returns as `check_request`.
    """
    model = check_request(model, INT8, target, input_size, path)
    check_options(model, INT8, target, input_size, path, validation, options)
    if options.rescue or options.explain:
        raise ValueError(
            "rescue and explain are for networks quantized after training; leave them off."
        )
    return model


def things_for(
    model: keras.Model, validation: Data | None, options: ExportOptions
) -> tuple[int, ...]:
    """Returns the classes whose objects a file tells apart.

    Args:
        model: The model; see `check_request`.
        validation: As for `export.convert`.
        options: As for `export.convert`.

    Returns:
        Their ids; () for a model of one output.

    Raises:
        ValueError: If a model of three outputs is to be exported and nobody says which classes are
            things, or they are none of the model's, or not those of the validation data.
    """
    if not tells_objects_apart(model):
        if options.things is not None:
            raise ValueError(
                f"things is for models of the outputs semantic, center and offset; {model.name} "
                "has one output."
            )
        return ()
    known = () if validation is None else validation.told_things()
    told = options.things or getattr(model, "kseg_things", None) or known
    if not told:
        raise ValueError(
            "Nobody says which classes are things, whose objects the file tells apart; pass "
            "ExportOptions(things=(1,)) with their ids, or validation data with `instances`."
        )
    things, count = things_of(model, told), num_classes_of(model)
    if max(things) >= count:
        raise ValueError(
            f"things must be ids of the model's classes, 0 to {count - 1}; got {max(things)}."
        )
    if validation is not None and set(things) != set(known):
        raise ValueError(
            f"The model tells the objects of the classes {', '.join(map(str, things))} apart, and "
            f"{validation.source} those of {', '.join(map(str, known))}; name the same classes "
            "under `instances`."
        )
    return things


def sized_options(
    options: ExportOptions | None, model: keras.Model, input_size: tuple[int, int]
) -> ExportOptions:
    """Returns options that say the working size where the model carries one and they do not.

    Args:
        options: As for `export.convert`.
        model: The model that is handed in.
        input_size: (height, width) of the file's input, to which images are brought then.
    """
    options = options or ExportOptions()
    if options.working_size is None and working_size(model) is not None:
        return replace(options, working_size=input_size)
    return options


def _check_rescue(recipe: QuantizationRecipe, target: str, validation: Data | None) -> None:
    if not TARGETS[target].takes_float:
        raise ValueError(
            "rescue keeps layers of an int8 file in float, which only the target android takes; "
            f"got the target {target}."
        )
    if recipe.activations != "int8":
        raise ValueError(
            "rescue keeps layers of an int8 file in float, so the recipe must be full_integer; got "
            f"the recipe {recipe.name}."
        )
    if validation is None:
        raise ValueError("rescue needs labelled images to know how many layers are enough.")
