"""Running .tflite files with LiteRT, in a process of their own."""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import keras
import numpy as np

from export.errors import ModelFileError
from export.tflite.reader import read_model
from kseg.data.transforms import FILL

_CHILD = Path(__file__).with_name("_child.py")
_SECONDS = 120.0  # for one answer
_DTYPES = ("uint8", "int8", "int16", "float32")  # of an input


@dataclass(frozen=True)
class Endpoint:
    """The input or output of a file.

    Attributes:
        name: Of the tensor.
        shape: With the batch.
        dtype: Of numpy.
        scale: Real value of one step; 0 if it is not quantized.
        zero_point: Stored value of 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class FixedSize:
    """A function of one image size that takes every smaller one: it pads, calls and cuts.

    The padding is the grey that is 0 after scaling, as in `kseg.layers.PadToStride`.

    Attributes:
        input_size: (H, W) of the function's images.
        stride: Pixels of the input for one of the output, in both directions.
    """

    input_size: tuple[int, int]
    stride: int = 1

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Maps images float32 (1, H, W, 3), 0..255, to logits on the output's grid.

        These are (1, ceil(H / stride), ceil(W / stride), num_classes).
        """
        raise NotImplementedError

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns logits for images (N, h, w, 3), 0..255.

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
        padded = np.pad(images, ((0, 0), (0, below), (0, right), (0, 0)), constant_values=FILL)
        logits = np.concatenate([self.logits(padded[i : i + 1]) for i in range(len(padded))])
        if self.stride > 1:
            size = [side * self.stride for side in logits.shape[1:3]]
            logits = keras.ops.convert_to_numpy(keras.ops.image.resize(logits, size))
        return logits[:, :height, :width]


