"""What a backbone hands to a decoder, and what backbones share: scaling, strides, widths."""

from typing import NamedTuple

from keras import KerasTensor, layers


class Endpoints(NamedTuple):
    """Feature maps of a backbone; ck has stride min(2**k, output_stride).

    c1 to c4 are the last activations before the next stride, which are the expanded ones in
    inverted-residual networks. c5 is the output of the last convolution.
    """

    c1: KerasTensor
    c2: KerasTensor
    c3: KerasTensor
    c4: KerasTensor
    c5: KerasTensor


def scale_to_unit(image: KerasTensor) -> KerasTensor:
    """Scales an image from 0..255 to (x - 127) / 128, the range EfficientNet-Lite was trained with.

    Every backbone starts with it. With 127 and 128, and not 127.5 twice, the quantized input of an
    exported file is exactly the bytes of the camera (scale 1/128, zero point 127). MobileNets were
    trained with x / 127.5 - 1, which is one level lower at black and the same at white. The weights
    of ResNet50 and VGG16 are rewritten when they are loaded (`kseg.backbones.keras_file`).

    Args:
        image: Images (N, H, W, channels), 0..255.

    Returns:
        The scaled images, float, about -1..1.
    """
    return layers.Rescaling(1 / 128, -127 / 128, name="scale")(image)


class StrideToDilation:
    """Turns strides into dilation once features have reached `output_stride`."""

    def __init__(self, output_stride: int):
        """Starts at the image.

        Args:
            output_stride: The coarsest stride that features may have: 8, 16 or 32.

        Raises:
            ValueError: If output_stride is not one of these.
        """
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride must be 8, 16 or 32; got {output_stride}.")
        self.output_stride = output_stride
        self.stride = 1
        self.dilation_rate = 1

    def step(self, strides: int) -> tuple[int, int]:
        """Returns (strides, dilation_rate) of the next convolution.

        The convolution that would have strided past output_stride keeps the dilation of those
        before it; those after it look twice as far.

        Args:
            strides: Strides of the convolution in the paper.
        """
        dilation_rate = self.dilation_rate
        if self.stride * strides > self.output_stride:
            self.dilation_rate *= strides
            return 1, dilation_rate
        self.stride *= strides
        return strides, dilation_rate


def round_filters(filters: float) -> int:
    """Rounds a width to a multiple of 8 that is at least 90 % of it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded
