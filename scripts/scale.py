"""Times `kseg predict --shard` with one process and with two, and watches their memory.

    python scripts/scale.py MODEL --images 10000 --side 64

    python scripts/scale.py MODEL --batches 1 8 32 --side 64

times a Keras network that sees several images in one call, as `kseg.Labeller` lets it.

Each process is held to one thread. Beside the wall clock stands the CPU time: on a machine that
does other work too, the one says how fast it was and the other how fast it would have been.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_RUN = [sys.executable, "-c", "from kseg.cli import run; run()", "predict"]
_TIMED = 64  # images
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Makes images, labels them, prints what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+")
    given = parser.parse_args()
    if given.batches:
        _time_batches(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _make(place / "in", given.images, given.side)
        times = {n: _label(given, place, n) for n in given.at_once}
    first = given.at_once[0]
    for n, (wall, cpu, memory) in times.items():
        mb = ", ".join(f"{m / 1024:.0f}" for m in memory)
        print(
            f"{n} process(es): {wall:.1f} s, {times[first][0] / wall:.2f} times as fast; CPU time "
            f"of the busiest {cpu:.1f} s, {times[first][1] / cpu:.2f} times less; memory of the "
            f"first at each tenth: {mb} MB"
        )
    print("load average:", *(f"{x:.1f}" for x in os.getloadavg()))


def _time_batches(given: argparse.Namespace) -> None:
    """Prints the CPU time of an image for each number of images in a call."""
    from kseg.cli.loading import find_model
    from kseg.inference import predict_together

    model, size = find_model(given.model)[0], (given.side, given.side)
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder) / "in", _TIMED, given.side)
        images = [np.asarray(Image.open(file)) for file in sorted(Path(folder).rglob("*.jpg"))]
    first = np.stack([predict_together(model, [image], size)[0] for image in images])
    for count in given.batches:
        predict_together(model, images[:count], size)  # the first call of its kind is slow
        begun = time.process_time()
        labels: list[np.ndarray] = []
        for start in range(0, _TIMED, count):
            labels += predict_together(model, images[start : start + count], size)
        seconds = (time.process_time() - begun) / _TIMED
        others = np.mean(np.stack(labels) != first)
        print(
            f"{count} in a call: {1000 * seconds:.2f} ms of CPU time an image; "
            f"{others:.2%} of the pixels have another label than in a call of their own"
        )


def _make(folder: Path, count: int, side: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), "uint8")
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:06d}.jpg", quality=90)


def _label(given: argparse.Namespace, place: Path, count: int) -> tuple[float, float, list[int]]:
    """Returns seconds, CPU seconds of the busiest process, and memory in KiB at each tenth."""
    out = place / f"out{count}"
    command = [*_RUN, given.model, str(place / "in"), "--out", str(out), "--save", "labels"]
    begun = time.monotonic()
    children = [
        subprocess.Popen(
            [*command, "--shard", f"{part}/{count}"],
            env={**os.environ, **_ONE_THREAD},
            stdout=subprocess.DEVNULL,
        )
        for part in range(1, count + 1)
    ]
    memory: list[int] = []
    usage = dict.fromkeys((child.pid for child in children), 0.0)
    while any(child.poll() is None for child in children):
        done = len(list(out.glob("*.png"))) if out.exists() else 0
        for child in children:
            usage[child.pid] = max(usage[child.pid], _seconds(child.pid))
        if done >= (len(memory) + 1) * given.images / 10 and (kib := _resident(children[0].pid)):
            memory.append(kib)
        time.sleep(0.2)
    assert len(list(out.glob("*.png"))) == given.images  # noqa: S101
    return time.monotonic() - begun, max(usage.values()), memory


def _seconds(process: int) -> float:
    """Returns the CPU time of a process and of those that it started."""
    total = 0.0
    for number in [process, *_children(process)]:
        try:
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(process: int) -> list[int]:
    try:
        return [
            int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()
        ]
    except OSError:
        return []


def _resident(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


if __name__ == "__main__":
    main()
