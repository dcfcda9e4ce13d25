"""Scores trained networks with their logits adjusted by several amounts, without training.

    python scripts/adjusting.py camvid.yaml runs/tiny runs/atrous5
    python scripts/adjusting.py camvid.yaml runs/drives/0006R0/atrous_fpn_camvid --drive 0006R0

An amount X takes X times the logarithm of its class weight from each class's logit, as trainings
with `logit_adjustment=X` learn to do. The runs must be of trainings with `logit_adjustment=0`.
With --drive, scores are those on a drive of the training images that the runs have not seen.
"""

import argparse
from pathlib import Path

import drives
import numpy as np
from tabulate import tabulate

import kseg
from kseg.data import check_data
from kseg.losses import balanced_class_weights
from kseg.metrics import ConfusionMatrix

_AMOUNTS = (-0.25, 0, 0.25, 0.5, 0.75, 1)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--drive", help="the drive that the runs have not seen")
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    if arguments.drive:
        data = drives.without(data, arguments.drive)
    weights = np.array(balanced_class_weights(check_data(data).pixels["train"]))
    rows = []
    for run in arguments.runs:
        model, found = kseg.load(run), {x: ConfusionMatrix(len(weights)) for x in _AMOUNTS}
        for pair in data.files("val"):
            image, labels = data.read(pair)
            (logits,) = np.asarray(model(image[None].astype("float32"), training=False))
            for amount, confusion in found.items():
                confusion.update(labels, (logits - amount * np.log(weights)).argmax(-1))
        scores = [confusion.scores(data.classes.names).mean_iou for confusion in found.values()]
        rows.append([run.name, *(f"{score:.4f}" for score in scores)])
    print(tabulate(rows, ["run", *map(str, _AMOUNTS)], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
