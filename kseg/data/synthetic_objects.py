"""A made-up data set for telling objects apart: discs and squares in groups that touch.

The objects of a group are of one class and nearly one colour, so that only their outlines tell
them apart; the label map shows a group as one area.
"""

import math
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw

from kseg.classes import Classes

GROUPS = Classes(
    names=("ground", "disc", "square"), colors=((60, 60, 60), (230, 80, 60), (70, 140, 240))
)
_THINGS = ("disc", "square")
_FINE = 4  # times as large as drawn, so that edges are smooth


def write_groups(
    folder: str | Path, *, train: int = 160, val: int = 24, size: int = 160, seed: int = 0
) -> Path:
    """Writes a data set with its YAML file.

    Args:
        folder: Where to; it is made.
        train: Images to train on.
        val: Images to score on.
        size: Height and width in pixels.
        seed: Of everything; equal seeds make equal files.

    Returns:
        The YAML file, for `kseg.load_data`.
    """
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    content: dict = {"names": list(GROUPS.names), "colors": [list(c) for c in GROUPS.colors]}
    content["instances"] = list(_THINGS)
    for split, count in (("train", train), ("val", val)):
        content[split] = {kind: f"{split}/{kind}" for kind in ("images", "labels", "instances")}
        for path in content[split].values():
            (folder / path).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            drawn = zip(content[split].values(), draw_groups(rng, size), strict=True)
            for path, picture in drawn:
                Image.fromarray(picture).save(folder / path / f"{index:03d}.png")
    path = folder / "groups.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def draw_groups(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws one image, its label map and its ids.

    Args:
        rng: Where chance comes from.
        size: Height and width in pixels.

    Returns:
        The image, uint8 (size, size, 3), the label map, uint8 (size, size), and the ids of the
        objects, uint16 (size, size), 0 for none.
    """
    image = np.full((size, size, 3), rng.integers(20, 110, 3), float)
    label_map, ids = np.zeros((size, size), "uint8"), np.zeros((size, size), "uint16")
    number = 0
    for _ in range(rng.integers(3, 6)):
        class_id, color = int(rng.integers(1, 3)), rng.integers(130, 240, 3)
        radius = rng.uniform(0.07, 0.12) * size
        x, y = rng.uniform(0.1 * size, 0.9 * size, 2)
        for _ in range(rng.integers(1, 4)):
            mask = _mask(rng, class_id, (x, y), radius, size)
            free = (mask > 0.5) & (ids == 0)
            if free.sum() > 0.8 * (mask > 0.5).sum() > 0:  # hardly over another one
                number += 1
                share = (mask * (ids == 0))[..., None]
                image = (1 - share) * image + share * (color + rng.uniform(-12, 12))
                label_map[free], ids[free] = class_id, number
            angle = rng.uniform(0, 2 * math.pi)
            step = radius * (1.95 if class_id == 1 else 1.7)  # to where the next one touches it
            x, y = x + step * math.cos(angle), y + step * math.sin(angle)
    image += rng.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype("uint8"), label_map, ids


def _mask(rng, class_id, center, radius, size):
    """Returns how much of each pixel a disc or a turned square covers, 0..1."""
    corners = {1: 32, 2: 4}[class_id]
    turn = rng.uniform(0, 2 * math.pi)
    reach = radius if class_id == 1 else 1.2 * radius
    angles = [turn + 2 * math.pi * index / corners for index in range(corners)]
    outline = [
        (_FINE * (center[0] + reach * math.cos(a)), _FINE * (center[1] + reach * math.sin(a)))
        for a in angles
    ]
    fine = Image.new("L", (_FINE * size, _FINE * size))
    ImageDraw.Draw(fine).polygon(outline, fill=255)
    return np.asarray(fine.resize((size, size), Image.Resampling.BOX)) / 255
