"""Timing .tflite files side by side."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime import load_tflite

_ROUNDS = 5


def benchmark(
    files: Sequence[str | Path], *, threads: int = 1, runs: int = 30, kernels: str = "default"
) -> list[dict[str, Any]]:
    """Times files in turn (A B A B), so that a busy moment of the machine hits all alike.

    Args:
        files: .tflite files.
        threads: Of LiteRT.
        runs: Timed runs of each file, after one round of warm-up.
        kernels: As `load_tflite`.

    Returns:
        For each file "file", "median_ms", "p90_ms", "min_ms", "ratio" (median as a fraction of
        the first file's), "load_ms", "peak_mib", "bytes" and "threads".

    Raises:
        ModelFileError: If a file cannot be run.
        ValueError: If runs or threads is below 1.
    """
    if runs < 1 or threads < 1:
        raise ValueError(f"runs and threads must be at least 1; got {runs} and {threads}.")
    rng = np.random.default_rng(0)
    each = -(-runs // _ROUNDS)
    with ExitStack() as stack:
        models = [
            stack.enter_context(load_tflite(file, threads=threads, kernels=kernels))
            for file in files
        ]
        times: list[list[float]] = [[] for _ in models]
        peaks = [0] * len(models)
        for turn in range(1 + _ROUNDS):
            for index, model in enumerate(models):
                image = model.quantize(rng.uniform(0, 255, model.input.shape))
                _, taken, peaks[index] = model.run(image, each)
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
            }
            for file, model, t, peak in zip(files, models, times, peaks, strict=True)
        ]
