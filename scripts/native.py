"""Measures `--native`: what tiles cost beside the model's own calls, in time and in labels.

    python scripts/native.py atrous_fpn_tiny_camvid camvid.yaml --side 10000

The image is a mosaic of validation images. Times are of the process's work on all processors, so
that other programs do little harm. Seams are counted on a part that is also labelled whole.
"""

import argparse
import resource
import time

import numpy as np

import kseg

WHOLE = 1536  # rows and columns that are labelled whole


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--side", type=int, default=10_000, help="rows and columns of the image")
    arguments = parser.parse_args()
    model, data = kseg.load(arguments.model), kseg.load_data(arguments.data)
    image = _image(data, arguments.side)
    within, call = [], model.predict_on_batch

    def timed(images):
        start = time.process_time()
        found = call(images)
        within.append(time.process_time() - start)
        return found

    model.predict_on_batch = timed
    kseg.predict(model, image[:WHOLE, :WHOLE], native=True)  # builds what is built once
    within.clear()
    start = time.process_time()
    kseg.predict(model, image, native=True)
    spent = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(within)} tiles: {spent:.0f} s, of which the model {sum(within):.0f} s")
    print(f"overhead {100 * (spent / sum(within) - 1):.1f} %, largest memory {memory:.2f} GB")
    part = image[:WHOLE, :WHOLE]
    tiled = kseg.predict(model, part, native=True)
    whole = kseg.predict(model, part, size=(WHOLE, WHOLE))
    print(f"labels that tiles change: {100 * np.mean(tiled != whole):.2f} %")


def _image(data: kseg.Data, side: int) -> np.ndarray:
    """Returns a mosaic of nine validation images, repeated, uint8 (side, side, 3)."""
    images = [data.read(pair)[0] for pair in data.files("val")[:9]]
    mosaic = np.concatenate([np.concatenate(images[i : i + 3], 1) for i in (0, 3, 6)])
    height, width = mosaic.shape[:2]
    return np.tile(mosaic, (-(-side // height), -(-side // width), 1))[:side, :side]


if __name__ == "__main__":
    main()
