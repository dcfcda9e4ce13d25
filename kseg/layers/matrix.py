"""A convolution as a matrix, which shows what a transposed convolution is."""

import numpy as np


def convolution_matrix(
    kernel: np.ndarray, input_size: tuple[int, int], *, strides: int = 1
) -> np.ndarray:
    """Returns the matrix that a convolution multiplies its input by.

    With "valid" padding and one channel in and out, a convolution is linear in its flattened
    input: `Conv2D` computes matrix @ x, and `Conv2DTranspose` with the same kernel matrix.T @ y.
    The latter brings back the size of the input, not its values.

    Source: Dumoulin and Visin, 2016, https://arxiv.org/abs/1603.07285, section 4.1.

    Args:
        kernel: The kernel (height, width), which is not flipped, as in Keras.
        input_size: Height and width of the input.
        strides: Step of the kernel in both directions.

    Returns:
        The matrix, (output height * output width, input height * input width), in the kernel's
        dtype. A row holds the kernel where one output looks, and zeros.

    Raises:
        ValueError: If the kernel is not of two dimensions or is larger than the input, or strides
            is below 1.
    """
    kernel = np.asarray(kernel)
    height, width = input_size
    if kernel.ndim != 2 or kernel.shape[0] > height or kernel.shape[1] > width:
        raise ValueError(
            f"kernel must be (height, width) and fit into the input of {height} x {width}; got "
            f"shape {kernel.shape}."
        )
    if strides < 1:
        raise ValueError(f"strides must be at least 1; got {strides}.")
    rows = []
    for top in range(0, height - kernel.shape[0] + 1, strides):
        for left in range(0, width - kernel.shape[1] + 1, strides):
            row = np.zeros((height, width), kernel.dtype)
            row[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
            rows.append(row.ravel())
    return np.stack(rows)
