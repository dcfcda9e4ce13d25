"""Times how training images are varied, beside albumentations doing the same.

    pip install albumentations
    python scripts/augmenting.py camvid.yaml

Both scale by 0.7 to 1.6, crop, mirror and change colours. Images are in memory already. Times are
of one thread's work on the processor, in turns, the median of the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import albumentations
import cv2
import numpy as np

import kseg
from kseg.data.augmentation import Augmentation, augment


def main() -> None:
    """Measures and prints both times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--crop", type=int, nargs=2, default=(352, 480), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    data = kseg.load_data(arguments.data)
    pairs = [data.read(pair) for pair in data.files("train")[: arguments.images]]
    crop, rng = tuple(arguments.crop), np.random.default_rng(0)
    other = albumentations.Compose(
        [
            albumentations.RandomScale((-0.3, 0.6), p=1),
            albumentations.PadIfNeeded(*crop, fill=127, fill_mask=255),
            albumentations.RandomCrop(*crop),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (0, 0), p=1),
        ]
    )
    ways: dict[str, Callable] = {
        "kseg": lambda image, labels: augment(image, labels, Augmentation(crop), None, rng),
        "albumentations": lambda image, labels: other(image=image, mask=labels),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.thread_time()
            for image, labels in pairs:
                way(image, labels)
            times[name].append(1000 * (time.thread_time() - start) / len(pairs))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, milliseconds in medians.items():
        print(f"{name:16} {milliseconds:5.2f} ms an image")
    print(f"albumentations / kseg: {medians['albumentations'] / medians['kseg']:.2f}")


if __name__ == "__main__":
    main()
