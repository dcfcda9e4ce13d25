"""Functions of one image size that take every smaller one."""

from typing import Any

import keras
import numpy as np

from export.tflite.maps import Maps
from kseg.data.transforms import mirror_out
from kseg.strips import as_wide


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
            values = np.concatenate(as_wide(*each))
            size = self.full_size(values.shape[1:3])
            if size != values.shape[1:3]:
                resized = keras.ops.image.resize(values, size, data_format="channels_last")
                values = keras.ops.convert_to_numpy(resized)
            return values[:, :height, :width]

        return keras.tree.map_structure(whole, *found)
