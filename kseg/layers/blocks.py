"""Convolution blocks: stock Keras layers with names that say their role."""

from keras import KerasTensor, layers

# Batch norm as the EfficientNet-Lite weights were trained with it; `kseg.fit` sets the momentum.
_EPSILON = 1e-3


def conv_norm_act(
    x: KerasTensor,
    filters: int,
    kernel_size: int = 3,
    *,
    strides: int = 1,
    dilation_rate: int = 1,
    activation: bool = True,
    name: str,
) -> KerasTensor:
    """Applies a convolution, batch norm and ReLU6.

    Args:
        x: Features (N, H, W, channels).
        filters: Channels of the result.
        kernel_size: Height and width of the kernel.
        strides: Step of the kernel in both directions.
        dilation_rate: Distance between kernel taps; above 1 needs strides of 1.
        activation: Whether ReLU6 follows the norm; without it the block is linear.
        name: Prefix of the layer names `{name}_conv`, `{name}_norm`, `{name}_relu`.

    Returns:
        Features (N, ceil(H / strides), ceil(W / strides), filters).
    """
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides,
        "same",
        dilation_rate=dilation_rate,
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    return _norm_act(x, activation, name)


def depthwise_norm_act(
    x: KerasTensor,
    kernel_size: int = 3,
    *,
    strides: int = 1,
    dilation_rate: int = 1,
    name: str,
) -> KerasTensor:
    """Applies a depthwise convolution, which filters each channel by itself, batch norm and ReLU6.

    Args:
        x: Features (N, H, W, channels).
        kernel_size: Height and width of the kernel.
        strides: Step of the kernel in both directions.
        dilation_rate: Distance between kernel taps; above 1 needs strides of 1.
        name: Prefix of the layer names `{name}_conv`, `{name}_norm`, `{name}_relu`.

    Returns:
        Features (N, ceil(H / strides), ceil(W / strides), channels).
    """
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides,
        "same",
        dilation_rate=dilation_rate,
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    return _norm_act(x, True, name)


def separable_norm_act(
    x: KerasTensor,
    filters: int,
    kernel_size: int = 3,
    *,
    strides: int = 1,
    dilation_rate: int = 1,
    name: str,
) -> KerasTensor:
    """Applies a depthwise convolution, then a 1x1 one, each with batch norm and ReLU6.

    Args:
        x: Features (N, H, W, channels).
        filters: Channels of the result.
        kernel_size: Height and width of the depthwise kernel.
        strides: Step of the depthwise kernel in both directions.
        dilation_rate: Distance between the taps of the depthwise kernel; above 1 needs strides
            of 1.
        name: Prefix of the layer names, `{name}_depthwise_...` and `{name}_pointwise_...`.

    Returns:
        Features (N, ceil(H / strides), ceil(W / strides), filters).
    """
    x = depthwise_norm_act(
        x, kernel_size, strides=strides, dilation_rate=dilation_rate, name=f"{name}_depthwise"
    )
    return conv_norm_act(x, filters, 1, name=f"{name}_pointwise")


def inverted_residual(
    x: KerasTensor,
    filters: int,
    kernel_size: int = 3,
    *,
    expansion: int = 6,
    strides: int = 1,
    dilation_rate: int = 1,
    name: str,
) -> tuple[KerasTensor, KerasTensor]:
    """Widens by a 1x1 convolution, filters each channel, narrows again, and adds the input.

    Source: Sandler et al., MobileNetV2, CVPR 2018, https://arxiv.org/abs/1801.04381.

    Args:
        x: Features (N, H, W, channels).
        filters: Channels of the result. The input is added where it has the same shape.
        kernel_size: Height and width of the depthwise kernel.
        expansion: Factor by which the channels grow for the depthwise convolution.
        strides: Step of the depthwise kernel in both directions.
        dilation_rate: Distance between the taps of the depthwise kernel.
        name: Prefix of the layer names, `{name}_expand_...`, `{name}_depthwise_...`,
            `{name}_project_...` and `{name}_add`.

    Returns:
        Two maps: the result (N, ceil(H / strides), ceil(W / strides), filters), to which no
        activation is applied, and the wide features (N, H, W, channels * expansion) before the
        depthwise convolution.
    """
    shortcut = x
    if expansion > 1:
        x = conv_norm_act(x, x.shape[-1] * expansion, 1, name=f"{name}_expand")
    wide = x
    x = depthwise_norm_act(
        x, kernel_size, strides=strides, dilation_rate=dilation_rate, name=f"{name}_depthwise"
    )
    x = conv_norm_act(x, filters, 1, activation=False, name=f"{name}_project")
    if strides == 1 and shortcut.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x, wide


def add_image_features(
    near: KerasTensor, x: KerasTensor, pooled_filters: int, *, name: str
) -> KerasTensor:
    """Adds features of the average of the whole image to a map, then applies ReLU6.

    Papers enlarge the pooled features to the map's size, join them to the others and apply a 1x1
    convolution. That convolution is linear, so the same sum comes from applying it to the pooled
    features while they are 1x1 and adding the result everywhere. This needs no resize from 1x1 and
    no tiling, which the Edge TPU compiler refuses. (In training each part has a batch norm of its
    own, where the papers have one for both.)

    Args:
        near: Sum of the other branches, before the activation, (N, H, W, filters).
        x: Features (N, H, W, channels) to average over the image.
        pooled_filters: Channels to which the averaged features are reduced first.
        name: Prefix of the names of the addition and its activation.

    Returns:
        Features (N, H, W, filters).
    """
    whole = layers.GlobalAveragePooling2D(keepdims=True, name="image_pool")(x)
    whole = conv_norm_act(whole, pooled_filters, 1, name="image_pool")
    whole = conv_norm_act(whole, near.shape[-1], 1, activation=False, name="image_project")
    x = layers.Add(name=f"{name}_add")([near, whole])
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _norm_act(x: KerasTensor, activation: bool, name: str) -> KerasTensor:
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x
