"""The frame of every builder: what it does before and after its own part."""

import difflib
from collections.abc import Collection, Mapping, Sequence

import keras

from kseg.backbones import BACKBONES, load_imagenet_weights
from kseg.hub import is_on_hub, load_hub_weights
from kseg.layers import CropLike
from kseg.models.trained import TRAINED, load_trained_weights


def start(num_classes: int, input_shape: tuple, backbone: str | None = "") -> keras.KerasTensor:
    """Checks the arguments that all builders share, and makes the input.

    Args:
        num_classes: Channels of the logits.
        input_shape: (height, width, channels), with None for a size known only at run time.
        backbone: A name of `kseg.backbones.BACKBONES`; "" for a network without a backbone.

    Returns:
        The images (N, height, width, channels), the input of the network.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If num_classes is not within 2..255, the backbone is unknown, input_shape is
            not (height, width, channels), or Keras is set to channels_first.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool):
        raise TypeError(f"num_classes must be a whole number; got {num_classes!r}.")
    if not 2 <= num_classes <= 255:
        raise ValueError(
            "num_classes must be from 2 to 255 (255 itself marks ignored pixels), background "
            f"included; got {num_classes}."
        )
    if backbone != "":
        check_choice("backbone", backbone, BACKBONES)
    sizes = tuple(input_shape) if isinstance(input_shape, tuple | list) else ()
    known = [size for size in sizes[:2] if size is not None] + list(sizes[2:])
    if len(sizes) != 3 or not all(type(size) is int and size > 0 for size in known):
        raise ValueError(
            "input_shape must be (height, width, channels), with None for a height or width known "
            f"only at run time, such as (None, None, 3); got {input_shape}."
        )
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "kseg builds channels_last networks only; call "
            'keras.config.set_image_data_format("channels_last") first.'
        )
    return keras.Input(sizes, name="image")


def check_choice(argument: str, value: str | None, choices: Collection[str]) -> None:
    """Refuses a value that is not among the choices, and names the nearest.

    Args:
        argument: Name of the argument, for the message.
        value: What was passed.
        choices: What may be passed.

    Raises:
        ValueError: If value is not in choices.
    """
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{argument} must be one of {', '.join(sorted(choices))}; got {value!r}.{hint}"
        )


def check_widths(widths: Sequence[int], levels: int | None = None) -> tuple[int, ...]:
    """Refuses widths that no layer can have.

    Args:
        widths: Channels of the levels.
        levels: How many there must be; None for any number from two on.

    Returns:
        The widths as a tuple.

    Raises:
        ValueError: If they are not whole numbers above 0, or not as many as asked for.
    """
    right = levels is None or len(widths) == levels
    if not right or len(widths) < 2 or not all(type(w) is int and w > 0 for w in widths):
        raise ValueError(
            f"widths must be {levels or 'two or more'} whole numbers above 0; got {widths!r}."
        )
    return tuple(widths)


def check_filters(filters: int) -> None:
    """Refuses a number of channels of which layers with a part of them would have none.

    Raises:
        ValueError: If it is not a whole number from 4 on.
    """
    if type(filters) is not int or filters < 4:
        raise ValueError(f"filters must be a whole number from 4 on; got {filters!r}.")


def finish(
    builder: str,
    image: keras.KerasTensor,
    endpoints: Mapping[str, keras.KerasTensor],
    logits: keras.KerasTensor | Mapping[str, keras.KerasTensor],
    arguments: dict,
    weights: str | None,
) -> keras.Model:
    """Crops what comes out to the image, makes the model, notes how and sets its weights.

    Args:
        builder: Name of the network in `kseg.models.MODELS`.
        image: The input, as `start` made it.
        endpoints: Level, such as "c3", to the features of the encoder that reach stride 2**level.
        logits: The scores (N, H, W, num_classes) on the grid of the padded image. Of a network
            with several outputs, name to output (N, H, W, channels).
        arguments: What the builder was called with, without input_shape and weights.
        weights: "imagenet", a data set that `TRAINED` has weights for, hf://user/name, or None.

    Returns:
        The model. Its output is the scores, from the layer "logits", or a dict of the outputs,
        each from a layer of its name. It has three attributes: `kseg_spec` ({"builder",
        "arguments"}), from which a run is rebuilt, `kseg_start` (its weights; "none" for random
        ones), and `kseg_endpoints` (level to the name of the layer that ends it), which tells the
        stages of the backbone apart.

    Raises:
        ValueError: If there are no such weights for this network.
    """
    several = isinstance(logits, Mapping)
    cropped = {
        name: CropLike(name=name, dtype="float32")([output, image])
        for name, output in (logits if several else {"logits": logits}).items()
    }
    model = keras.Model(image, cropped if several else cropped["logits"], name=builder)
    channels = image.shape[-1]
    if channels != 3:
        arguments = {**arguments, "input_shape": [None, None, channels]}
    model.kseg_spec = {"builder": builder, "arguments": arguments}
    model.kseg_start = weights or "none"
    model.kseg_endpoints = {
        level: endpoint._keras_history.operation.name for level, endpoint in endpoints.items()
    }
    if weights == "imagenet":
        if arguments.get("backbone") is None:
            raise ValueError(
                f"There are no ImageNet weights for {builder} without a backbone; pass "
                "weights=None."
            )
        load_imagenet_weights(model, arguments["backbone"])
    elif is_on_hub(weights):
        load_hub_weights(model, str(weights))
    elif weights is not None:
        check_choice("weights", weights, {"imagenet"} | {r.data for r in TRAINED.values()})
        if channels != 3:
            raise ValueError(
                f"The weights {weights!r} are for RGB images, and input_shape asks for {channels} "
                "channel(s); pass input_shape=(None, None, 3), or weights=None."
            )
        load_trained_weights(model, weights)
    return model
