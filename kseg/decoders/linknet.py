"""LinkNet's decoder: narrow, double by a transposed convolution, widen, add the skip."""

from keras import KerasTensor, layers

from kseg.backbones import Endpoints
from kseg.layers import conv_norm_act, separable_norm_act

_LAST = 32


def linknet_decoder(endpoints: Endpoints, num_classes: int) -> KerasTensor:
    """Turns endpoints into logits on the grid of the backbone's padded input.

    Args:
        endpoints: Feature maps at strides 2, 4, 8, 16 and 32.
        num_classes: How many classes there are, which is how many channels the logits have.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the padded input.
    """
    x = endpoints.c5
    for level, skip in (("c4", endpoints.c4), ("c3", endpoints.c3), ("c2", endpoints.c2)):
        x = conv_norm_act(x, x.shape[-1] // 4, 1, name=f"narrow_{level}")
        x = _double(x, x.shape[-1], 3, f"upsample_{level}")
        x = conv_norm_act(x, skip.shape[-1], 1, name=f"widen_{level}")
        x = layers.Add(name=f"fuse_{level}")([x, skip])
    x = conv_norm_act(x, _LAST, 1, name="narrow_c1")
    x = _double(x, _LAST, 3, "upsample_c1")
    x = separable_norm_act(x, _LAST, name="smooth_c1")
    return layers.Conv2DTranspose(num_classes, 2, 2, name="upsample_image")(x)


def _double(x, filters, kernel_size, name):
    """Doubles height and width, without an activation.

    A converter would fuse the activation into the transposed convolution, and the Edge TPU compiler
    cannot parse such an op.
    """
    x = layers.Conv2DTranspose(filters, kernel_size, 2, "same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
