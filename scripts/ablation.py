"""What moves the score on CamVid: one change at a time, from one short training.

    python scripts/ablation.py camvid.yaml --out runs/ablation

The network is the tiny one of the zoo (0.9 M parameters), from ImageNet, so that a row takes
minutes. Rows that are in the folder already are not trained again. docs/training.md has the table.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import keras
from tabulate import tabulate

import kseg
from kseg.training.run import open_run

_BASE: dict[str, Any] = {"crop": (288, 384), "freeze": "c2"}
_ROWS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "another seed": {"seed": 1},
    "no class weights": {"class_weights": None},
    "no Dice": {"dice": 0.0},
    "neither": {"class_weights": None, "dice": 0.0},
    "no colour jitter": {"color": 0.0},
    "scale 0.5..2": {"scale": (0.5, 2.0)},
    "no random scale": {"scale": (1.0, 1.0)},
    "no averaged weights": {"average": 0.0},
    "backbone at full rate": {"backbone_rate": 1.0},
    "nothing frozen": {"freeze": None},
    "larger crops, 352 x 480, 6 at a time": {"crop": (352, 480), "batch_size": 6},
    "taught by `atrous_fpn_camvid`": {"teacher": "atrous_fpn_camvid"},
}


def main() -> None:
    """Trains what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    scores: dict[str, float] = {}
    for number, (name, change) in enumerate(_ROWS.items()):
        done = arguments.out / f"{number}.json"
        if not done.exists():
            score = _train(data, arguments.out / str(number), arguments.epochs, **change)
            done.write_text(json.dumps({"row": name, "mean_iou": score}))
        scores[name] = json.loads(done.read_text())["mean_iou"]
        print(name, f"{scores[name]:.4f}", flush=True)
    base = scores["the recipe"]
    rows = [[name, f"{x:.3f}", f"{100 * (x - base):+.1f}"] for name, x in scores.items()]
    headers = ["", "val mIoU", "points"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _train(data: kseg.Data, path: Path, epochs: int, teacher: str | None = None, **change) -> float:
    recipe = kseg.Recipe(**{"epochs": epochs, "validate_every": epochs, **_BASE, **change})
    keras.utils.set_random_seed(recipe.seed)
    model = kseg.build_atrous_fpn(
        data.label_map.num_classes, backbone="efficientnet_lite0_cut", output_stride=16, filters=64
    )
    kseg.fit(model, data, recipe, run_dir=path, resume=True, teacher=teacher and kseg.load(teacher))
    return kseg.evaluate(kseg.load(open_run(path)), data).mean_iou


if __name__ == "__main__":
    main()
