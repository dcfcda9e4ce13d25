"""Measures what telling objects apart costs, for the figures in docs/instances.md.

    python scripts/objects.py

First the grouping in numpy, on made-up outputs of 360 x 480 pixels; then panoptic_deeplab beside
atrous_fpn as .tflite files of two classes on one thread, each pair timed in turn.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

import kseg
from export import convert, float32, full_integer
from export.tflite.benchmark import benchmark
from kseg.instances import group, instances_of

_SIZES = ((256, 256), (360, 480))
_NETWORKS = ("atrous_fpn", "panoptic_deeplab")


def main() -> None:
    """Measures, then prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--grouping", action="store_true", help="leave the networks out")
    arguments = parser.parse_args()
    rows = [_grouping(objects, arguments.runs) for objects in (10, 50, 200)]
    head = ["objects", "grouping, ms", "boxes and masks, ms", "polygons, ms"]
    print(tabulate(rows, head, floatfmt=".1f", tablefmt="github"))
    if arguments.grouping:
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            _ratio(Path(folder), size, kind, arguments.runs)
            for size in _SIZES
            for kind in ("float32", "int8")
        ]
    print(tabulate(rows, ["size", "file", *_NETWORKS, "ratio"], floatfmt=".2f", tablefmt="github"))


def _grouping(count: int, runs: int) -> list[float]:
    """Returns the smallest processor time of the steps after the network, in milliseconds."""
    outputs = _outputs(count)
    times: list[list[float]] = [[], [], []]
    for _ in range(runs):
        start = time.process_time()
        groups = group(*outputs, things=[1])
        grouped = time.process_time()
        instances = instances_of(groups)
        made = time.process_time()
        for thing in instances.objects:
            _ = thing.regions
        ends = (grouped - start, made - grouped, time.process_time() - made)
        for taken, end in zip(times, ends, strict=True):
            taken.append(1000 * end)
    return [len(instances.objects), *map(min, times)]


def _outputs(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns outputs for discs of 22 pixels, with an error of 2 pixels in the offsets."""
    rng = np.random.default_rng(0)
    y, x = rng.uniform((10, 10), (350, 470), (count, 2)).T
    down, right = np.mgrid[:360, :480]
    far = (down[..., None] - y) ** 2 + (right[..., None] - x) ** 2
    nearest, inside = far.argmin(-1), far.min(-1) < 22**2
    offset = np.stack([y[nearest] - down, x[nearest] - right], -1)
    offset += rng.normal(size=offset.shape) * 2
    semantic = np.stack([~inside, inside], -1) * 4 + rng.normal(size=(*inside.shape, 2)) / 10
    center = np.exp(-far.min(-1) / 128)[..., None]
    return semantic.astype("float32"), center.astype("float32"), offset.astype("float32")


def _ratio(folder: Path, size: tuple[int, int], kind: str, runs: int) -> list[str | float]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), "uint8") for _ in range(8)]
    files = []
    for name in _NETWORKS:
        path = folder / f"{name}_{size[0]}_{kind}.tflite"
        model = kseg.MODELS[name](2)
        model.kseg_things = (1,)
        recipe = float32() if kind == "float32" else full_integer(images)
        convert(model, recipe, input_size=size, path=path)
        files.append(path)
    found = benchmark(files, runs=runs)
    medians = [result["median_ms"] for result in found]
    return [f"{size[0]} x {size[1]}", kind, *medians, medians[1] / medians[0]]


if __name__ == "__main__":
    main()
