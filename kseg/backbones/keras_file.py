"""Keras's own ImageNet weights: fetched, checked, and read through keras.applications.

The files are older than the names of the layers that they are for: MobileNetV2's has
"mobl1_conv_1_expand" for "block_1_expand", MobileNetV3's "Conv/BatchNorm" for "conv_bn". Keras
therefore reads them by order and refuses a file with another number of layers or another shape.
So Keras reads the file into its own network here, and kseg takes the weights from there by name.
"""

import os
from http.client import HTTPException
from pathlib import Path

import keras
import numpy as np

from kseg.backbones.download import fetch
from kseg.backbones.records import CAFFE, KerasRecord
from kseg.plain_hdf5 import check_plain

_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_LIMIT = 600_000_000  # bytes; VGG16 with its classifier has 553 million
_MEANS = np.array([123.68, 116.779, 103.939], "float32")  # of red, green and blue


def keras_arrays(record: KerasRecord) -> dict[str, list[np.ndarray]]:
    """Reads a weights file of Keras, which is fetched if need be.

    Args:
        record: What is known of the file.

    Returns:
        Layer name to the arrays of `layer.get_weights()`, for images scaled to (x - 127) / 128;
        the classifier is among them where the file has it.

    Raises:
        OSError: If the file can be neither found nor fetched.
        ValueError: If the file does not hold the weights of this network.
    """
    path = _fetch(record)
    build = getattr(keras.applications, record.application)
    try:
        check_plain(path)
        network = build(include_top=record.include_top, weights=str(path), **record.options)
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{path} does not hold the weights of {record.application}: {error}. Delete it, so "
            "that it is fetched anew."
        ) from None
    arrays = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    if record.input_range == CAFFE:
        first = next(iter(arrays))
        arrays[first] = rescaled_from_caffe(*arrays[first])
    # VGG16's fully connected layers, as the convolutions that they are.
    for name, size in (("fc1", 7), ("fc2", 1)):
        if name in arrays:
            kernel, bias = arrays[name]
            arrays[name] = [kernel.reshape(size, size, -1, kernel.shape[-1]), bias]
    return arrays


def rescaled_from_caffe(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Rewrites a first convolution for RGB scaled to (x - 127) / 128.

    Where the image is, the result is the same. Only the zeros that "same" convolutions pad with
    stand for another colour: 127 in place of the means.

    Args:
        kernel: (height, width, 3, filters), for BGR minus the means of ImageNet.
        bias: (filters,).

    Returns:
        Kernel and bias.
    """
    kernel = kernel[:, :, ::-1]
    offset = np.einsum("hwcf,c->f", kernel, 127 - _MEANS)
    return [kernel * 128, bias + offset]


def _fetch(record: KerasRecord) -> Path:
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    target = home / "models" / Path(record.file).name
    url = f"{os.environ.get('KSEG_WEIGHTS_URL', _URL).rstrip('/')}/{record.file}"
    try:
        return fetch(url, target, md5=record.md5, limit=_LIMIT)
    except (OSError, ValueError, HTTPException) as error:
        raise OSError(
            f"The ImageNet weights of {record.application} could not be fetched from {url} "
            f"({error}); put that file into {home / 'models'}, name a mirror of Keras's folder in "
            "KSEG_WEIGHTS_URL, or pass weights=None."
        ) from None
