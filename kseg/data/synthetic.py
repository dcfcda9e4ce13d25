"""A made-up data set: textured shapes on cluttered backgrounds.

Colour and texture say nothing about the class, only the outline does; so a network must look at
shapes, and an untrained one scores near zero.
"""

import math
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw

from kseg.classes import Classes

SHAPES = Classes(
    names=("background", "disc", "square", "triangle", "star"),
    colors=((60, 60, 60), (230, 80, 60), (70, 140, 240), (250, 200, 60), (90, 200, 110)),
)


def write_shapes(
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
    content: dict = {"names": list(SHAPES.names), "colors": [list(c) for c in SHAPES.colors]}
    for split, count in (("train", train), ("val", val)):
        images, labels = folder / split / "images", folder / split / "labels"
        for made in (images, labels):
            made.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, label_map = draw_shapes(rng, size)
            image.save(images / f"{index:03d}.png")
            label_map.save(labels / f"{index:03d}.png")
        content[split] = {"images": f"{split}/images", "labels": f"{split}/labels"}
    path = folder / "shapes.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def draw_shapes(rng: np.random.Generator, size: int) -> tuple[Image.Image, Image.Image]:
    """Draws one image and its label map.

    Args:
        rng: Where chance comes from.
        size: Height and width in pixels.

    Returns:
        The image, RGB, and the label map, a palette picture.
    """
    image = _texture(rng, size)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(8, 16)):  # clutter: lines of any colour
        ends = rng.uniform(-0.2 * size, 1.2 * size, 4).tolist()
        color = tuple(rng.integers(0, 256, 3).tolist())
        draw.line(ends, fill=color, width=int(rng.integers(1, 4)))
    label_map = Image.new("P", (size, size))
    label_map.putpalette(SHAPES.palette())
    for _ in range(rng.integers(2, 5)):
        label = int(rng.integers(1, len(SHAPES.names)))
        mask = Image.new("L", (4 * size, 4 * size))  # drawn large, so that edges are smooth
        outline = _outline(rng, SHAPES.names[label], size)
        ImageDraw.Draw(mask).polygon([(4 * x, 4 * y) for x, y in outline], fill=255)
        mask = mask.resize((size, size), Image.Resampling.BOX)
        image.paste(_texture(rng, size), mask=mask)
        label_map.paste(label, mask=mask.point([0] * 128 + [255] * 128))
    noisy = np.asarray(image) + rng.normal(0, 6, (size, size, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype("uint8")), label_map


def _outline(rng, name, size):
    radius = rng.uniform(0.12, 0.26) * size
    x, y = rng.uniform(0.1 * size, 0.9 * size, 2)
    turn = rng.uniform(0, 2 * math.pi)
    corners, inner = {"disc": (48, 1), "square": (4, 1), "triangle": (3, 1), "star": (5, 0.4)}[name]
    radii = [radius] if inner == 1 else [radius, inner * radius]
    count = corners * len(radii)
    angles = [turn + 2 * math.pi * index / count for index in range(count)]
    return [
        (x + radii[i % len(radii)] * math.cos(a), y + radii[i % len(radii)] * math.sin(a))
        for i, a in enumerate(angles)
    ]


def _texture(rng, size):
    """Returns two random colours mixed by stripes, checks or smooth noise."""
    kind = rng.integers(3)
    if kind == 2:
        coarse = rng.random((6, 6)).astype("float32")
        pattern = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    else:
        rows, columns = np.mgrid[:size, :size] / size
        angle, waves = rng.uniform(0, math.pi), rng.uniform(4, 14)
        along = math.cos(angle) * rows + math.sin(angle) * columns
        across = math.cos(angle) * columns - math.sin(angle) * rows
        pattern = np.sin(2 * math.pi * waves * along)
        if kind == 1:
            pattern = pattern * np.sin(2 * math.pi * waves * across)
        pattern = (pattern + 1) / 2
    first, second = rng.integers(0, 256, (2, 3))
    mixed = first + pattern[..., None] * (second - first)
    return Image.fromarray(np.clip(mixed, 0, 255).astype("uint8"))