class TFLiteModel(FixedSize):
    """A .tflite file as a callable from images to logits; close it to end its process.

    Attributes:
        input: The input tensor.
        output: The output tensor.
        load_ms: Milliseconds that loading took.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        kernels: str = "default",
        delegate: str | None = None,
    ):
        """Starts a process and loads the file there; see `load_tflite`."""
        self.path = Path(path)
        graph = read_model(path)  # refuses what is no model before any native code sees it
        # The class map of an argmax head does not say how many classes there are; its input does.
        last = graph.ops[-1] if graph.ops else None
        is_class_map = last is not None and last.name == "ARG_MAX"
        scores = graph.tensors[last.inputs[0] if last and is_class_map else graph.outputs[0]]
        self.num_classes = scores.shape[-1] if scores.shape else 0
        image = graph.tensors[graph.inputs[0]]
        if len(graph.inputs) > 1 or image.dtype not in _DTYPES or -1 in image.shape[1:]:
            raise ModelFileError(
                f"{path} takes {len(graph.inputs)} input(s), the first {image.dtype} of shape "
                f"{image.shape}; kseg runs files with one input of a fixed size, of "
                f"{', '.join(_DTYPES)}. Convert it so."
            )
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-P", _CHILD, self.path, str(threads), kernels, delegate or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        # Popen's own attributes may be None; with PIPE they are not.
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        facts = self._answer()
        if "delegate" in facts:
            self.close()
            raise ValueError(
                f"The delegate {delegate} cannot be loaded: {facts['delegate']}. Install it (for "
                "a Coral device, Google's package libedgetpu1-std), connect the device, or leave "
                "the delegate out."
            )
        self.load_ms = facts["load_ms"]
        self._ends, self._values = 0, 0
        self.input, self.output = (_endpoint(facts[key]) for key in ("input", "output"))
        shape = self.input.shape
        if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
            self.close()
            raise ModelFileError(
                f"{path} takes input of shape {shape}; a segmentation model takes (1, H, W, 3)."
            )
        self.input_size = (shape[1], shape[2])

    @property
    def stride(self) -> int:  # type: ignore[override]
        """Pixels of the input for one of the output.

        Raises:
            ModelFileError: If the output is no such grid.
        """
        height, width = self.input_size
        coarse = self.output.shape[1:3]
        fit = [
            s
            for s in range(1, max(height, width) + 1)
            if (-(-height // s), -(-width // s)) == coarse
        ]
        if not fit:
            raise ModelFileError(
                f"{self.path} makes an output of shape {self.output.shape} of an image of {height} "
                f"x {width}; a segmentation model makes one at a whole stride."
            )
        # Small outputs fit several strides; networks have powers of two.
        return next((s for s in fit if s & (s - 1) == 0), fit[0])

    def run(self, array: np.ndarray, runs: int = 1) -> tuple[np.ndarray, list[float], int]:
        """Runs the file on its own kind of numbers.

        Args:
            array: Of the input's shape and dtype.
            runs: How often to run it.

        Returns:
            The output as the file gives it, the milliseconds of each run, and the largest
            memory of the process so far in KiB.

        Raises:
            ModelFileError: If the runtime crashes or hangs.
        """
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps({"runs": runs}).encode() + b"\n")
            self._requests.write(np.ascontiguousarray(array, self.input.dtype).tobytes())
            self._requests.flush()
        answer = self._answer()
        content = self._answers.read(answer["bytes"])
        output = np.frombuffer(content, self.output.dtype).reshape(self.output.shape)
        return output, answer["times_ms"], answer["peak_kib"]

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Turns images (1, H, W, 3), 0..255, into the file's input."""
        if self.input.dtype == "float32":
            return np.asarray(images, "float32")
        info = np.iinfo(self.input.dtype)
        if self.input.dtype == "int16":  # the scaling is in the graph
            values = np.rint(np.asarray(images) / self.input.scale)
            return np.clip(values, info.min, info.max).astype("int16")
        # Bytes go in as they are; int8 input is the same bytes, moved by 128.
        return np.clip(np.rint(images) + info.min, info.min, info.max).astype(self.input.dtype)

    def saturated(self) -> float | None:
        """Returns the share of integer outputs so far that were at an end of their range."""
        return self._ends / self._values if self._values else None

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers, self._errors):
            with contextlib.suppress(OSError):
                stream.close()

    def __enter__(self) -> "TFLiteModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Maps images float32 (1, H, W, 3), 0..255, to logits on the output's grid."""
        output, _, _ = self.run(self.quantize(images))
        if output.dtype.kind in "iu" and output.ndim == 4:
            info = np.iinfo(output.dtype)
            self._ends += int(((output == info.min) | (output == info.max)).sum())
            self._values += output.size
        kinds = {3: "iu", 4: "iuf"}  # a class map; scores
        if output.dtype.kind not in kinds.get(output.ndim, ""):
            raise ModelFileError(
                f"{self.path} gives {output.dtype} of shape {output.shape}; a segmentation model "
                "gives scores (1, H, W, classes) or a map of whole numbers (1, H, W)."
            )
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise ModelFileError(f"{self.path} gives scores that are no numbers (nan or inf).")
        if output.ndim == 3:  # a class map: 1 for the class, 0 for the others
            return np.eye(self.num_classes, dtype="float32")[output]
        if self.output.scale:
            return (output.astype("float32") - self.output.zero_point) * self.output.scale
        return output

    def _answer(self) -> dict[str, Any]:
        timer = threading.Timer(_SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._answers.readline()
        finally:
            timer.cancel()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self.close()
        if code < 0:
            raise ModelFileError(f"{self.path} crashed the LiteRT runtime (signal {-code}).")
        raise ModelFileError(
            f"LiteRT cannot run {self.path}: {said[-1] if said else 'no reason given'}."
        )


def _endpoint(facts: dict[str, Any]) -> Endpoint:
    return Endpoint(**{**facts, "shape": tuple(facts["shape"])})


def load_tflite(
    path: str | Path,
    *,
    threads: int = 1,
    kernels: str = "default",
    delegate: str | None = None,
) -> TFLiteModel:
    """Loads a .tflite file into a process of its own.

    Args:
        path: The file; its input is (1, H, W, 3).
        threads: Of LiteRT.
        kernels: "default" (XNNPACK), "plain" (LiteRT's own) or "reference".
        delegate: A library that runs the ops it can in place of the kernels, such as
            "libedgetpu.so.1" for a file that Google's compiler made.

    Returns:
        A callable from images (N, h, w, 3), 0..255, no larger than the file's input, to logits
        float32 (N, h, w, num_classes).

    Raises:
        ModelFileError: If the file is missing, damaged, no segmentation model, or crashes LiteRT.
        ValueError: If the delegate cannot be loaded.
    """
    return TFLiteModel(path, threads=threads, kernels=kernels, delegate=delegate)
