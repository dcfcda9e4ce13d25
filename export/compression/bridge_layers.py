"""What each Keras 3 layer is in tf_keras: the table of `export.compression.bridge`.

To add a layer, add a line to `_RULES`: its class name, the settings that are carried over, and a
function that returns its parts. A part is one tf_keras layer: (suffix of its name, class, config,
weights). Settings that act only in training (initializers, regularizers, constraints) are left
out; any other that is not in a rule is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np

from export.compression.bridge_own import hard_sigmoid, hard_swish, swish

Shape = tuple[int | None, ...]


class Part(NamedTuple):
    """One tf_keras layer.

    Attributes:
        suffix: What is added to the name of the layer.
        kind: Its class, a name of `tf_keras.layers` or of
            `export.compression.bridge_own.OWN`.
        config: Its arguments.
        weights: Its weights.
    """

    suffix: str
    kind: str
    config: dict[str, Any]
    weights: list[np.ndarray]


ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("ReLU", {}),
    "relu6": ("ReLU", {"max_value": 6.0}),
    "leaky_relu": ("LeakyReLU", {"alpha": 0.2}),
    "silu": ("Activation", {"activation": swish}),
    "swish": ("Activation", {"activation": swish}),
    "hard_silu": ("Activation", {"activation": hard_swish}),
    "hard_swish": ("Activation", {"activation": hard_swish}),
    "hard_sigmoid": ("Activation", {"activation": hard_sigmoid}),
    **{
        name: ("Activation", {"activation": name})
        for name in ("elu", "gelu", "sigmoid", "softmax", "softplus", "tanh")
    },
}


@dataclass(frozen=True)
class _Rule:
    """How a layer crosses.

    Attributes:
        parts: From (layer, its settings, shapes of its inputs) to its parts.
        keys: Settings that are carried over.
        fixed: Settings that must have this value (or another of these, in a tuple).
    """

    parts: Callable[[keras.layers.Layer, dict[str, Any], list[Shape]], list[Part]]
    keys: tuple[str, ...] = ()
    fixed: dict[str, Any] = field(default_factory=dict)


def translate(layer: keras.layers.Layer, shapes: list[Shape]) -> list[Part]:
    """Returns a Keras 3 layer as tf_keras layers that follow each other; none for no change.

    Args:
        layer: With its weights.
        shapes: The shapes of its inputs, all sizes known.

    Raises:
        ValueError: If the layer, or a setting of it, is not in the table.
    """
    kind = type(layer).__name__
    rule = _RULES.get(kind)
    if rule is None:
        raise ValueError(
            f"The layer {layer.name} is a {kind}, which the bridge to tf_keras does not know. "
            f"Build the network from {', '.join(sorted(_RULES))}, or add a rule for it to "
            "export/compression/bridge_layers.py."
        )
    config = {key: value for key, value in layer.get_config().items() if not _ignored(key)}
    for key, value in config.items():
        if key in rule.keys:
            continue
        allowed = rule.fixed.get(key, ())
        if key not in rule.fixed or value not in (
            allowed if isinstance(allowed, tuple) else (allowed,)
        ):
            raise ValueError(
                f"The layer {layer.name} ({kind}) has {key}={value!r}, which the bridge to "
                f"tf_keras does not know. Build it with {_wanted(rule, key)}, or add the setting "
                "to its rule in export/compression/bridge_layers.py."
            )
    return rule.parts(layer, {key: config[key] for key in rule.keys if key in config}, shapes)


def _ignored(key: str) -> bool:
    return key in ("name", "trainable", "dtype", "autocast") or key.endswith(
        ("_initializer", "_regularizer", "_constraint")
    )


def _wanted(rule: _Rule, key: str) -> str:
    return f"{key}={rule.fixed[key]!r}" if key in rule.fixed else f"no setting {key}"


def _weights(layer) -> list[np.ndarray]:
    return [np.asarray(variable).copy() for variable in layer.weights]


def _activation(layer, value) -> list[Part]:
    """Returns the parts of an activation, given as Keras saves it."""
    if value in (None, "linear"):
        return []
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError(
            f"The layer {layer.name} has the activation {value!r}, which the bridge to tf_keras "
            f"does not know. Use one of {', '.join(sorted(ACTIVATIONS))}."
        )
    kind, config = ACTIVATIONS[value]
    return [Part("_act", kind, config, [])]


def _same(layer, config, _):
    return [Part("", type(layer).__name__, config, _weights(layer))]


def _convolution(layer, config, _):
    activation = config.pop("activation")
    kind = type(layer).__name__
    return [Part("", kind, config, _weights(layer)), *_activation(layer, activation)]


def _separable(layer, config, _):
    """A depthwise and a pointwise convolution; tfmot would split it under names of its own."""
    depthwise, pointwise, *bias = _weights(layer)
    filters, activation = config.pop("filters"), config.pop("activation")
    config["use_bias"], use_bias = False, config["use_bias"]
    return [
        Part("_depthwise", "DepthwiseConv2D", config, [depthwise]),
        Part(
            "",
            "Conv2D",
            {"filters": filters, "kernel_size": 1, "use_bias": use_bias},
            [pointwise, *bias],
        ),
        *_activation(layer, activation),
    ]


def _norm(layer, config, shapes):
    if layer.axis not in (-1, len(shapes[0]) - 1):
        raise ValueError(
            f"The layer {layer.name} normalizes axis {layer.axis}; the bridge to tf_keras takes "
            "the last one only (channels_last)."
        )
    return [Part("", "BatchNormalization", config, _weights(layer))]


def _named_activation(layer, config, _):
    return _activation(layer, config["activation"])


def _leaky_relu(layer, config, _):
    return [Part("", "LeakyReLU", {"alpha": config["negative_slope"]}, [])]


def _rescaling(layer, config, _):
    # As plain numbers or arrays: Keras saves tuples, for which tf_keras has no broadcasting.
    config = {key: np.asarray(value, "float32") for key, value in config.items()}
    return [Part("", "Rescaling", config, [])]


def _normalization(layer, config, shapes):
    mean, variance = (np.asarray(v, "float32").ravel() for v in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return [Part("", "Rescaling", {"scale": scale, "offset": -mean * scale}, [])]


def _nothing(*_):
    return []


def _foreign(layer, *_):
    return [Part("", "Foreign", {"layer": layer}, [])]


def _pad(layer, _, shapes):
    bottom, right = (-size % layer.stride for size in shapes[0][1:3])
    padding = ((0, bottom), (0, right))
    return [Part("", "ZeroPadding2D", {"padding": padding}, [])] if bottom or right else []


def _crop(layer, _, shapes):
    bottom, right = (shapes[0][axis] - shapes[1][axis] for axis in (1, 2))
    cropping = ((0, bottom), (0, right))
    return [Part("", "Cropping2D", {"cropping": cropping}, [])] if bottom or right else []


def _resize(layer, config, _):
    settings = {"size": config["scale"], "interpolation": config["interpolation"]}
    return [Part("", "UpSampling2D", settings, [])]


_LAST = {"data_format": "channels_last"}
_FILTER = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
_POOL = ("pool_size", "padding", "strides")

_RULES: dict[str, _Rule] = {
    "Activation": _Rule(_named_activation, ("activation",)),
    "Add": _Rule(_same),
    "Average": _Rule(_same),
    "AveragePooling2D": _Rule(_same, _POOL, _LAST),
    "BatchNormalization": _Rule(
        _norm,
        ("momentum", "epsilon", "center", "scale"),
        # How renorm and synchronized statistics are gathered says nothing about the trained layer.
        {
            "axis": (-1, 1, 2, 3),
            "synchronized": (False, True),
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": (0.99,),
        },
    ),
    "BedOfNails": _Rule(_foreign),
    "Concatenate": _Rule(_same, ("axis",)),
    "Conv2D": _Rule(_convolution, ("filters", *_FILTER, "groups"), _LAST),
    "Conv2DTranspose": _Rule(_convolution, ("filters", *_FILTER, "output_padding"), _LAST),
    "CropLike": _Rule(_crop),
    "Cropping2D": _Rule(_same, ("cropping",), _LAST),
    "Dense": _Rule(
        _convolution, ("units", "activation", "use_bias"), {"quantization_config": None}
    ),
    "DepthwiseConv2D": _Rule(_convolution, ("depth_multiplier", *_FILTER), _LAST),
    "Dropout": _Rule(_same, ("rate", "seed", "noise_shape")),
    "ELU": _Rule(_same, ("alpha",)),
    "Flatten": _Rule(_same, (), _LAST),
    "GlobalAveragePooling2D": _Rule(_same, ("keepdims",), _LAST),
    "GlobalMaxPooling2D": _Rule(_same, ("keepdims",), _LAST),
    "Identity": _Rule(_nothing),
    "LeakyReLU": _Rule(_leaky_relu, ("negative_slope",)),
    "MaxPooling2D": _Rule(_same, _POOL, _LAST),
    "MaxUnpooling": _Rule(_foreign),
    "Maximum": _Rule(_same),
    "Multiply": _Rule(_same),
    "Normalization": _Rule(
        _normalization, ("mean", "variance"), {"axis": ((-1,), [-1], (3,), [3]), "invert": False}
    ),
    "PReLU": _Rule(_same, ("shared_axes",)),
    "PadToStride": _Rule(_pad, ("stride",)),
    "Permute": _Rule(_same, ("dims",)),
    "ReLU": _Rule(_same, ("max_value", "negative_slope", "threshold")),
    "Rescaling": _Rule(_rescaling, ("scale", "offset")),
    "Reshape": _Rule(_same, ("target_shape",)),
    "Resize": _Rule(_resize, ("scale", "interpolation")),
    "SeparableConv2D": _Rule(_separable, ("depth_multiplier", "filters", *_FILTER), _LAST),
    "Softmax": _Rule(_same, ("axis",)),
    "SpatialDropout2D": _Rule(_same, ("rate", "seed"), _LAST),
    "Subtract": _Rule(_same),
    "UpSampling2D": _Rule(_same, ("size", "interpolation"), _LAST),
    "ZeroPadding2D": _Rule(_same, ("padding",), _LAST),
}
