"""The atrous FPN decoder: context at stride 16, then a light feature pyramid up to stride 4."""

from keras import KerasTensor, layers

from kseg.backbones import Endpoints
from kseg.layers import Resize, conv_norm_act, separable_norm_act

_RATES = (2, 4, 8)


def atrous_fpn_decoder(
    endpoints: Endpoints,
    num_classes: int,
    output_stride: int,
    filters: int = 128,
    upsampling: str = "bilinear",
) -> KerasTensor:
    """Turns endpoints into logits on the grid of the backbone's padded input.

    Args:
        endpoints: Feature maps at strides 2, 4, 8, 16 and output_stride.
        num_classes: How many classes there are, which is how many channels the logits have.
        output_stride: Stride of c5, 16 or 32.
        filters: Channels at stride 16, as for `atrous_fpn_features`.
        upsampling: How features grow, as for `atrous_fpn_features`; logits are interpolated.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the padded input.
    """
    features = atrous_fpn_features(endpoints, output_stride, filters, upsampling)
    return atrous_fpn_scores(features, num_classes)


def atrous_fpn_features(
    endpoints: Endpoints, output_stride: int, filters: int, upsampling: str = "bilinear"
) -> KerasTensor:
    """Brings context and detail together at stride 4.

    Args:
        endpoints: Feature maps at strides 2, 4, 8, 16 and output_stride.
        output_stride: Stride of c5, 16 or 32.
        filters: Channels at stride 16. There are three quarters of them at stride 8 and half of
            them at stride 4, where a channel costs 4 and 16 times as much.
        upsampling: "bilinear", or "nearest", which repeats each value.

    Returns:
        Features (N, H / 4, W / 4, filters // 2) of the padded input (N, H, W, channels), not yet
        smoothed.
    """
    if endpoints.c5 is endpoints.c4:  # a backbone that ends at stride 16
        x = conv_norm_act(endpoints.c4, filters, 1, name="lateral_c4")
    else:
        x = conv_norm_act(endpoints.c5, filters, 1, activation=False, name="lateral_c5")
        if output_stride == 32:
            x = Resize(2, upsampling, name="upsample_c4")(x)
        x = _fuse(x, endpoints.c4, "c4")
    x = _atrous_context(x)
    x = _grow(x, endpoints.c3, filters * 3 // 4, upsampling, "c3")
    x = separable_norm_act(x, filters * 3 // 4, name="smooth_c3")
    return _grow(x, endpoints.c2, filters // 2, upsampling, "c2")


def atrous_fpn_scores(x: KerasTensor, num_classes: int) -> KerasTensor:
    """Smooths the features of `atrous_fpn_features`, scores them and interpolates the scores.

    Args:
        x: Features (N, h, w, channels) of stride 4.
        num_classes: How many classes there are.

    Returns:
        Logits (N, 4 * h, 4 * w, num_classes).
    """
    x = separable_norm_act(x, x.shape[-1], name="smooth_c2")
    x = layers.Conv2D(num_classes, 1, name="score_c2")(x)
    return Resize(4, name="upsample_image")(x)


def _grow(x, skip, width, upsampling, level):
    # Narrowed before it grows: a 1x1 convolution and an interpolation commute.
    x = conv_norm_act(x, width, 1, activation=False, name=f"narrow_{level}")
    return _fuse(Resize(2, upsampling, name=f"upsample_{level}")(x), skip, level)


def _fuse(x, skip, level):
    """Adds the backbone's map of the same size, in as many channels as x has."""
    skip = conv_norm_act(skip, x.shape[-1], 1, activation=False, name=f"lateral_{level}")
    x = layers.Add(name=f"fuse_{level}")([x, skip])
    return layers.ReLU(6.0, name=f"fuse_{level}_relu")(x)


def _atrous_context(x):
    """Looks near and as far as 8 positions, which are 128 pixels, in every direction."""
    filters, branches = x.shape[-1], [x]
    for rate in _RATES:
        branches.append(separable_norm_act(x, filters, dilation_rate=rate, name=f"atrous{rate}"))
    x = layers.Concatenate(name="context_concat")(branches)
    return conv_norm_act(x, filters, 1, name="context")
