"""Timing .tflite files side by side."""

import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ModelFileError
from export.tflite.need import bytes_of
from export.tflite.process import MOST_BYTES, Process
from export.tflite.reader import read_model

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
) -> list[dict[str, Any]]:
    """Times files in turn (A B A B), so that a busy moment of the machine hits all alike.

    Args:
        files: .tflite files, with any number of inputs of any kind but text. They are given
            made-up numbers; an open size is what the file stores for it, mostly 1.
        threads: How many threads LiteRT uses.
        runs: Timed runs of each file, after one turn of warm-up.
        kernels: What runs the ops, as `load_tflite` takes it.
        delegate: A library that runs ops in place of the kernels, as `load_tflite` takes it.

    Returns:
        For each file "file", "median_ms", "p90_ms", "min_ms", "ratio" (median as a fraction of
        the first file's), "load_ms", "peak_mib", "bytes", "threads" and "kernels".

    Raises:
        ModelFileError: If a file cannot be run.
        ValueError: If runs or threads is below 1, or the delegate cannot be loaded.
    """
    if runs < 1 or threads < 1:
        raise ValueError(f"runs and threads must be at least 1; got {runs} and {threads}.")
    turns = [_RUNS_A_TURN] * (runs // _RUNS_A_TURN) + [runs % _RUNS_A_TURN]
    turns = [turns[0], *(turn for turn in turns if turn)]  # the first is warm-up
    options: dict[str, Any] = {"threads": threads, "kernels": kernels, "delegate": delegate}
    with ExitStack() as stack:
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
            }
            for file, model, t, peak in zip(files, models, times, peaks, strict=True)
        ]


def _open(path: Path, **options: Any) -> Process:
    graph = read_model(path)
    for tensor in (graph.tensors[t] for t in graph.inputs):
        if tensor.dtype not in _DTYPES:
            raise ModelFileError(
                f"{path} takes {tensor.dtype}; kseg times files that take {', '.join(_DTYPES)}."
            )
        if bytes_of(tensor) > MOST_BYTES:
            raise ModelFileError(
                f"{path} takes input of shape {tensor.shape}, more than kseg's limit of "
                f"{MOST_BYTES >> 30} GiB."
            )
    return Process(path, graph, **options)


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
