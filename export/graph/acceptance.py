"""Which models can be converted; any other is refused in a sentence that says what to write."""

import inspect
from typing import Any

import keras

from export.tflite.maps import CHANNELS, NAMES, SEMANTIC, outputs_of
from kseg.analysis.graph import Graph, Step, trace
from kseg.instances import tells_objects_apart
from kseg.models.endings import ending_of, is_network
from kseg.seeing import channels_of


def as_network(model: Any, size: tuple[int, int]) -> keras.Model:
    """Returns a model as one whose layers can be followed, or refuses it.

    Args:
        model: From images (N, H, W, channels), 0..255, to logits (N, H, W, num_classes), or to a
            dict of three maps.
        size: (height, width) of the images.

    Returns:
        The model; one that is not functional as the only layer of one that is.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it has not one image as its input and one map of logits, or the three maps
            of `export.tflite.maps.NAMES`, as its output, or a layer of it cannot be converted.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model, which kseg.load makes of a run folder; got "
            f"{type(model).__name__}."
        )
    network = model if is_network(model) else _wrapped(model, size)
    _check_image(network)
    graph = trace(network, size)
    _check_outputs(graph, network)
    for step in graph.steps:
        _check_step(step)
    return network


def heads_of(model: keras.Model, head: str) -> tuple[str, str]:
    """Returns the head that a file has, and the one that is put onto the model for it.

    A model that ends in a softmax or a sigmoid returns scores already: they are not called logits,
    and get no second softmax.

    Args:
        model: As `as_network` returns it.
        head: The head that was asked for, one of `export.targets.HEADS`.
    """
    maps = model.output if tells_objects_apart(model) else None
    ending = ending_of(model, None if maps is None else maps[SEMANTIC])
    if head == "argmax" or ending is None or ending.startswith("log_"):
        return head, head
    return "softmax", "scores"


def _wrapped(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    if not model.built:
        raise ValueError(
            f"The model {model.name} has no weights yet, as it never saw an image; train or load "
            f"it, or begin a Sequential model with keras.Input((height, width, 3))."
        )
    image = keras.Input((*size, channels_of(model)))
    try:
        network = keras.Model(image, model(image), name=model.name)
        for carried in ("kseg_size", "kseg_bits", "kseg_things"):
            setattr(network, carried, getattr(model, carried, None))
        return network
    except Exception as error:
        raise ValueError(
            f"The model {model.name} ({type(model).__name__}) cannot be called on an image of "
            f"{size[0]} x {size[1]}: {str(error).splitlines()[0]}"
        ) from error


def _check_image(model: keras.Model) -> None:
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"convert needs a functional model from images (N, H, W, channels) to logits (N, H, W, "
            f"num_classes); {model.name} takes {len(shapes)} input(s) of shape "
            f"{', '.join(map(str, shapes))}."
        )
    first, channels = shapes[0][1], shapes[0][3]
    if first in (1, 3, 4) and (channels is None or channels > 4):
        raise ValueError(
            f"The model {model.name} takes images with their channels first, {shapes[0]}; build it "
            'after keras.config.set_image_data_format("channels_last").'
        )


def _check_outputs(graph: Graph, model: keras.Model) -> None:
    shapes = graph.shapes_of(graph.outputs)
    if len(shapes) > 1 and set(graph.names) != set(NAMES):
        raise ValueError(
            f"The model {model.name} has {len(shapes)} outputs, of shape "
            f"{', '.join(map(str, shapes))}, and a file has one; choose it with "
            "keras.Model(model.inputs, model.outputs[0]). (A network that tells objects apart "
            f"gives a dict of {', '.join(NAMES)}.)"
        )
    for shape in shapes:
        if len(shape) != 4:
            raise ValueError(
                "convert needs a functional model from images (N, H, W, channels) to logits (N, H, "
                f"W, num_classes); {model.name} returns {(None, *shape[1:])}."
            )
    maps = {name: graph.shapes[index] for name, index in outputs_of(graph).items()}
    semantic = next(iter(maps.values()))
    if semantic[-1] < 2:
        raise ValueError(
            f"The model {model.name} returns one channel, and labels are taken from the largest of "
            "several; write keras.Model(model.input, keras.ops.concatenate([1 - p, p], -1)) with "
            "p = model.output (for logits: [0 * p, p])."
        )
    for name in maps.keys() & CHANNELS.keys():
        if maps[name] != (*semantic[:3], CHANNELS[name]):
            raise ValueError(
                f"The output {name} of the model {model.name} must be {CHANNELS[name]} channel(s) "
                f"of the height and width of {SEMANTIC}, {semantic}; it is {maps[name]}."
            )


def _trains(step: Step) -> bool:
    """Whether a layer was told to train; Keras's image layers, such as Resizing, say so unasked."""
    told = inspect.signature(step.layer.call).parameters.get("training")
    return bool(step.training) and (told is None or told.default is not True)


def _check_step(step: Step) -> None:
    if _trains(step):
        raise ValueError(
            f"The layer {step.name} is called with training=True, so that its result depends on "
            "the other images of a batch or on chance; call it with training=False."
        )
    precision = getattr(step.layer, "variable_dtype", "float32")
    if getattr(step.layer, "weights", None) and precision != "float32":
        raise ValueError(
            f"The layer {step.name} has its weights in {precision}, and files are made of float32; "
            'build the model after keras.config.set_dtype_policy("float32") and set its weights '
            "there."
        )
    if getattr(step.layer, "data_format", None) == "channels_first":
        raise ValueError(
            f"The layer {step.name} has its channels first, which .tflite files do not; build the "
            'model after keras.config.set_image_data_format("channels_last").'
        )
