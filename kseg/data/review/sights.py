"""What is to be known of one image with its labels, taken down in one reading."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from kseg.data.dataset import Data, matching_turn
from kseg.data.duplicates import looks
from kseg.data.files import decode_image, turn
from kseg.data.label_files import count, read_ids, to_classes, unlisted
from kseg.data.lists import Pair
from kseg.data.opening import FORMATS
from kseg.data.review.borders import outlines
from kseg.data.review.details import Details, details_of
from kseg.data.review.things import Objects, objects_of

_NO_DETAILS = Details(
    np.zeros((7, 4), "uint64"),
    np.zeros((64, 64), "uint8"),
    0,
    False,
    0.0,
    0.0,
    0.0,
    {},
    (),
)
_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")


@dataclass(frozen=True)
class Sight:
    """One image with its labels.

    Attributes:
        pair: The files.
        problem: Why they cannot be used; None where they can, and then all that follows is set.
        ids: The ids that occur; set too where some of them have no class.
        counts: The pixels of each.
        by: How the ids were read (`LabelIds.by`).
        remarks: What was left out or guessed of the image.
        content: sha256 of the image's pixels.
        labels: sha256 of the ids.
        look: The perceptual hash, uint64 (4,).
        size: (height, width) as it is shown.
        gray: Whether the file stores one channel.
        tag: The EXIF orientation of the image.
        brightest: The largest number of the image, 0..255.
        darkest: The smallest.
        palette: Id to colour of the label file's palette, for the ids that occur.
        edges: As `outlines` returns them.
        borders: As `outlines` returns them.
        objects: What is to be known of its objects; None where they are not told apart.
        details: What tells it from others.
    """

    pair: Pair
    problem: str | None = None
    ids: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    by: str = ""
    remarks: tuple[str, ...] = ()
    content: bytes = b""
    labels: bytes = b""
    look: np.ndarray | None = None
    size: tuple[int, int] = (0, 0)
    gray: bool = False
    tag: int = 1
    brightest: int = 255
    darkest: int = 0
    palette: tuple[tuple[int, tuple[int, int, int]], ...] = ()
    edges: np.ndarray | None = None
    borders: np.ndarray | None = None
    objects: Objects | None = None
    details: Details = field(default_factory=lambda: _NO_DETAILS)


def see(data: Data, pair: Pair) -> Sight:
    """Reads an image and its labels once."""
    try:
        image = decode_image(pair.image, data.channels, data.bits)
        labels = data.ids(pair)
        label_turn = matching_turn(pair, image, labels)
    except (ValueError, OSError) as error:
        return Sight(pair, _explained(data, pair, str(error)))
    counts = count(labels.ids)
    ids = tuple(np.flatnonzero(counts).tolist())
    pixels_of = tuple(counts[list(ids)].tolist())
    if missing := unlisted(counts, data.lookup):
        problem = _explained(data, pair, f"{pair.label_file}: {missing}.")
        return Sight(pair, problem, ids, pixels_of, labels.by)
    try:
        objects = objects_of(*data.tell_apart(pair, image, labels)) if data.things else None
    except ValueError as error:
        return Sight(pair, str(error), ids, pixels_of, labels.by)
    pixels = turn(image.pixels, image.tag)
    classes = turn(to_classes(pair.label_file, labels.ids, data.lookup), label_turn)
    edges, borders = outlines(pixels, classes)
    return Sight(
        pair,
        None,
        ids,
        pixels_of,
        labels.by,
        image.remarks,
        hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest(),
        hashlib.sha256(repr(classes.shape).encode() + classes.tobytes()).digest(),
        looks(Image.fromarray(pixels[..., 0] if data.channels != 3 else pixels)),
        pixels.shape[:2],
        _mode(pair.image) in _GRAY_MODES,
        image.tag,
        int(pixels.max()),
        int(pixels.min()),
        _palette(pair, ids),
        edges,
        borders,
        objects,
        details_of(pair, pixels, classes),
    )


def _explained(data: Data, pair: Pair, problem: str) -> str:
    """Adds to a problem what is likely behind it."""
    for file in (pair.image, pair.label_file):
        if not file.exists() and file.parent.is_dir():
            same = [f.name for f in file.parent.iterdir() if f.name.lower() == file.name.lower()]
            if same:
                return f"{file}: there is no such file; there is {same[0]}, so write it like that."
            return f"{file}: there is no such file; add it, or take its line out of the list."
    if pair.drawing is not None:
        return problem
    try:
        swapped = read_ids(pair.image, data.color_ids).ids
        decode_image(pair.label_file, data.channels, data.bits)
    except (ValueError, OSError):
        return problem
    if unlisted(count(swapped), data.lookup) is None and str(pair.label_file) in problem:
        return (
            f"{pair.label_file}: it is no label file, but {pair.image} is: image and label "
            "file are swapped; write the image first."
        )
    return problem


def _mode(path: Path) -> str:
    with Image.open(path, formats=FORMATS) as image:
        return image.mode


def _palette(pair: Pair, ids: tuple[int, ...]) -> tuple[tuple[int, tuple[int, int, int]], ...]:
    if pair.drawing is not None or pair.label_file.is_dir():
        return ()
    with Image.open(pair.label_file, formats=FORMATS) as image:
        flat = (image.getpalette("RGB") or []) if image.mode == "P" else []
    used = [index for index in ids if 3 * index + 2 < len(flat)]
    return tuple((i, (flat[3 * i], flat[3 * i + 1], flat[3 * i + 2])) for i in used)
