"""Functions of one image size that take every smaller one."""

from typing import Any

import keras
import numpy as np

from export.tflite.maps import Maps
from kseg.data.transforms import mirror_out


class FixedSize:
    """A function of one image size that takes every smaller one: it pads, calls and cuts.

    Images are padded with their mirror image.

    Attributes:
        input_size: (H, W) of the function's images.
        channels: How many channels these images have.
        stride: Pixels of the input for one of the output, in both directions.
    """

    input_size: tuple[int, int]
    channels: int = 3
    stride: int = 1

    def logits(self, images: np.ndarray) -> Maps:
        """Maps images float32 (1, H, W, channels), 0..255, to logits on the output's grid.

        These are (1, ceil(H / stride), ceil(W / stride), num_classes); of a network that tells
        objects apart, a dict of its three maps.
        """
        raise NotImplementedError

    def full_size(self, coarse: tuple[int, int]) -> tuple[int, int]:
        """Returns the size at which an output of (height, width) lies on the images."""
        return coarse[0] * self.stride, coarse[1] * self.stride

    def __call__(self, images: np.ndarray) -> Any:
        """Returns logits for images (N, h, w, channels), 0..255, or a dict of the three maps.

        Raises:
            ValueError: If the images are larger than the input size.
        """
        height, width = images.shape[1:3]
        below, right = self.input_size[0] - height, self.input_size[1] - width
        if below < 0 or right < 0:
            raise ValueError(
                f"The file takes images up to {self.input_size[0]} x {self.input_size[1]}; got "
                f"{height} x {width}. Resize the image."
            )
        padded = mirror_out(images, self.input_size)
        found = [self.logits(padded[i : i + 1]) for i in range(len(padded))]

        def whole(*each: np.ndarray) -> np.ndarray:
            values = np.concatenate(each)
            size = self.full_size(values.shape[1:3])
            if size != values.shape[1:3]:
                resized = keras.ops.image.resize(values, size, data_format="channels_last")
                values = keras.ops.convert_to_numpy(resized)
            return values[:, :height, :width]

        return keras.tree.map_structure(whole, *found)


def whole_stride(size: tuple[int, int], coarse: tuple[int, int]) -> int | None:
    """Returns the stride at which a network makes an output of a coarse size.

    Args:
        size: (height, width) of the image.
        coarse: (height, width) of the output.

    Returns:
        The stride s with coarse = ceil(size / s), a power of two where several fit; None where
        none does.
    """
    fit = [
        s for s in range(1, max(size) + 1) if (-(-size[0] // s), -(-size[1] // s)) == tuple(coarse)
    ]
    # Small outputs fit several strides; networks have powers of two.
    return next((s for s in fit if s & (s - 1) == 0), fit[0] if fit else None)
