"""What every builder does before and after its own part."""

import difflib
from collections.abc import Collection, Mapping, Sequence

import keras

from kseg.backbones import BACKBONES, load_imagenet_weights
from kseg.models.trained import TRAINED, load_trained_weights


def check_arguments(num_classes: int, backbone: str | None, input_shape: tuple) -> None:
    """Refuses arguments that no builder takes; backbone None is a network with its own.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If num_classes is not within 2..255, the backbone is unknown, input_shape is
            not (height, width, 3), or Keras is set to channels_first.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool):
        raise TypeError(f"num_classes must be a whole number; got {num_classes!r}.")
    if not 2 <= num_classes <= 255:
        raise ValueError(
            "num_classes must be from 2 to 255 (255 itself marks ignored pixels), background "
            f"included; got {num_classes}."
        )
    if backbone is not None:
        check_choice("backbone", backbone, BACKBONES)
    sizes = tuple(input_shape)
    if (
        len(sizes) != 3
        or sizes[2] != 3
        or not all(s is None or (isinstance(s, int) and s > 0) for s in sizes[:2])
    ):
        raise ValueError(
            "input_shape must be (height, width, 3), with None for a size known only at run "
            f"time; got {input_shape}."
        )
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "kseg builds channels_last networks only; call "
            'keras.config.set_image_data_format("channels_last") first.'
        )


def check_choice(argument: str, value: str, choices: Collection[str]) -> None:
    """Refuses a value that is not among the choices, and names the nearest.

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
    """Refuses channels that no layer can have.

    Returns:
        The widths as a tuple.

    Raises:
        ValueError: If they are not `levels` whole numbers (at least two without levels) above 0.
    """
    right = levels is None or len(widths) == levels
    if not right or len(widths) < 2 or not all(type(w) is int and w > 0 for w in widths):
        raise ValueError(
            f"widths must be {levels or 'two or more'} whole numbers above 0; got {widths!r}."
        )
    return tuple(widths)


def finish(
    builder: str,
    image: keras.KerasTensor,
    endpoints: Mapping[str, keras.KerasTensor],
    logits: keras.KerasTensor,
    arguments: dict,
    weights: str | None,
) -> keras.Model:
    """Makes the model, notes what it was made from, and sets its weights.

    Args:
        builder: Name of the network in `kseg.models.MODELS`.
        image: The input.
        endpoints: Level, such as "c3", to the features of the encoder that reach stride 2**level.
        logits: The output.
        arguments: What the builder was called with, without input_shape and weights.
        weights: "imagenet", a data set that `TRAINED` has weights for, or None.

    Returns:
        The model, with two attributes: `kseg_spec` ({"builder", "arguments"}), from which a run
        is rebuilt, and `kseg_endpoints` (level to the name of the layer that ends it), which
        tells the stages of the backbone apart.

    Raises:
        ValueError: If there are no such weights for this network.
    """
    model = keras.Model(image, logits, name=builder)
    model.kseg_spec = {"builder": builder, "arguments": arguments}
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
    elif weights is not None:
        check_choice("weights", weights, {"imagenet"} | {r.data for r in TRAINED.values()})
        load_trained_weights(model, weights)
    return model
