"""The panoptic decoder: one pyramid, a branch for classes and one for centres and offsets."""

from keras import KerasTensor, layers

from kseg.backbones import Endpoints
from kseg.decoders.atrous_fpn import atrous_fpn_features, atrous_fpn_scores
from kseg.layers import Resize, separable_norm_act

_REACH = 5  # kernel size; as wide as the paper's heads


def panoptic_decoder(
    endpoints: Endpoints, num_classes: int, output_stride: int, filters: int = 128
) -> dict[str, KerasTensor]:
    """Turns endpoints into classes, centres and offsets on the grid of the padded input.

    Args:
        endpoints: Feature maps at strides 2, 4, 8, 16 and output_stride.
        num_classes: How many classes there are.
        output_stride: Stride of c5, 16 or 32.
        filters: Channels at stride 16, as for `atrous_fpn_features`.

    Returns:
        "semantic", logits (N, H, W, num_classes); "center" (N, H, W, 1) and "offset"
        (N, H, W, 2), as `kseg.build_panoptic_deeplab` says, with the height and width of the
        padded input.
    """
    shared = atrous_fpn_features(endpoints, output_stride, filters)
    width = shared.shape[-1]
    objects = separable_norm_act(shared, width, _REACH, name="objects")
    found = {"semantic": atrous_fpn_scores(shared, num_classes)}
    for name, channels in (("center", 1), ("offset", 2)):
        x = separable_norm_act(objects, width // 2, _REACH, name=f"{name}_c2")
        x = layers.Conv2D(channels, 1, name=f"score_{name}")(x)
        found[name] = Resize(4, name=f"upsample_{name}")(x)
    return found
