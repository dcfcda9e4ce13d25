"""ImageNet weights for images that are not RGB: gray ones, and those of more channels."""

import numpy as np


def fit_channels(arrays: dict[str, list[np.ndarray]], channels: int) -> dict[str, list[np.ndarray]]:
    """Rewrites the first convolution of a backbone for images of another number of channels.

    A gray image, or one of two channels, has the mean of the kernels of red, green and blue for
    each channel. With more than three channels, the first three keep their own kernels, as they
    usually are red, green and blue, and the others have the mean. All are scaled by 3 / channels,
    so that features keep their size: an image whose channels are all alike gives the same features
    as the RGB network gives for the gray image of that channel.

    Args:
        arrays: Layer name to the arrays of `layer.get_weights()`, for RGB.
        channels: How many channels the images have.

    Returns:
        The same for images of that many channels.
    """
    if channels == 3:
        return arrays
    # No other layer has three channels in: their kernels are (height, width, channels, filters).
    stem = next(n for n, (kernel, *_) in arrays.items() if kernel.shape[2:3] == (3,))
    kernel, *rest = arrays[stem]
    own = kernel if channels > 3 else kernel[:, :, :0]
    mean = np.repeat(kernel.mean(2, keepdims=True), channels - own.shape[2], axis=2)
    fitted = np.concatenate([own, mean], axis=2) * np.float32(3 / channels)
    return {**arrays, stem: [fitted, *rest]}
