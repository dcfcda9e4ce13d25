"""Measures what changes the score on CamVid: one change at a time, from the same start.

    python scripts/ablation.py camvid.yaml --start runs/atrous3 --out runs/ablation

The network is the tiny one of the zoo (0.9 M parameters), the crops are small, and the backbone has
been trained on streets before. So a training takes minutes, and two seeds differ by less than the
effects that are looked for. Trainings that are in the folder are not repeated; `--rows` names those
to run.
"""

import argparse
import math
import re
import statistics
from pathlib import Path
from typing import Any

import keras
from keeping import keep_to
from tabulate import tabulate

import kseg
from kseg.models import copy_weights

_BASE: dict[str, Any] = {
    "epochs": 12,
    "crop": (192, 256),
    "freeze": "c2",
    "logit_adjustment": 0.0,  # as when the table was measured
}
_SEEDS = ("the recipe", "seed 1", "seed 2")  # points are counted from their mean
_ROWS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "no class weights": {"class_weights": None},
    "no Dice": {"dice": 0.0},
    "no averaged weights": {"average": 0.0},
    "backbone at full rate": {"backbone_rate": 1.0},
    "nothing frozen": {"freeze": None},
    "no colour jitter": {"color": 0.0},
    "colour jitter 0.6": {"color": 0.6},
    "frozen to c3": {"freeze": "c3"},
    "no random scale": {"scale": (1.0, 1.0)},
    "scale 0.5..2": {"scale": (0.5, 2.0)},
    "taught by the start, at weight 0.1": {"taught": True, "distillation": 0.1},
    "larger crops, 288 x 384": {"crop": (288, 384)},
    "twice the epochs": {"epochs": 24},
}


def main() -> None:
    """Runs the trainings that are missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument(
        "--start", required=True, help="run folder whose backbone starts every training"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW")
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    keep_to(
        arguments.out / "settings.json",
        arguments.out.exists(),
        data=arguments.data,
        start=arguments.start,
    )
    scores: dict[str, float] = {}
    for name in arguments.rows:
        folder = arguments.out / re.sub(r"\W+", "_", name)
        scores[name] = _train(data, folder, arguments.start, **_ROWS[name])
        print(name, f"{scores[name]:.4f}", flush=True)
    seeds = [scores[name] for name in _SEEDS if name in scores]
    base = statistics.mean(seeds) if seeds else math.nan
    table = [[name, f"{x:.3f}", f"{100 * (x - base):+.1f}"] for name, x in scores.items()]
    headers = ["", "val mIoU", "points"]
    print(tabulate(table, headers, tablefmt="github", disable_numparse=True))


def _train(data, path, start, taught=False, **change) -> float:
    settings = {**_BASE, **change}
    recipe = kseg.Recipe(**settings, validate_every=settings["epochs"])
    keras.utils.set_random_seed(recipe.seed)
    model = kseg.build_atrous_fpn(
        data.classes.num_classes,
        backbone="efficientnet_lite0_cut",
        output_stride=16,
        filters=64,
        weights=None,
    )
    source = kseg.load(start)
    copy_weights(source, model)
    teacher = source if taught else None
    kseg.fit(model, data, recipe, run_dir=path, resume=True, teacher=teacher)
    return kseg.evaluate(model, data).mean_iou


if __name__ == "__main__":
    main()
