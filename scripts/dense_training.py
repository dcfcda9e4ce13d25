"""Trains the tiny atrous FPN with dense first blocks, and scores it on a street never seen.

    python scripts/drives.py camvid.yaml --drives 0006R0 --out runs/drives
    python scripts/dense_training.py camvid.yaml --drive 0006R0 --rows "blocks 0 to 4 plain" \
        --out runs/dense

The networks are those of `scripts/dense_stages.py`. There are no ImageNet weights for the dense
blocks. So they first learn to give the features that Lite0's own blocks give behind the last one
replaced, on the training images and without labels (FitNets, Romero et al., ICLR 2015,
https://arxiv.org/abs/1412.6550). The other blocks start from ImageNet. Then the network is trained
as `scripts/drives.py` trains all, but with nothing frozen.
"""

import argparse
from pathlib import Path

import dense_stages
import drives
import keras
import numpy as np

import kseg
from kseg.models import copy_weights
from kseg.training.images import training_split


def main() -> None:
    """Matches, trains and scores each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--drive", required=True, help="the drive that is left out")
    parser.add_argument(
        "--rows", nargs="+", choices=dense_stages.ROWS, required=True, metavar="ROW"
    )
    parser.add_argument("--steps", type=int, default=600, help="of matching, 8 crops each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = drives.without(kseg.load_data(arguments.data), arguments.drive)
    for name in arguments.rows:
        recipe = drives.recipe(freeze=None, seed=arguments.seed)
        keras.utils.set_random_seed(arguments.seed)
        replaced = dense_stages.ROWS[name]
        model = dense_stages.build(*replaced, tiny=True, weights=None)
        own = dense_stages.build((), (), tiny=True, weights="imagenet")
        copy_weights(own, model)
        if numbers := sum(replaced, ()):
            _match(model, own, max(numbers), data, recipe, arguments.steps)
        kseg.fit(model, data, recipe, run_dir=arguments.out / name.replace(" ", "_"))
        print(f"{name}: {kseg.evaluate(model, data).mean_iou:.4f}", flush=True)


def _match(
    model: keras.Model,
    own: keras.Model,
    last: int,
    data: kseg.Data,
    recipe: kseg.Recipe,
    steps: int,
) -> None:
    """Trains the blocks up to the last one replaced to give the features of the network's own."""
    student, teacher = (
        keras.Model(network.input, network.get_layer(f"block{last}_add").output)
        for network in (model, own)
    )
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    student.compile(keras.optimizers.Adam(rate), "mse")
    split = training_split(data, recipe)
    losses, variances = [], []
    for step in range(steps):
        images, _ = split[step]
        features = teacher.predict_on_batch(images)
        variances.append(np.var(features))
        losses.append(float(student.train_on_batch(images, features)))
    left = np.mean(losses[-50:]) / np.mean(variances[-50:])
    print(f"{left:.3f} of the features' variance is left after {steps} steps", flush=True)


if __name__ == "__main__":
    main()
