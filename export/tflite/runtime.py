"""Running .tflite files that label images with LiteRT, in a process of their own."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.errors import ModelFileError
from export.tflite.fixed_size import FixedSize, whole_stride
from export.tflite.instructions import read_instructions
from export.tflite.metadata import read_metadata
from export.tflite.normalization import encode, is_guessed, parse_normalization
from export.tflite.outputs import Meaning, choose_output, grid, read_meaning, to_scores
from export.tflite.process import MOST_BYTES, Endpoint, Process
from export.tflite.reader import ModelFile, read_model

_DTYPES = ("uint8", "int8", "int16", "float16", "float32")  # of an input
_MOST_PIXELS = 1 << 25  # of an image
_MOST_CHANNELS = 256  # as of data sets

Normalizing = str | Sequence[float | str | Sequence[float]]


class TFLiteModel(FixedSize):
    """A .tflite file as a callable from images to logits; close it to end its process.

    Attributes:
        input: The input tensor.
        output: The output tensor.
        channels: How many channels the images have.
        num_classes: How many classes the output tells apart; None for a class map that does not
            say.
        normalization: What the input's numbers are made of; None if nothing says so.
        kernels: What runs the file: "default", "plain" or "reference".
        load_ms: Milliseconds that loading took.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        kernels: str = "default",
        delegate: str | None = None,
        normalization: Normalizing | None = None,
        output: str | int | None = None,
        num_classes: int | None = None,
    ):
        """Starts a process and loads the file there; see `load_tflite`."""
        self.path = Path(path)
        given = None if normalization is None else parse_normalization(normalization)
        graph = read_model(path)  # refuses what is no model before any native code sees it
        _check_input(graph, self.path)
        self._number = choose_output(graph, output, self.path)
        self._process = Process(
            self.path, graph, threads=threads, kernels=kernels, delegate=delegate
        )
        try:
            self.input = self._process.inputs[0]
            self.output = self._process.outputs[self._number]
            self.input_size, self.channels = _image_size(self.input.shape, self.path)
            told = read_instructions(graph, self.channels, self.path)
            if given is not None:
                given.check_channels(self.channels)
            self.normalization = given or told.normalization
            self._meaning = self._read_meaning(graph, told.activation, num_classes)
        except ValueError as error:  # of the normalization
            self.close()
            raise ValueError(f"{self.path}: {error}.") from None
        except ModelFileError:
            self.close()
            raise
        self.num_classes = self._meaning.num_classes
        self.kernels, self.load_ms = self._process.kernels, self._process.load_ms
        self._ends, self._values = 0, 0

    @property
    def stride(self) -> int:  # type: ignore[override]
        """Pixels of the input for one of the output.

        Raises:
            ModelFileError: If the output is no such grid.
        """
        coarse = self._grid(self.output.shape)[:2]
        stride = whole_stride(self.input_size, coarse)
        if stride is None:
            raise ModelFileError(
                f"{self.path} makes an output of shape {self.output.shape} of an image of "
                f"{self.input_size[0]} x {self.input_size[1]}, at no whole stride."
            )
        return stride

    def full_size(self, coarse: tuple[int, int]) -> tuple[int, int]:
        """Returns the size at which an output of (height, width) lies on the images.

        At a whole stride it covers the image and maybe a few pixels more, as kseg's networks do;
        any other output covers the image exactly.
        """
        stride = whole_stride(self.input_size, coarse)
        if stride is None:
            return self.input_size
        return coarse[0] * stride, coarse[1] * stride

    def run(self, array: np.ndarray, runs: int = 1) -> tuple[np.ndarray, list[float], int]:
        """Runs the file on its own kind of numbers.

        Args:
            array: The input, of its shape and dtype.
            runs: How often to run it.

        Returns:
            The output as the file gives it, the milliseconds of each run, and the largest
            memory of the process so far in KiB.

        Raises:
            ModelFileError: If the runtime crashes or hangs.
        """
        return self._process.run(array, runs, self._number)

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Turns images (1, H, W, C), 0..255, into the file's input."""
        return encode(images, self.input, self.normalization)

    def saturated(self) -> float | None:
        """Returns the share of integer scores so far that were at an end of their range."""
        return self._ends / self._values if self._values else None

    def close(self) -> None:
        """Ends the process."""
        self._process.close()

    def __enter__(self) -> "TFLiteModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Maps images float32 (1, H, W, channels), 0..255, to logits on the output's grid.

        Of a class map, the class has 1 and the others have 0. One score for each pixel tells two
        classes apart: above 0.5 for a sigmoid's, above 0 for a logit, it is the second.
        """
        if is_guessed(self.input, self.normalization):
            warnings.warn(
                f"{self.path} does not say what numbers it wants in place of bytes, so it is given "
                "0..255; if it was trained on others, say so (--normalization 0..1, "
                "--normalization=-1..1, imagenet or MEAN STD; 0..255 if this is right).",
                stacklevel=3,
            )
            self.normalization = parse_normalization("0..255")  # said once
        images = self.with_channels(images)
        if images.shape[-1] != self.channels:
            raise ValueError(
                f"{self.path} takes images of {self.channels} channels; got {images.shape[-1]}."
            )
        output, _, _ = self.run(self.quantize(images))
        if output.dtype.kind in "iu" and self._meaning.kind != "ids":
            info = np.iinfo(output.dtype)
            self._ends += int(((output == info.min) | (output == info.max)).sum())
            self._values += output.size
        try:
            return to_scores(output, self._grid(output.shape), self._meaning, self.output)
        except ValueError as error:
            raise ModelFileError(f"{self.path} {error}.") from None

    def with_channels(self, images: np.ndarray) -> np.ndarray:
        """Turns RGB into gray, or gray into RGB, where the file takes that; (..., channels)."""
        if images.ndim < 3 or (images.shape[-1], self.channels) not in ((3, 1), (1, 3)):
            return images
        if self.channels == 3:
            return np.repeat(images, 3, axis=-1)
        # The weights of ITU-R 601, as Pillow's.
        return np.asarray(images, "float32") @ np.array([[0.299], [0.587], [0.114]], "float32")

    def _grid(self, shape: Sequence[int]) -> tuple[int, int, int]:
        try:
            return grid(shape, self.input_size)
        except ValueError as error:
            raise self._no_map(shape, error) from None

    def _no_map(self, shape: Sequence[int], error: ValueError) -> ModelFileError:
        return ModelFileError(
            f"{self.path} gives {self.output.dtype} of shape {tuple(shape)}: {error}. A "
            "segmentation model gives scores (1, H, W, classes) or a map of ids (1, H, W)."
        )

    def _read_meaning(
        self, graph: ModelFile, activation: int | None, num_classes: int | None
    ) -> Meaning:
        if self.output.nbytes > MOST_BYTES:
            raise ModelFileError(
                f"{self.path} gives an output of shape {self.output.shape}, more than kseg's limit "
                f"of {MOST_BYTES >> 30} GiB."
            )
        shape: Sequence[int] = self.output.shape
        if -1 in graph.tensors[graph.outputs[self._number]].shape[1:]:  # known once it ran
            gray = np.full(self.input.shape, 127.0)
            shape = self.run(self.quantize(gray))[0].shape
        channels = self._grid(shape)[2]
        try:
            meaning = read_meaning(graph, self._number, self.output, channels, activation)
        except ValueError as error:
            raise self._no_map(shape, error) from None
        if meaning.num_classes is not None:
            return meaning
        named = read_metadata(self.path)
        count = num_classes or (named[0].num_classes if named else None)
        return Meaning(meaning.kind, count)


def _check_input(graph: ModelFile, path: Path) -> None:
    image = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) > 1 or image.dtype not in _DTYPES or -1 in image.shape[1:]:
        raise ModelFileError(
            f"{path} takes {len(graph.inputs)} input(s), the first {image.dtype} of shape "
            f"{image.shape}; kseg runs files with one input of a fixed size, of "
            f"{', '.join(_DTYPES)}. Convert it so."
        )
    _image_size(image.default_shape or image.shape, path)


def _image_size(shape: tuple[int, ...], path: Path) -> tuple[tuple[int, int], int]:
    """Returns (height, width) and channels of a file's image, checked."""
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ModelFileError(
            f"{path} takes input of shape {shape}; a segmentation model takes (1, H, W, 3)."
        )
    if shape[1] in (1, 3, 4) and min(shape[2:]) > 4:
        raise ModelFileError(
            f"{path} takes input of shape {shape}, its channels first; kseg runs files with "
            "channels last, (1, H, W, 3). Convert it so."
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


def load_tflite(
    path: str | Path,
    *,
    threads: int = 1,
    kernels: str = "default",
    delegate: str | None = None,
    normalization: Normalizing | None = None,
    output: str | int | None = None,
    num_classes: int | None = None,
) -> TFLiteModel:
    """Loads a .tflite file into a process of its own.

    Args:
        path: The file; its input is (1, H, W, channels).
        threads: How many threads LiteRT uses.
        kernels: "default" (XNNPACK), "plain" (LiteRT's own) or "reference". Where XNNPACK refuses
            the file, the plain ones run it, with a warning.
        delegate: A library that runs the ops it can in place of the kernels, such as
            "libedgetpu.so.1" for a file that Google's compiler made.
        normalization: The numbers that the network was trained on in place of 0..255: "0..1",
            "-1..1", "imagenet", "0..255", or (mean, std) for pixels of 0..255, each one number or
            one for each channel. None takes what the file's metadata say. A float file that says
            nothing is given 0..255, with a warning.
        output: Name or number of the output to read, where there are several.
        num_classes: How many classes there are, for a class map that does not say it.

    Returns:
        A callable from images (N, h, w, channels), 0..255, no larger than the file's input, to
        logits float32 (N, h, w, num_classes).

    Raises:
        ModelFileError: If the file is missing, damaged, no segmentation model, or crashes LiteRT.
        ValueError: If the delegate cannot be loaded, or another argument does not fit the file.
    """
    return TFLiteModel(
        path,
        threads=threads,
        kernels=kernels,
        delegate=delegate,
        normalization=normalization,
        output=output,
        num_classes=num_classes,
    )


__all__ = ["Endpoint", "FixedSize", "TFLiteModel", "load_tflite"]
