"""Timing .tflite files side by side."""

import os
import platform
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ModelFileError
from export.tflite.need import bytes_of
from export.tflite.process import MOST_BYTES, Process
from export.tflite.reader import Tensor, read_model
from export.tflite.signatures import check_signature

_RUNS_A_TURN = 5
_DTYPES = (
    "bool", "complex64", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip


def benchmark(
    files: Sequence[str | Path],
    *,
    threads: int = 1,
    runs: int = 30,
    kernels: str = "default",
    delegate: str | None = None,
    size: tuple[int, int] | None = None,
    signature: str | None = None,
) -> list[dict[str, Any]]:
    """Times files in turn (A B A B), so that a busy moment of the machine hits all alike.

    Args:
        files: .tflite files, with any number of inputs of any kind but text. They are given
            made-up numbers.
        threads: How many threads LiteRT uses.
        runs: Timed runs of each file, after one turn of warm-up.
        kernels: What runs the ops, as `load_tflite` takes it.
        delegate: A library that runs ops in place of the kernels, as `load_tflite` takes it.
        size: (height, width) of the images of files that leave it open. Other open sizes are 1,
            with a warning.
        signature: Name of the function to time, of files that hold several.

    Returns:
        For each file "file", "median_ms", "p90_ms", "min_ms", "ratio" (median as a fraction of
        the first file's), "load_ms", "peak_mib", "bytes", "threads", "kernels" and "inputs",
        their shapes.

    Raises:
        ModelFileError: If a file cannot be run.
        ValueError: If runs or threads is below 1, the delegate cannot be loaded, or a file takes
            images of any size and none is given.
    """
    if runs < 1 or threads < 1:
        raise ValueError(f"runs and threads must be at least 1; got {runs} and {threads}.")
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be above 0; got {size[0]} x {size[1]}.")
    turns = [_RUNS_A_TURN] * (runs // _RUNS_A_TURN) + [runs % _RUNS_A_TURN]
    turns = [turns[0], *(turn for turn in turns if turn)]  # the first is warm-up
    options: dict[str, Any] = {
        "threads": threads,
        "kernels": kernels,
        "delegate": delegate,
        "size": size,
        "signature": signature,
    }
    with ExitStack() as stack:
        if size is not None and not any(_takes_any_size(f, signature) for f in files):
            raise ValueError(
                "size is for files that take images of any size; leave it (--size) out."
            )
        models = [stack.enter_context(closing(_open(Path(f), **options))) for f in files]
        times: list[list[float]] = [[] for _ in models]
        peaks = [0] * len(models)
        for turn, each in enumerate(turns):
            for index, model in enumerate(models):
                taken, peaks[index] = model.time(each)
                if turn:
                    times[index] += taken
        first = float(np.median(times[0]))
        return [
            {
                "file": str(file),
                "median_ms": float(np.median(t)),
                "p90_ms": float(np.percentile(t, 90)),
                "min_ms": min(t),
                "ratio": float(np.median(t)) / first,
                "load_ms": model.load_ms,
                "peak_mib": peak / 1024,
                "bytes": Path(file).stat().st_size,
                "threads": threads,
                "kernels": model.kernels,
                "inputs": [list(tensor.shape) for tensor in model.inputs],
            }
            for file, model, t, peak in zip(files, models, times, peaks, strict=True)
        ]


def _open(
    path: Path, *, size: tuple[int, int] | None, signature: str | None, **options: Any
) -> Process:
    graph = read_model(path, signature)
    check_signature(graph.signatures, signature, path)
    inputs = [graph.tensors[t] for t in graph.inputs]
    shapes = [_shape(tensor, size, path) for tensor in inputs]
    for tensor, shape in zip(inputs, shapes, strict=True):
        if tensor.dtype not in _DTYPES:
            raise ModelFileError(
                f"{path} takes {tensor.dtype}; kseg times files that take {', '.join(_DTYPES)}."
            )
        if bytes_of(replace(tensor, shape=shape, default_shape=shape)) > MOST_BYTES:
            raise ModelFileError(
                f"{path} takes input of shape {shape}, more than kseg's limit of "
                f"{MOST_BYTES >> 30} GiB."
            )
    return Process(path, graph, shapes=shapes, **options)


def _takes_any_size(path: str | Path, signature: str | None) -> bool:
    graph = read_model(path, signature)
    return any(_open_sides(graph.tensors[t]) for t in graph.inputs)


def _shape(tensor: Tensor, size: tuple[int, int] | None, path: Path) -> tuple[int, ...]:
    """Returns the shape that an input is timed at.

    Raises:
        ValueError: If it is an image of any size, and none is given.
    """
    shape = list(tensor.shape)
    sides = _open_sides(tensor)
    if sides and size is None:
        raise ValueError(
            f"{path} takes images of any size, {tensor.shape}, which decides how long it takes; "
            "name the size to be timed (--size H W)."
        )
    for axis, side in sides.items():
        shape[axis] = (size or (1, 1))[side]
    if -1 in shape[1:]:
        warnings.warn(
            f"{path} takes input of shape {tensor.shape}; its open sizes are timed as 1.",
            stacklevel=4,
        )
    return tuple(1 if side == -1 else side for side in shape)


def _open_sides(tensor: Tensor) -> dict[int, int]:
    """Returns which axes of an image are its height (0) and width (1), where these are open."""
    shape, stored = tensor.shape, tensor.default_shape or tensor.shape
    if len(shape) != 4:
        return {}
    first = shape[1] in (1, 3, 4) and stored[1:3] != (1, 1)  # its channels
    axes = {2: 0, 3: 1} if first else {1: 0, 2: 1}
    if -1 not in shape and stored[1:3] == (1, 1) and stored[3] in (1, 3, 4):
        return axes  # what old converters stored for open sizes
    return {axis: side for axis, side in axes.items() if shape[axis] == -1}


def host_facts() -> dict[str, Any]:
    """Returns what a latency depends on beside the file: processor, cores, load, versions."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    except OSError:  # not Linux
        pass
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "litert": version("ai-edge-litert"),
    }
