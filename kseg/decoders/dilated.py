"""The context module: convolutions that look twice as far at every layer, at one resolution."""

from keras import KerasTensor, layers

from kseg.backbones import Endpoints
from kseg.layers import IdentityKernel, Resize

# The rates of the 3x3 layers in the paper's "basic" module, which together see 67 x 67 positions.
DILATION_RATES = (1, 1, 2, 4, 8, 16, 1)


def dilated_decoder(endpoints: Endpoints, num_classes: int, output_stride: int) -> KerasTensor:
    """Scores the last endpoint and lets the context module revise the scores.

    Args:
        endpoints: Feature maps; c5 has stride output_stride.
        num_classes: How many classes there are, which is how many channels the logits and every
            layer of the module have.
        output_stride: Stride of c5.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the backbone's padded input.
    """
    # With a bias of 1 the scores start above zero, where ReLU passes a gradient.
    x = layers.Conv2D(num_classes, 1, bias_initializer="ones", name="score_c5")(endpoints.c5)
    for number, rate in enumerate(DILATION_RATES, start=1):
        x = layers.Conv2D(
            num_classes,
            3,
            padding="same",
            dilation_rate=rate,
            activation="relu",
            kernel_initializer=IdentityKernel(),
            name=f"context{number}",
        )(x)
    x = layers.Conv2D(num_classes, 1, kernel_initializer=IdentityKernel(), name="score_context")(x)
    return Resize(output_stride, name="upsample_image")(x)
