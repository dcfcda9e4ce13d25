"""DeepLab's decoders: atrous spatial pyramid pooling, and v3+'s step back to stride 4."""

from keras import KerasTensor, layers

from kseg.backbones import Endpoints
from kseg.layers import Resize, add_image_features, conv_norm_act, separable_norm_act

_RATES = (6, 12, 18)  # at output stride 16
_DETAIL = 48  # channels of the low-level features that v3+ adds


def deeplab_v3_decoder(
    endpoints: Endpoints, num_classes: int, output_stride: int, filters: int = 256
) -> KerasTensor:
    """Scores the pyramid at the backbone's stride and interpolates the scores.

    Args:
        endpoints: Feature maps; c5 has stride output_stride.
        num_classes: How many classes there are, which is how many channels the logits have.
        output_stride: Stride of c5, 8 or 16.
        filters: Channels of each branch.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the backbone's padded input.
    """
    x = atrous_pyramid(endpoints.c5, output_stride, filters)
    x = layers.Conv2D(num_classes, 1, name="score_c5")(x)
    return Resize(output_stride, name="upsample_image")(x)


def deeplab_v3_plus_decoder(
    endpoints: Endpoints, num_classes: int, output_stride: int, filters: int = 256
) -> KerasTensor:
    """Joins the pyramid with features of stride 4, scores that and interpolates.

    Args:
        endpoints: Feature maps; c2 has stride 4 and c5 has stride output_stride.
        num_classes: How many classes there are, which is how many channels the logits have.
        output_stride: Stride of c5, 8 or 16.
        filters: Channels of each branch, and of what follows them.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the backbone's padded input.
    """
    x = atrous_pyramid(endpoints.c5, output_stride, filters)
    x = Resize(output_stride // 4, name="upsample_c2")(x)
    detail = conv_norm_act(endpoints.c2, _DETAIL, 1, name="detail_c2")
    x = layers.Concatenate(name="fuse_c2")([x, detail])
    x = separable_norm_act(x, filters, name="refine1")
    x = separable_norm_act(x, filters, name="refine2")
    x = layers.Conv2D(num_classes, 1, name="score_c2")(x)
    return Resize(4, name="upsample_image")(x)


def atrous_pyramid(x: KerasTensor, output_stride: int, filters: int) -> KerasTensor:
    """Looks at each position, at three distances around it, and at the whole image.

    Args:
        x: Features (N, h, w, channels) of stride output_stride.
        output_stride: 8 or 16; the rates grow as it shrinks.
        filters: Channels of each branch and of the result.

    Returns:
        Features (N, h, w, filters).
    """
    branches = [conv_norm_act(x, filters, 1, name="pyramid1")]
    for rate in _RATES:
        rate = rate * 16 // output_stride
        branches.append(separable_norm_act(x, filters, dilation_rate=rate, name=f"pyramid{rate}"))
    near = layers.Concatenate(name="pyramid_concat")(branches)
    near = conv_norm_act(near, filters, 1, activation=False, name="pyramid_project")
    return add_image_features(near, x, filters, name="pyramid")
