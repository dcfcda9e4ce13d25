"""Measures whether images with rare classes, and the places of these, should be seen more often.

    python scripts/rare.py --seeds 3 --steps 250

It draws two data sets. In "shapes" crops show whole images, of which few hold a triangle and fewer
a star. In "surfaces" images are nine times as large as the crops, and an eighth of them have a
pit, which is small, and dark as other spots are. A tiny network is trained on each in four ways.
"""

import argparse
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import keras
import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFilter

import kseg
from kseg.data import check_data
from kseg.data.synthetic import SHAPES, draw_shapes
from kseg.training.compile import make_loss

_CROP = 64
_TRIANGLE, _STAR = 3, 4
_SURFACES = ("surface", "stain", "pit")
# How much more often images with rare classes are seen, and how many crops are put around a class.
_WAYS = {
    "as they are": (0.0, 0.0),
    "images repeated": (0.5, 0.0),
    "crops around classes": (0.0, 1.0),
    "both": (0.5, 1.0),
}
_USUAL = 0.25  # share of images; a class in fewer is rare
_Drawn = Iterator[tuple[str, Image.Image, Image.Image]]  # split, image, label map


def main() -> None:
    """Trains each way with each seed and prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--data", nargs="+", default=["surfaces", "shapes"])
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=[*_WAYS])
    parser.add_argument("--logit-adjustment", type=float, default=0.5)
    options = parser.parse_args()
    kinds = {"surfaces": (_SURFACES, draw_surfaces), "shapes": (SHAPES.names, draw_unbalanced)}
    kinds = {kind: kinds[kind] for kind in options.data}
    scores = defaultdict(list)
    with tempfile.TemporaryDirectory() as made:
        sets = {kind: kseg.load_data(write(Path(made, kind), *of)) for kind, of in kinds.items()}
        pixels = {kind: check_data(data).pixels["train"] for kind, data in sets.items()}
        for seed in range(options.seeds):
            for kind, way in product(sets, options.ways):
                run_dir = Path(made, f"{kind} {way} {seed}")
                found = train(sets[kind], way, seed, options, run_dir, pixels[kind])
                scores[kind, way].append(found)
                print(kind, way, seed, np.round(found, 3), flush=True)
    for kind, (names, _) in kinds.items():
        print(f"\n| {kind} | mean IoU | {' | '.join(names)} |\n|{'---|' * (2 + len(names))}")
        for way in options.ways:
            mean = np.mean(scores[kind, way], axis=0)
            each = ", ".join(f"{score[0]:.3f}" for score in scores[kind, way])
            rest = " | ".join(f"{score:.3f}" for score in mean[1:])
            print(f"| {way} | {mean[0]:.3f} ({each}) | {rest} |")


def train(data, way, seed, options, run_dir, pixels) -> list[float]:
    """Returns mean IoU and the IoU of each class of one training."""
    power, focus = _WAYS[way]
    seen = repeated(data, power, seed)
    epochs = max(1, round(options.steps / -(-len(seen.files("train")) // 8)))
    recipe = kseg.Recipe(
        epochs=epochs, batch_size=8, crop=(_CROP, _CROP), seed=seed, freeze="c2",
        focus=focus, validate_every=epochs, logit_adjustment=options.logit_adjustment,
    )  # fmt: skip
    keras.utils.set_random_seed(seed)
    model = kseg.build_atrous_fpn(
        data.classes.num_classes, backbone="efficientnet_lite0_cut", output_stride=16, filters=64
    )
    kseg.fit(model, seen, recipe, run_dir=run_dir, loss=make_loss(recipe, pixels))
    scores = kseg.evaluate(model, data)
    return [scores.mean_iou, *scores.iou_per_class.values()]


def write(folder: Path, names: tuple[str, ...], drawn: Callable[[np.random.Generator], _Drawn]):
    """Writes a data set; returns its YAML file."""
    content: dict = {"names": list(names)}
    for split in ("train", "val"):
        content[split] = {"images": f"{split}/images", "labels": f"{split}/labels"}
        for made in content[split].values():
            (folder / made).mkdir(parents=True)
    for index, (split, image, labels) in enumerate(drawn(np.random.default_rng(0))):
        image.save(folder / split / "images" / f"{index}.png")
        labels.save(folder / split / "labels" / f"{index}.png")
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def draw_unbalanced(rng: np.random.Generator) -> _Drawn:
    """Draws 80 images, of which 12 hold a triangle and 4 a star, and 40 that hold all alike."""
    none, neither = set(), {_STAR, _TRIANGLE}
    wanted = [(neither, none)] * 64 + [({_STAR}, {_TRIANGLE})] * 12 + [(none, {_STAR})] * 4
    for split, kinds in (("train", wanted), ("val", [(none, none)] * 40)):
        for without, having in kinds:
            held = set(without) or None
            while held is None or held & without or not having <= held:
                image, labels = draw_shapes(rng, _CROP)
                held = set(np.unique(labels))
            yield split, image, labels


def draw_surfaces(rng: np.random.Generator) -> _Drawn:
    """Draws 96 images of which 12 have a pit, and 32 of which half have one."""
    for split, count, every in (("train", 96, 8), ("val", 32, 2)):
        for index in range(count):
            yield split, *_surface(rng, 3 * _CROP, pit=index % every == 0)


def _surface(rng, side, *, pit):
    grain = np.repeat(rng.normal(0, 1, (side, 1)), side, 1) * 6 + rng.normal(0, 5, (side, side))
    image = Image.fromarray((rng.uniform(110, 160) + grain).clip(0, 255).astype("uint8"))
    labels = Image.new("L", (side, side))
    for _ in range(rng.integers(1, 3)):
        corners = _corners(rng, side, rng.uniform(20, 40), 9, 0.7)
        _paint(image, corners, rng.uniform(0.8, 0.9), 3)
        ImageDraw.Draw(labels).polygon(corners, fill=1)
    for _ in range(rng.integers(3, 7)):  # dark spots that are no pits
        _paint(image, _corners(rng, side, rng.uniform(5, 9), 24, 1.0), rng.uniform(0.4, 0.7), 0.7)
    if pit:
        corners = _corners(rng, side, rng.uniform(7, 11), 10, 0.45)
        _paint(image, corners, rng.uniform(0.4, 0.7), 0.7)
        ImageDraw.Draw(labels).polygon(corners, fill=2)
    return image.convert("RGB"), labels


def _corners(rng, side, radius, count, inner):
    x, y = rng.uniform(12, side - 12, 2)
    turn = rng.uniform(0, 2 * math.pi)
    radii = [radius, inner * radius] * count
    angles = [turn + 2 * math.pi * i / count for i in range(count)]
    return [(x + radii[i] * math.cos(a), y + radii[i] * math.sin(a)) for i, a in enumerate(angles)]


def _paint(image, corners, darker, blur):
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    dark = image.point([int(darker * value) for value in range(256)])
    image.paste(dark, mask=mask.filter(ImageFilter.GaussianBlur(blur)))


def repeated(data: kseg.Data, power: float, seed: int) -> kseg.Data:
    """Returns the data with images repeated by the rarest class that they hold.

    An image whose rarest class is in a share f of the images is there (usual / f) ** power times
    (Gupta et al., LVIS, 2019, take the root).
    """
    pairs = data.files("train")
    held = [np.unique(data.ids(pair).ids) for pair in pairs]
    count = np.bincount(np.concatenate(held), minlength=data.classes.num_classes)
    often = np.maximum(1, _USUAL * len(pairs) / np.maximum(1, count)) ** power
    rng = np.random.default_rng(seed)
    times = [int(often[classes].max() + rng.random()) for classes in held]
    more = [pair for pair, n in zip(pairs, times, strict=True) for _ in range(n)]
    return replace(data, pairs={**data.pairs, "train": tuple(more)})


if __name__ == "__main__":
    main()
