"""What a file's input must be: one image of a fixed size."""

from pathlib import Path

from export.errors import ModelFileError
from export.tflite.reader import ModelFile

_DTYPES = ("uint8", "int8", "int16", "float16", "float32")  # of an input
_MOST_PIXELS = 1 << 25  # of an image
_MOST_CHANNELS = 256  # as of data sets


def check_input(graph: ModelFile, path: Path) -> None:
    """Refuses a file that takes something other than one image of a fixed size.

    Raises:
        ModelFileError: If it does.
    """
    image = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) > 1 or image.dtype not in _DTYPES or -1 in image.shape[1:]:
        raise ModelFileError(
            f"{path} takes {len(graph.inputs)} input(s), the first {image.dtype} of shape "
            f"{image.shape}; kseg runs files with one input of a fixed size, of "
            f"{', '.join(_DTYPES)}. Convert it so."
        )
    image_size(image.default_shape or image.shape, path)


def image_size(shape: tuple[int, ...], path: Path) -> tuple[tuple[int, int], int]:
    """Returns (height, width) and channels of a file's image.

    Raises:
        ModelFileError: If it is no image that kseg runs a file on.
    """
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ModelFileError(
            f"{path} takes input of shape {shape}; a segmentation model takes (1, H, W, 3)."
        )
    if shape[1] in (1, 3, 4) and min(shape[2:]) > 4:
        raise ModelFileError(
            f"{path} takes input of shape {shape}, its channels first; kseg runs files with "
            "channels last, (1, H, W, 3). Convert it so."
        )
    if shape[1:3] == (1, 1):
        raise ModelFileError(
            f"{path} takes input of shape {shape}, where 1 x 1 stands for an open size; kseg runs "
            "files with one input of a fixed size. Convert it so."
        )
    if shape[3] > _MOST_CHANNELS:
        raise ModelFileError(
            f"{path} takes input of shape {shape}; kseg runs files of images with up to "
            f"{_MOST_CHANNELS} channels, channels last."
        )
    if shape[1] * shape[2] > _MOST_PIXELS:
        raise ModelFileError(
            f"{path} takes images of {shape[1]} x {shape[2]}; kseg runs files of up to "
            f"{_MOST_PIXELS >> 20} megapixels."
        )
    return (shape[1], shape[2]), shape[3]
