"""What the verbs do. `export`, and TensorFlow with it, is imported only by those that need it."""

import json
import sys
from argparse import Namespace
from dataclasses import fields
from typing import Any

import keras
import numpy as np
from PIL import Image
from tabulate import tabulate

import kseg
from kseg.backbones import BACKBONES
from kseg.classes import Classes
from kseg.cli.deploy import benchmark, export
from kseg.cli.describe import describe, print_costs
from kseg.cli.opening import (
    network_arguments,
    open_model,
    pair,
    settings,
    warn_if_names_differ,
    warn_if_val_was_seen,
)
from kseg.cli.web import web
from kseg.data.files import read_image
from kseg.metrics import Scores
from kseg.models import MODELS, TRAINED, build, copy_weights


def train(arguments: Namespace) -> None:
    """Trains a network into a run folder."""
    data = kseg.load_data(arguments.data)
    source = None
    if arguments.weights not in (None, "imagenet", "none"):
        source = kseg.load(arguments.weights)
    like: dict[str, Any] = {}
    if arguments.model is None:
        spec: Any = source.kseg_spec if source else {"builder": "fcn8s", "arguments": {}}
        arguments.model, like = spec["builder"], spec["arguments"]
    network = like | network_arguments(arguments, data.classes.num_classes)
    start = arguments.weights or network["weights"] or "none"
    recipe = _recipe(arguments, start)
    keras.utils.set_random_seed(arguments.seed)
    for name in filter(None, (arguments.weights, arguments.teacher)):
        if not recipe.with_val:
            warn_if_val_was_seen(name, data)
    network["weights"] = "imagenet" if start == "imagenet" else None
    model = build(arguments.model, network)
    if source:
        copied = copy_weights(source, model)
        print(f"{copied} of {len(model.weights)} weights taken over", file=sys.stderr)
    run = kseg.fit(
        model,
        data,
        recipe,
        run_dir=arguments.out,
        resume=arguments.resume,
        teacher=arguments.teacher and kseg.load(arguments.teacher),
    )
    if not recipe.with_val:
        _print_scores(kseg.evaluate(model, data, size=recipe.size))
    print(
        f"best weights are in {run.path}; next: kseg export {run.path} --data {arguments.data} "
        f"--out {run.path.name}.tflite"
    )


def _recipe(arguments: Namespace, start: str) -> kseg.Recipe:
    """Returns the recipe of `kseg train`; start is where the weights come from."""
    own = {
        field.name: getattr(arguments, field.name)
        for field in fields(kseg.Recipe)
        if hasattr(arguments, field.name)
    }
    other = settings(arguments.recipe)
    names = [field.name for field in fields(kseg.Recipe) if field.name not in own]
    for name in other.keys() - set(names):
        flag = f"; that has a flag, --{name.replace('_', '-')}" if name in own else ""
        raise ValueError(f"--recipe takes {', '.join(names)}; got {name!r}{flag}.")
    own |= {"size": pair(arguments.size), "crop": pair(arguments.crop)}
    rate = 1.0 if start == "none" else kseg.Recipe.backbone_rate
    return kseg.Recipe(**{"backbone_rate": rate, **own, **other})


def evaluate(arguments: Namespace) -> None:
    """Scores a model on a split."""
    data = kseg.load_data(arguments.data)
    model, classes, size = open_model(arguments.model)
    warn_if_names_differ(arguments.model, classes, data)
    if arguments.split == "val":
        warn_if_val_was_seen(arguments.model, data)
    scores = kseg.evaluate(
        model,
        data,
        split=arguments.split,
        size=pair(arguments.size) or size,
        pad_to=pair(arguments.pad_to),
        crop_to=pair(arguments.crop_to),
        progress=True,
    )
    if arguments.json:
        print(json.dumps(scores.to_json()))
    else:
        _print_scores(scores)


def predict(arguments: Namespace) -> None:
    """Writes a label map and an overlay for each image."""
    stems = [path.stem for path in arguments.images]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise ValueError(
            f"Images are written under their names without ending, and {sorted(twice)[0]!r} comes "
            "twice; predict them one after the other into different folders."
        )
    for path in arguments.images:  # a bad image is found before the model is loaded
        read_image(path)
    model, classes, size = open_model(arguments.model, arguments.delegate)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path, stem in zip(arguments.images, stems, strict=True):
        image = np.asarray(read_image(path))
        labels = kseg.predict(model, image, size=pair(arguments.size) or size)
        picture = Image.fromarray(labels, mode="P")
        picture.putpalette(classes.palette())
        target, laid_over = (
            arguments.out / f"{stem}.{end}" for end in ("labels.png", "overlay.png")
        )
        picture.save(target)
        Image.fromarray(kseg.overlay(image, labels, classes)).save(laid_over)
        print(f"{path}: {_shares(labels, classes)} -> {target}, {laid_over}")


def models(arguments: Namespace) -> None:
    """Lists networks, backbones and trained models."""
    if arguments.costs:
        print_costs(arguments)
        return
    trained = {
        name: {
            "network": record.builder,
            "data": record.data,
            "mean_iou": record.mean_iou,
            "size": list(record.size),
            "licence": record.licence,
        }
        for name, record in TRAINED.items()
    }
    if arguments.json:
        listing = {"networks": list(MODELS), "backbones": list(BACKBONES), "trained": trained}
        print(json.dumps(listing))
        return
    print(f"networks:  {', '.join(MODELS)}\nbackbones: {', '.join(BACKBONES)}")
    rows = [[name, *facts.values()] for name, facts in trained.items()]
    if rows:
        print(tabulate(rows, ["trained", "network", "data", "val mIoU", "size", "licence"]))


def demo(arguments: Namespace) -> None:
    """Goes the whole way on generated images."""
    from kseg.demo import run_demo

    run_demo(arguments.out)


def _shares(labels: np.ndarray, classes: Classes) -> str:
    shares = np.bincount(labels.ravel(), minlength=classes.num_classes) / labels.size
    top = np.argsort(-shares)[:3]
    return ", ".join(f"{classes.names[i]} {100 * shares[i]:.0f} %" for i in top if shares[i])


def _print_scores(scores: Scores) -> None:
    rows = [
        [name, "n/a" if iou is None else f"{iou:.4f}"] for name, iou in scores.iou_per_class.items()
    ]
    rows += [["mean IoU", f"{scores.mean_iou:.4f}"]]
    rows += [["pixel accuracy", f"{scores.pixel_accuracy:.4f}"]]
    print(tabulate(rows, ["class", f"IoU ({scores.images} images)"], disable_numparse=True))


__all__ = [
    "benchmark",
    "demo",
    "describe",
    "evaluate",
    "export",
    "models",
    "predict",
    "train",
    "web",
]
