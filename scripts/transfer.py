"""Measures what helps on a street never seen: one change at a time, several seeds each.

    python scripts/drives.py camvid.yaml --drives 0006R0 --out runs/drives
    python scripts/transfer.py camvid.yaml --drive 0006R0 --out runs/transfer \
        --start runs/drives/0006R0/atrous_fpn_tiny_camvid \
        --teacher runs/drives/0006R0/atrous_fpn_camvid

Every training goes on for a few epochs from the start, which has not seen the drive either, and is
scored on it. Scores that are in the folder are not measured again. docs/training.md has the rows
that were measured; a change that is no part of kseg is written here.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import drives
import keras
import numpy as np
from keeping import keep_to
from keras import ops
from PIL import Image, ImageFilter
from tabulate import tabulate

import kseg
from kseg.data import check_data
from kseg.data.augmentation import AUGMENTATIONS
from kseg.training.compile import make_loss

_BASE: dict[str, Any] = {
    "epochs": 6,
    "crop": (192, 256),
    "freeze": "c2",
    "color": 0.1,
    "logit_adjustment": 0.0,
}


def _gamma(image, rng):
    """Another light: gamma from 0.67 to 1.5, and red, green and blue up to 15 % apart."""
    exponent, gains = np.exp(rng.uniform(-0.4, 0.4)), np.exp(rng.uniform(-0.15, 0.15, 3))
    levels = 255 * np.linspace(0, 1, 256)[:, None] ** exponent * gains
    tables = np.clip(np.rint(levels), 0, 255).astype("uint8")
    return np.stack([tables[image[..., c], c] for c in range(3)], axis=-1)


def _blur(image, rng):
    """Another camera: blurred by up to 1.2 pixels, with noise of up to 8 levels."""
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
    noise = rng.normal(0, rng.uniform(0, 8), image.shape)
    return np.clip(np.asarray(blurred) + noise, 0, 255).astype("uint8")


def _erased(image, rng):
    """Three rectangles of gray, of up to a third of the height and width; the labels stay."""
    image = image.copy()
    for _ in range(3):
        sides = [int(side * rng.uniform(0.1, 0.33)) for side in image.shape[:2]]
        top, left = (
            int(rng.integers(whole - side + 1))
            for whole, side in zip(image.shape[:2], sides, strict=True)
        )
        image[top : top + sides[0], left : left + sides[1]] = 127
    return image


def _dropout(layer, inputs):
    return keras.layers.SpatialDropout2D(0.2)(inputs) if layer.name == "score_c2" else inputs


def _stochastic_depth(layer, inputs):
    """Leaves out a tenth of the blocks of the backbone, another tenth for each image."""
    if not layer.name.startswith("block") or not isinstance(layer, keras.layers.Add):
        return inputs
    shortcut, path = inputs
    return [shortcut, keras.layers.Dropout(0.1, noise_shape=(None, 1, 1, 1))(path)]


class _Smoothed(keras.losses.Loss):
    """A loss, with a tenth of the cross entropy of classes that are all as likely."""

    def __init__(self, loss: keras.losses.Loss):
        super().__init__(reduction="sum")
        self.loss = loss

    def call(self, y_true, y_pred):
        valid = ops.cast(ops.not_equal(y_true, 255), y_pred.dtype)
        even = -ops.mean(ops.log_softmax(y_pred), axis=-1)
        even = ops.sum(even * valid) / ops.maximum(ops.sum(valid), 1.0)
        return 0.9 * self.loss.call(y_true, y_pred) + 0.1 * even


# Beside settings of the recipe: "vary" an image, "insert" before a layer, "smoothed", "taught",
# "forgetting", how often the running average is renewed within a training.
_ROWS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "logit adjustment 0.5": {"logit_adjustment": 0.5},
    "no colour jitter": {"color": 0.0},
    "gamma and white balance": {"vary": _gamma},
    "blur and noise": {"vary": _blur},
    "rectangles erased": {"vary": _erased},
    "scale 0.5..2": {"scale": (0.5, 2.0)},
    "dropout 0.2 before the logits": {"insert": _dropout},
    "stochastic depth 0.1": {"insert": _stochastic_depth},
    "label smoothing 0.1": {"smoothed": True},
    "weight decay 0.1": {"weight_decay": 0.1},
    "not averaged": {"average": 0.0},
    "averaged over four times as many steps": {"forgetting": 5},
    "warm-up of a quarter": {"warmup": 0.25},
    "taught, temperature 1": {"taught": True, "temperature": 1.0},
    "taught, temperature 2": {"taught": True},
    "taught, temperature 4": {"taught": True, "temperature": 4.0},
    "norms frozen, a tenth of the rate": {"freeze_norms": True, "learning_rate": 2e-4},
    "a tenth of the rate": {"learning_rate": 2e-4},
}


def main() -> None:
    """Runs the trainings that are missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--drive", required=True, help="the drive that is left out")
    parser.add_argument("--start", required=True, help="run folder of a tiny atrous FPN")
    parser.add_argument("--teacher", required=True, help="run folder of the teacher")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW")
    arguments = parser.parse_args()
    data = drives.without(kseg.load_data(arguments.data), arguments.drive)
    settings = vars(arguments)
    keep_to(
        arguments.out / "settings.json",
        any(arguments.out.glob("*.json")),
        **{name: settings[name] for name in ("data", "drive", "start", "teacher")},
    )
    scores: dict[str, list[float]] = {name: [] for name in arguments.rows}
    for seed in arguments.seeds:
        for name, found in scores.items():
            found.append(_score(name, seed, data, arguments))
    base = statistics.mean(scores.get("the recipe") or next(iter(scores.values())))
    table = [
        (
            name,
            ", ".join(f"{score:.3f}" for score in found),
            f"{100 * (statistics.mean(found) - base):+.1f}",
        )
        for name, found in scores.items()
    ]
    heads = ["", f"mIoU on {arguments.drive}", "points"]
    print(tabulate(table, heads, tablefmt="github", disable_numparse=True))


