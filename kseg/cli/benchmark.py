"""`kseg benchmark`: times .tflite files."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kseg.cli.options import Delegate, Json, Kernels, Signature, Size
from kseg.cli.output import print_json, print_table, say


def benchmark(
    files: Annotated[list[Path], Parameter(help=".tflite files; the first is the yardstick.")],
    /,
    *,
    threads: Annotated[int, Parameter(help="Threads of LiteRT.")] = 1,
    runs: Annotated[int, Parameter(help="How often each file is timed.")] = 30,
    delegate: Annotated[
        Delegate, Parameter(help="A library that runs the files, such as libedgetpu.so.1.")
    ] = None,
    kernels: Annotated[
        Kernels, Parameter(help="LiteRT's kernels: default is XNNPACK, the fastest.")
    ] = None,
    size: Annotated[
        Size, Parameter(help="The size of the images, for files that take any size.")
    ] = None,
    signature: Annotated[
        Signature, Parameter(help="The function to time, of files that hold several.")
    ] = None,
    json: Json = False,
) -> None:
    """Times .tflite files on this computer."""
    from export.tflite.benchmark import benchmark as measure
    from export.tflite.benchmark import host_facts

    results = measure(
        files,
        threads=threads,
        runs=runs,
        kernels=kernels or "default",
        delegate=delegate,
        size=size,
        signature=signature,
    )
    host = host_facts()
    if json:
        print_json({"files": results, "host": host})
        return
    keys = ("file", "median_ms", "p90_ms", "min_ms", "ratio", "load_ms", "peak_mib")
    rows = [[*(r[key] for key in keys), r["bytes"] / 1e6] for r in results]
    headers = ["file", "median ms", "p90 ms", "min ms", "ratio", "load ms", "peak MiB", "MB"]
    print_table(rows, headers, floatfmt=".2f")
    if size is not None:
        say(f"images of open size are {size[0]} x {size[1]}")
    say(
        f"{runs} runs, {threads} thread(s), {host['processor']}, {host['cores']} cores, "
        f"load {host['load_average']:.1f}, LiteRT {host['litert']}"
    )
