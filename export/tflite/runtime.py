"""Running .tflite files that label images with LiteRT, in a process of their own."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ModelFileError
from export.tflite.beside import told, told_size
from export.tflite.fixed_size import FixedSize
from export.tflite.inputs import check_input, image_size
from export.tflite.instructions import read_instructions
from export.tflite.maps import LOGITS, SEMANTIC, Maps, named
from export.tflite.normalization import encode, follows, parse_normalization, settle
from export.tflite.process import Endpoint, Process
from export.tflite.reader import ModelFile, read_model
from export.tflite.reading import Output, check_size, choose_outputs, grid_of, read_output
from export.tflite.scores import Meaning, real_values, settled, to_scores, warn_if_contrary
from export.tflite.signatures import check_signature
from kseg.grids import extent, whole_stride

Normalizing = str | Sequence[float | str | Sequence[float]]


class TFLiteModel(FixedSize):
    """A .tflite file as a callable from images to logits; close it to end its process.

    Attributes:
        input: The input tensor.
        output: The output tensor that labels the image.
        outputs: The output tensors that are read, by the names of their maps: "logits" alone, or
            "semantic", "center" and "offset" of a file that tells objects apart.
        output_numbers: The places of these outputs in the file, likewise.
        channels: How many channels the images have.
        num_classes: How many classes the output tells apart; None for a class map that does not
            say.
        normalization: What the input's numbers are made of; None if nothing says so.
        kseg_size: (height, width) that `kseg.predict` and `kseg.evaluate` fit images into before
            the file sees them, as its metadata or the report beside it say; or None.
        kseg_things, kseg_bits: The classes whose objects it tells apart, and the bits of the 16-bit
            images that it was trained on, said likewise.
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
        signature: str | None = None,
    ):
        """Starts a process and loads the file there; see `load_tflite`."""
        self.path = Path(path)
        given = None if normalization is None else parse_normalization(normalization)
        graph = read_model(path, signature)  # refuses what is no model before native code sees it
        check_signature(graph.signatures, signature, self.path)
        check_input(graph, self.path)
        self.output_numbers = choose_outputs(graph, output, self.path)
        self._process = Process(
            self.path, graph, threads=threads, kernels=kernels, delegate=delegate
        )
        try:
            self.input = self._process.inputs[0]
            self.outputs = {k: self._process.outputs[n] for k, n in self.output_numbers.items()}
            self.output = next(iter(self.outputs.values()))
            self.input_size, self.channels = image_size(self.input.shape, self.path)
            instructions = read_instructions(graph, self.channels, self.path)
            self.normalization = given or instructions.normalization
            if self.normalization is not None:
                self.normalization.check_input(self.input, self.channels)
            self._meanings = self._read_meanings(graph, instructions.activation, num_classes)
            ends = self.input, self.output
            self.kseg_size = told_size(self.path, ends, self.input_size)
            self.kseg_bits = told(self.path, ends, "bits")
            self.kseg_things = None if len(self.outputs) == 1 else told(self.path, ends, "things")
        except ValueError as error:  # of the normalization
            self.close()
            raise ValueError(f"{self.path}: {error}.") from None
        except ModelFileError:
            self.close()
            raise
        self.num_classes = next(iter(self._meanings.values())).num_classes
        self.kernels, self.load_ms = self._process.kernels, self._process.load_ms
        self._ends, self._values = Counter[str](), Counter[str]()
        self._taken: dict[str, Meaning] = {}

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the maps that are read."""
        return tuple(self.outputs)

    @property
    def stride(self) -> int:  # type: ignore[override]
        """Pixels of the input for one of the output.

        Raises:
            ModelFileError: If the output is no such grid.
        """
        coarse = grid_of(self.output.shape, self.input_size, self.output.dtype, self.path)[:2]
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
        return extent(self.input_size, coarse) or self.input_size

    def run(self, array: np.ndarray, runs: int = 1) -> tuple[Any, list[float], int]:
        """Runs the file on its own kind of numbers.

        Args:
            array: The input, of its shape and dtype.
            runs: How often to run it.

        Returns:
            The output as the file gives it, or a dict of the three maps; the milliseconds of each
            run, and the largest memory of the process so far in KiB.

        Raises:
            ModelFileError: If the runtime crashes or hangs.
        """
        found, times, peak = self._process.run(array, runs, tuple(self.output_numbers.values()))
        if len(found) == 1:
            return found[0], times, peak
        return dict(zip(self.output_numbers, found, strict=True)), times, peak

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Turns images (1, H, W, C), 0..255, into the file's input.

        Raises:
            ValueError: If most of them would be clipped.
        """
        asked, tensor = self.normalization, self.input
        if asked and asked.given and asked.plain and tensor.scale and follows(tensor, asked):
            try:
                asked.check_range(tensor, self.channels)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}.") from None
        return encode(images, self.input, self.normalization)

    def saturated(self, name: str | None = None) -> float | None:
        """Returns the share of integer scores so far that were at an end of their range.

        Args:
            name: The map to look at; None for the one that labels the image.
        """
        name = next(iter(self.outputs)) if name is None else name
        return self._ends[name] / self._values[name] if self._values[name] else None

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

    def logits(self, images: np.ndarray) -> Maps:
        """Maps images float32 (1, H, W, channels), 0..255, to logits on the output's grid.

        Of a class map, the class has 1 and the others have 0. One score for each pixel tells two
        classes apart: above 0.5 for a sigmoid's, above 0 for a logit, it is the second. A file
        that tells objects apart gives a dict of its three maps.
        """
        self.normalization = settle(self.input, self.normalization, self.path)  # said once
        images = self.with_channels(images)
        if images.shape[-1] != self.channels:
            raise ValueError(
                f"{self.path} takes images of {self.channels} channels; got {images.shape[-1]}."
            )
        found, _, _ = self.run(self.quantize(images))
        maps = {name: self._scores(name, output) for name, output in named(found).items()}
        return maps if SEMANTIC in maps else maps[LOGITS]

    def _scores(self, name: str, output: np.ndarray) -> np.ndarray:
        tensor, meaning = self.outputs[name], self._meanings[name]
        size = grid_of(output.shape, self.input_size, tensor.dtype, self.path)
        try:
            values = real_values(output, tensor)
            if meaning.kind == "either":
                meaning = settled(values, meaning, tensor)
                warn_if_contrary(self._taken.get(name), meaning, self.path)
                self._taken[name] = meaning
            if output.dtype.kind in "iu" and meaning.kind != "ids":
                info = np.iinfo(output.dtype)
                self._ends[name] += int(((output == info.min) | (output == info.max)).sum())
                self._values[name] += output.size
            return to_scores(values, size, meaning, tensor)
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

    def _read_meanings(
        self, graph: ModelFile, activation: int | None, num_classes: int | None
    ) -> dict[str, Meaning]:
        for tensor in self.outputs.values():
            check_size(tensor, self.path)
        shapes = {name: tensor.shape for name, tensor in self.outputs.items()}
        if any(
            -1 in graph.tensors[graph.outputs[n]].shape[1:] for n in self.output_numbers.values()
        ):
            gray = np.full(self.input.shape, 127.0)  # known once it ran
            found, _, _ = self.run(self.quantize(gray))
            shapes = {name: values.shape for name, values in named(found).items()}
        return {
            name: read_output(
                Output(name, self.output_numbers[name], tensor, shapes[name]),
                graph,
                self.input_size,
                activation,
                num_classes,
                self.path,
            )
            for name, tensor in self.outputs.items()
        }


def load_tflite(
    path: str | Path,
    *,
    threads: int = 1,
    kernels: str = "default",
    delegate: str | None = None,
    normalization: Normalizing | None = None,
    output: str | int | None = None,
    num_classes: int | None = None,
    signature: str | None = None,
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
        output: Name or number of the output to read, where there are several. Of a file that
            tells objects apart, that makes one that labels alone: output="semantic".
        num_classes: How many classes there are, for a class map that does not say it.
        signature: Name of the function to run, where the file holds several.

    Returns:
        A callable from images (N, h, w, channels), 0..255, no larger than the file's input, to
        logits float32 (N, h, w, num_classes). A file with outputs named semantic, center and
        offset gives a dict of the three, as `kseg.build_panoptic_deeplab` says. What the file or
        the report beside it says of images and objects are attributes of `TFLiteModel`.

    Raises:
        ModelFileError: If the file is missing, damaged, no segmentation model, or crashes LiteRT,
            or if its metadata are damaged.
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
        signature=signature,
    )


__all__ = ["Endpoint", "FixedSize", "TFLiteModel", "load_tflite"]