def _score(name: str, seed: int, data: kseg.Data, arguments: argparse.Namespace) -> float:
    path = arguments.out / f"{name.replace(' ', '_')}-{seed}"
    kept = path.with_name(f"{path.name}.json")  # a name may have a point
    if not kept.exists():
        kept.write_text(json.dumps(_train(path, seed, data, arguments, **_ROWS[name])))
        print(kept.stem, kept.read_text(), flush=True)
    return json.loads(kept.read_text())


def _train(
    path: Path,
    seed: int,
    data: kseg.Data,
    arguments: argparse.Namespace,
    vary: Callable = lambda image, rng: image,
    insert: Callable | None = None,
    smoothed: bool = False,
    taught: bool = False,
    forgetting: int = 20,
    **change,
) -> float:
    recipe = kseg.Recipe(**{**_BASE, **change}, validate_every=_BASE["epochs"], seed=seed)
    # How much is averaged changes alone: the momentum of norms, which goes by it, stays.
    steps = recipe.epochs * (len(data.files("train")) // recipe.batch_size)
    recipe = replace(recipe, norm_momentum=recipe.suited(recipe.norm_momentum, steps))
    keras.utils.set_random_seed(seed)
    model = kseg.load(arguments.start)
    loss = make_loss(recipe, check_data(data).pixels["train"])
    if insert is not None:
        model = _with(model, insert)
    color = AUGMENTATIONS["color"]

    def also(image, label_map, amount, rng):
        image, label_map = color(image, label_map, amount, rng)
        return vary(image, rng), label_map

    with (
        mock.patch.dict(AUGMENTATIONS, {"color": also}),
        mock.patch("kseg.training.recipe._FORGETTING", forgetting),
    ):
        kseg.fit(
            model,
            data,
            recipe,
            run_dir=path,
            resume=True,
            teacher=kseg.load(arguments.teacher) if taught else None,
            loss=_Smoothed(loss) if smoothed else None,
        )
    return kseg.evaluate(model, data).mean_iou


def _with(model: keras.Model, insert: Callable) -> keras.Model:
    """Returns a network of the same weights, with layers inserted before some of its layers."""
    changed = keras.models.clone_model(
        model, call_function=lambda layer, inputs, **kept: layer(insert(layer, inputs), **kept)
    )
    for layer in model.layers:
        changed.get_layer(layer.name).set_weights(layer.get_weights())
    for name in ("kseg_spec", "kseg_start", "kseg_endpoints"):
        setattr(changed, name, getattr(model, name))
    return changed


if __name__ == "__main__":
    main()
