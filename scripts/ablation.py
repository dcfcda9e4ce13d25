"""What moves the score on CamVid: one change at a time, from one training.

    python scripts/ablation.py camvid.yaml --start runs/atrous3 --out runs/ablation

The network is the tiny one of the zoo (0.9 M parameters), the crops are small, and the backbone
has learnt the streets already: so a training takes minutes, and two seeds differ by less than what
is looked for. Trainings that are in the folder are not done again; `--rows` takes some of them.
"""

import argparse
import contextlib
import math
import re
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
from keras import ops
from tabulate import tabulate

import kseg
from kseg.data.dataset import Split
from kseg.losses import CrossEntropyDice, SparseCrossEntropy, _labels, balanced_class_weights
from kseg.models import copy_weights

_BASE: dict[str, Any] = {"epochs": 12, "crop": (192, 256), "freeze": "c2"}
_ROWS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "no class weights": {"class_weights": None},
    "steeper class weights": {"loss": "steep"},
    "no Dice": {"dice": 0.0},
    "Lovász in place of Dice, class weights kept": {"loss": "lovasz"},
    "OHEM": {"loss": "ohem"},
    "no averaged weights": {"average": 0.0},
    "backbone at full rate": {"backbone_rate": 1.0},
    "nothing frozen": {"freeze": None},
    "no colour jitter": {"color": 0.0},
    "no random scale": {"scale": (1.0, 1.0)},
    "scale 0.5..2": {"scale": (0.5, 2.0)},
    "rectangles of other photos (CutMix)": {"mix": True},
    "taught by the start, at weight 0.1": {"taught": True, "distillation": 0.1},
    "output stride 32": {"network": {"output_stride": 32}},
    "norms at Keras's momentum": {"norm_momentum": 0.99},
    "larger crops, 288 x 384": {"crop": (288, 384)},
    "twice the epochs": {"epochs": 24},
}


def main() -> None:
    """Trains what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--start", required=True, help="a run whose backbone the trainings take")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW")
    arguments = parser.parse_args()
    data = kseg.load_data(arguments.data)
    scores: dict[str, float] = {}
    for name in arguments.rows:
        folder = arguments.out / re.sub(r"\W+", "_", name)
        scores[name] = _train(data, folder, arguments.start, **_ROWS[name])
        print(name, f"{scores[name]:.4f}", flush=True)
    base = scores.get("the recipe", 0.0)
    table = [[name, f"{x:.3f}", f"{100 * (x - base):+.1f}"] for name, x in scores.items()]
    headers = ["", "val mIoU", "points"]
    print(tabulate(table, headers, tablefmt="github", disable_numparse=True))


def _train(data, path, start, network=None, loss=None, mix=False, taught=False, **change) -> float:
    settings = {**_BASE, **change}
    recipe = kseg.Recipe(**settings, validate_every=settings["epochs"])
    keras.utils.set_random_seed(recipe.seed)
    model = kseg.build_atrous_fpn(
        data.label_map.num_classes,
        backbone="efficientnet_lite0_cut",
        **{"output_stride": 16, "filters": 64, "weights": None, **(network or {})},
    )
    source = kseg.load(start)
    copy_weights(source, model)
    with contextlib.ExitStack() as stack:
        if loss:
            stack.enter_context(mock.patch("kseg.training.compile.make_loss", _LOSSES[loss]))
        if mix:
            stack.enter_context(mock.patch("kseg.data.dataset.Split.__getitem__", _mixed))
        teacher = source if taught else None
        kseg.fit(model, data, recipe, run_dir=path, resume=True, teacher=teacher)
    return kseg.evaluate(model, data).mean_iou


class _Lovasz(SparseCrossEntropy):
    """Cross entropy plus half the Lovász-softmax loss.

    Source: Berman et al., CVPR 2018, https://arxiv.org/abs/1705.08790.
    """

    def call(self, y_true, y_pred):
        labels, valid = _labels(y_true, self.ignore_class)
        classes = y_pred.shape[-1]
        valid = ops.cast(ops.reshape(valid, (1, -1)), "float32")
        truth = ops.transpose(ops.one_hot(ops.reshape(labels, (-1,)), classes)) * valid
        scores = ops.transpose(ops.reshape(ops.softmax(y_pred), (-1, classes)))
        errors = ops.abs(truth - scores) * valid
        order = ops.argsort(-errors, axis=-1)
        truth = ops.take_along_axis(truth, order, axis=-1)
        errors = ops.take_along_axis(errors, order, axis=-1)
        total = ops.sum(truth, axis=-1, keepdims=True)
        hits, misses = ops.cumsum(truth, axis=-1), ops.cumsum(1 - truth, axis=-1)
        jaccard = 1 - (total - hits) / ops.maximum(total + misses, 1)
        steps = ops.concatenate([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], axis=-1)
        losses = ops.sum(errors * ops.stop_gradient(steps), axis=-1)
        present = ops.cast(total[:, 0] > 0, "float32")
        lovasz = ops.sum(losses * present) / ops.maximum(ops.sum(present), 1)
        return super().call(y_true, y_pred) + 0.5 * lovasz


class _Ohem(SparseCrossEntropy):
    """Cross entropy of the pixels whose class has a score under 0.7, or else the worst sixteenth.

    Source: Shrivastava et al., CVPR 2016, https://arxiv.org/abs/1604.03540, as BiSeNet takes it.
    """

    def call(self, y_true, y_pred):
        labels, valid = _labels(y_true, self.ignore_class)
        losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        losses = ops.reshape(losses * ops.cast(valid, losses.dtype), (-1,))
        least = ops.top_k(ops.stop_gradient(losses), 8 * 192 * 256 // 16)[0][-1]
        hard = ops.cast(losses >= ops.minimum(least, -math.log(0.7)), losses.dtype)
        return ops.sum(losses * hard) / ops.maximum(ops.sum(hard), 1)


def _steep(recipe, pixels):
    return CrossEntropyDice(balanced_class_weights(pixels, offset=1.01), recipe.dice)


_LOSSES = {"lovasz": lambda recipe, pixels: _Lovasz(balanced_class_weights(pixels)), "ohem": lambda *_: _Ohem(), "steep": _steep}


def _mixed(split, index, plain=Split.__getitem__):
    """A batch in which half the photos have a rectangle of the next one.

    Source: Yun et al., ICCV 2019, https://arxiv.org/abs/1905.04899; French et al., BMVC 2020.
    """
    images, label_maps = (np.copy(part) for part in plain(split, index))
    rng = np.random.default_rng((split.seed or 0, index, 1000))
    height, width = label_maps.shape[1:]
    others = np.roll(images, 1, 0), np.roll(label_maps, 1, 0)
    for slot in np.flatnonzero(rng.random(len(images)) < 0.5):
        top, left = rng.integers(height // 2), rng.integers(width // 2)
        area = slot, slice(top, top + height // 2), slice(left, left + width // 2)
        images[area], label_maps[area] = others[0][area], others[1][area]
    return images, label_maps


if __name__ == "__main__":
    main()
