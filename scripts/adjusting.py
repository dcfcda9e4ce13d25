"""Scores trained networks with adjusted logits and at several sizes, without training.

    python scripts/adjusting.py camvid.yaml runs/tiny runs/atrous5
    python scripts/adjusting.py camvid.yaml runs/atrous5 --amounts 0.5 --sizes 360x480 480x640
    python scripts/adjusting.py camvid.yaml runs/drives/0006R0/atrous_fpn_camvid --drive 0006R0

An amount X takes X times the logarithm of its class weight from each class's logit, as trainings
with `logit_adjustment=X` learn to do. The runs must be of trainings with `logit_adjustment=0`.
With --drive, scores are those on a drive of the training images that the runs have not seen.
"""

import argparse
from itertools import product
from pathlib import Path

import drives
from publish import adjust, check_run, log_weights
from tabulate import tabulate

import kseg


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--drive", help="the drive that the runs have not seen")
    amounts = [-0.25, 0.0, 0.25, 0.5, 0.75, 1.0]
    parser.add_argument("--amounts", nargs="+", type=float, default=amounts, metavar="X")
    parser.add_argument("--sizes", nargs="+", default=["own"], metavar="HxW")
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    if arguments.drive:
        data = drives.without(data, arguments.drive)
    for run in arguments.runs:
        check_run(run, data, adjust=True, scored=True)
    logs = log_weights(data)
    rows = []
    for run, size in product(arguments.runs, arguments.sizes):
        row = [run.name, size]
        for amount in arguments.amounts:
            model = kseg.load(run)
            adjust(model, amount * logs)
            sides = None if size == "own" else tuple(map(int, size.split("x")))
            row.append(f"{kseg.evaluate(model, data, size=sides).mean_iou:.4f}")
        rows.append(row)
    headers = ["run", "size", *map(str, arguments.amounts)]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
