"""LR-ASPP: one map of features, gated by a look at the whole image, and a skip add of scores."""

from keras import KerasTensor, layers

from kseg.backbones import Endpoints
from kseg.layers import Resize, conv_norm_act

_FILTERS = 128


def lraspp_decoder(endpoints: Endpoints, num_classes: int) -> KerasTensor:
    """Turns endpoints into logits on the grid of the backbone's padded input.

    Args:
        endpoints: Feature maps; c3 has stride 8 and c5 stride 16.
        num_classes: How many classes there are, which is how many channels the logits have.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the padded input.
    """
    x = conv_norm_act(endpoints.c5, _FILTERS, 1, name="context_c5")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(endpoints.c5)
    gate = layers.Conv2D(_FILTERS, 1, activation="sigmoid", use_bias=False, name="gate")(gate)
    x = layers.Multiply(name="gated_c5")([x, gate])
    x = Resize(2, name="upsample_c3")(x)
    score = layers.Conv2D(num_classes, 1, name="score_c5")(x)
    detail = layers.Conv2D(num_classes, 1, name="score_c3")(endpoints.c3)
    x = layers.Add(name="fuse_c3")([score, detail])
    return Resize(8, name="upsample_image")(x)
