"""A .tflite file in a process of its own, with limits that fit the file."""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGXCPU
from typing import IO, Any, cast

import numpy as np

from export.errors import ModelFileError
from export.tflite.need import memory_need, seconds_need
from export.tflite.reader import ModelFile

_CHILD = Path(__file__).with_name("_child.py")
_ENGINES = Path(__file__).with_name("engines")
KERNELS = ("default", "plain", "reference")
MOST_BYTES = 1 << 30  # of an input or output that is moved between the processes
_MOST_SAID = 1 << 16  # bytes of what the runtime printed


@dataclass(frozen=True)
class Endpoint:
    """The input or output of a file.

    Attributes:
        name: The name of the tensor.
        shape: The shape, with the batch.
        dtype: The name of its NumPy type.
        scale: Real value of one step; 0 if it is not quantized.
        zero_point: Stored value of 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        size = np.dtype(self.dtype).itemsize
        for side in self.shape:
            size *= side
        return size


class Process:
    """LiteRT with one file; close it to end it.

    It ends with this process, too, even where that is killed.

    Attributes:
        inputs: The input tensors, as LiteRT allocated them.
        outputs: The output tensors, likewise.
        load_ms: Milliseconds that loading took.
        kernels: What runs the file.
    """

    def __init__(
        self,
        path: Path,
        graph: ModelFile,
        *,
        threads: int = 1,
        kernels: str = "default",
        delegate: str | None = None,
        shapes: Sequence[tuple[int, ...]] = (),
    ):
        """Starts the process and loads the file there; see `load_tflite`.

        Args:
            path: The file.
            graph: It, as `read_model` returns it.
            threads: How many threads the runtime uses.
            kernels: What runs the ops.
            delegate: A library that does so in their place.
            shapes: Those of the inputs, where the file leaves some open.

        Raises:
            ModelFileError: If LiteRT cannot load the file.
            ValueError: If there are no such kernels, or the delegate cannot be loaded.
        """
        engine = "" if kernels in KERNELS else str(_engine(kernels))
        if engine and graph.signature.graph > 0:
            raise ModelFileError(f"{kernels} runs the first signature of {path}, not another.")
        self._runtime = kernels if engine else "LiteRT"
        self.path, self._threads = path, threads
        times = _times(graph, shapes)
        self._seconds, self._memory = seconds_need(graph, times), memory_need(graph, times)
        self._loops = "WHILE" in {op.name for op in graph.ops}
        settings = {
            "threads": threads,
            "kernels": kernels,
            "engine": engine,
            "shapes": shapes,
            **graph.signature.to_run(graph.inputs, graph.outputs),
            "delegate": delegate or "",
            "memory": self._memory,
            "seconds": self._seconds * max(1, threads),
            "parent": os.getpid(),
            "main_thread": threading.current_thread() is threading.main_thread(),
        }
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-P", _CHILD, path, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        # Popen's own attributes may be None; with PIPE they are not.
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        facts = self._answer(self._seconds)
        if "delegate" in facts:
            self.close()
            raise ValueError(
                f"The delegate {delegate} cannot be loaded: {facts['delegate']}. Install it (for "
                "a Coral device, Google's package libedgetpu1-std), connect the device, or leave "
                "the delegate out."
            )
        self.load_ms = facts["load_ms"]
        self.inputs, self.outputs = (_endpoints(facts[key]) for key in ("inputs", "outputs"))
        self.kernels = kernels
        if facts["refusal"]:
            self.kernels = "plain"
            warnings.warn(
                f"{path} runs with LiteRT's plain kernels, which are slower: XNNPACK refuses it "
                f"({facts['refusal'].rstrip('.')}).",
                stacklevel=4,
            )

    def run(
        self, array: np.ndarray, runs: int, outputs: Sequence[int]
    ) -> tuple[list[np.ndarray], list[float], int]:
        """Runs the file on a value of its first input.

        Args:
            array: The input, of its shape and dtype.
            runs: How often.
            outputs: Numbers of the outputs that are wanted.

        Returns:
            These outputs, the milliseconds of each run, and the largest memory of the process so
            far in KiB.

        Raises:
            ModelFileError: If the runtime crashes or takes too long, or an output is too large.
        """
        content = np.ascontiguousarray(array, self.inputs[0].dtype).tobytes()
        answer = self._ask(runs, content, outputs)
        for made in answer["outputs"]:
            if made["bytes"] > MOST_BYTES:
                self.close()
                raise ModelFileError(
                    f"{self.path} gives an output of {made['bytes'] / 2**30:.1f} GiB, of shape "
                    f"{tuple(made['shape'])}; kseg takes up to {MOST_BYTES >> 30} GiB."
                )
        found = []
        for made in answer["outputs"]:
            values = np.frombuffer(self._answers.read(made["bytes"]), made["dtype"])
            found.append(values.reshape(made["shape"]))
        return found, answer["times_ms"], answer["peak_kib"]

    def time(self, runs: int) -> tuple[list[float], int]:
        """Runs the file on made-up values of all its inputs.

        Args:
            runs: How often.

        Returns:
            The milliseconds of each run, and the largest memory of the process so far in KiB.

        Raises:
            ModelFileError: If the runtime crashes or takes too long.
        """
        answer = self._ask(runs, b"", ())
        return answer["times_ms"], answer["peak_kib"]

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers, self._errors):
            try:  # no contextlib: it may be gone when Python itself ends
                stream.close()
            except OSError:
                pass

    def _ask(self, runs: int, content: bytes, outputs: Sequence[int]) -> dict[str, Any]:
        seconds = runs * self._seconds
        request: dict[str, Any] = {
            "runs": runs,
            "bytes": len(content),
            "outputs": list(outputs),
            "most": MOST_BYTES,
        }
        request["seconds"] = seconds * max(1, self._threads)
        with contextlib.suppress(OSError, ValueError):  # it may have ended; the answer says so
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.write(content)
            self._requests.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        if self._answers.closed:
            raise ModelFileError(f"{self.path} was closed or stopped; load it again.")
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
        timer.daemon = True
        timer.start()
        try:
            line = self._answers.readline()
        finally:
            timer.cancel()
        if line:
            return json.loads(line)
        code = self._process.wait()
        said = self._said()
        self.close()
        if custom := re.search(r"unresolved custom op: ([\w.:-]+)", said):
            raise ModelFileError(
                f"{self.path} has the custom op {custom[1].rstrip('.')}, unknown to LiteRT."
            )
        if late.is_set() or code == -SIGXCPU:
            loop = "; its WHILE op may never end" if self._loops else ""
            raise ModelFileError(
                f"{self.path} was still running after {seconds:.3g} s, more than a file like it "
                f"takes, and was stopped{loop}."
            )
        if "MemoryError" in said or "bad_alloc" in said:
            raise ModelFileError(
                f"{self.path} asks for more than {self._memory / 2**30:.0f} GiB of memory, more "
                "than a file like it takes."
            )
        if code < 0:
            runtime = f"the {self._runtime} runtime"
            raise ModelFileError(f"{self.path} crashed {runtime} (signal {-code}).")
        lines = said.splitlines()
        reason = "".join(c for c in lines[-1] if c.isprintable()) if lines else "no reason given"
        raise ModelFileError(f"{self._runtime} cannot run {self.path}: {reason.rstrip('.')}.")

    def _said(self) -> str:
        """Returns the end of what the runtime printed."""
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - _MOST_SAID))
        return self._errors.read().decode("utf-8", "replace").strip()


def _engine(name: str) -> Path:
    """Returns the script of a runtime other than LiteRT's interpreter."""
    engines = {script.stem: script for script in sorted(_ENGINES.glob("[!_]*.py"))}
    if name not in engines:
        raise ValueError(f"kernels must be one of {', '.join((*KERNELS, *engines))}; got {name!r}.")
    return engines[name]


def _times(graph: ModelFile, shapes: Sequence[tuple[int, ...]]) -> float:
    """Returns how much larger inputs are than the file stores them."""
    stored = [graph.tensors[t].default_shape for t in graph.inputs]
    pairs = zip(shapes, stored, strict=False)
    return max([1.0, *(math.prod(a) / max(1, math.prod(b)) for a, b in pairs)])


def _endpoints(facts: Sequence[dict[str, Any]]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(**{**each, "shape": tuple(each["shape"])}) for each in facts)
