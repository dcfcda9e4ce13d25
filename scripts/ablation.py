"""What moves the score on CamVid: one change at a time, from one training.

    python scripts/ablation.py camvid.yaml --out runs/ablation

The network is the tiny one of the zoo (0.9 M parameters), from ImageNet. Trainings that are in the
folder are not done again, so the table can grow a few rows at a time (`--rows`). With a quarter of
the epochs it would say nothing: two seeds differ by 5 points (docs/training.md).
"""

import argparse
import re
from pathlib import Path
from typing import Any

import keras
from tabulate import tabulate

import kseg

_BASE: dict[str, Any] = {"crop": (288, 384), "freeze": "c2"}
# The first rows tell most.
_ROWS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "another seed": {"seed": 1},
    "nothing frozen": {"freeze": None},
    "no class weights": {"class_weights": None},
    "no Dice": {"dice": 0.0},
    "no averaged weights": {"average": 0.0},
    "backbone at full rate": {"backbone_rate": 1.0},
    "no colour jitter": {"color": 0.0},
    "scale 0.5..2": {"scale": (0.5, 2.0)},
    "neither class weights nor Dice": {"class_weights": None, "dice": 0.0},
    "no random scale": {"scale": (1.0, 1.0)},
    "larger crops, 352 x 480, 6 at a time": {"crop": (352, 480), "batch_size": 6},
}


def main() -> None:
    """Trains what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=len(_ROWS), help="only the first so many")
    parser.add_argument("--teacher", help="a run that has not seen the val photos, for a last row")
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    scores: dict[str, float] = {}
    rows = dict(list(_ROWS.items())[: arguments.rows])
    if arguments.teacher:
        rows["taught by a larger network"] = {"teacher": arguments.teacher}
    for name, change in rows.items():
        folder = arguments.out / re.sub(r"\W+", "_", name)
        scores[name] = _train(data, folder, arguments.epochs, **change)
        print(name, f"{scores[name]:.4f}", flush=True)
    base = scores["the recipe"]
    table = [[name, f"{x:.3f}", f"{100 * (x - base):+.1f}"] for name, x in scores.items()]
    headers = ["", "val mIoU", "points"]
    print(tabulate(table, headers, tablefmt="github", disable_numparse=True))


def _train(data: kseg.Data, path: Path, epochs: int, teacher: str | None = None, **change) -> float:
    recipe = kseg.Recipe(**{"epochs": epochs, "validate_every": epochs, **_BASE, **change})
    keras.utils.set_random_seed(recipe.seed)
    model = kseg.build_atrous_fpn(
        data.label_map.num_classes, backbone="efficientnet_lite0_cut", output_stride=16, filters=64
    )
    kseg.fit(model, data, recipe, run_dir=path, resume=True, teacher=teacher and kseg.load(teacher))
    return kseg.evaluate(model, data).mean_iou


if __name__ == "__main__":
    main()
