"""The images and labels that an entry of the YAML file stands for: `train`, `val` or `test`."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kseg.data.folders import Entry, Folders
from kseg.data.formats import FORMATS, kind_of
from kseg.data.formats.drawing import BACKGROUND
from kseg.data.layouts.found import Folder
from kseg.data.layouts.pairs import pairs_in
from kseg.data.lists import Pair, is_pair, listed_pairs
from kseg.data.matching import (
    Side,
    chosen,
    keyed,
    lines_of,
    masks_beside,
    matched_pairs,
    speaks_of,
)
from kseg.data.subsets import subsets_of

_SHAPES = (".json", ".xml")


def pairs_of(
    roots: Sequence[Path],
    name: str,
    entry: Entry,
    classes: Sequence[str],
    *,
    instances: bool = False,
) -> tuple[Pair, ...]:
    """Returns the pairs of a split from all folders that have it.

    Args:
        roots: The folders of `path`.
        name: The split.
        entry: What the YAML file says of it.
        classes: The names of the classes in the order of their ids.
        instances: Whether objects are told apart.

    Raises:
        ValueError: If no folder has it, or what it names is missing or does not fit together.
    """
    parts: list[Any] = entry if isinstance(entry, list) else []
    if parts and not isinstance(parts[0], tuple):
        each = [pairs_of(roots, name, part, classes, instances=instances) for part in parts]
        return _joined([pair for pairs in each for pair in pairs])
    found: list[Pair] = []
    having = [root for root in roots if has(root, entry)]
    for root in having or roots[:1]:
        if isinstance(entry, Folders):
            found += _of_folders(root, entry, classes)
        elif isinstance(entry, list):
            found += [_listed(*(root / part for part in pair)) for pair in parts]
        elif not having:
            raise ValueError(f"{name} names the list {root / entry}, which does not exist.")
        else:
            found += _of_file(root, entry, classes, instances)
    if not found:
        raise ValueError(f"the split {name!r} is empty.")
    return tuple(found)


def has(root: Path, entry: Entry) -> bool:
    """Returns whether a folder has what an entry names."""
    if isinstance(entry, Folders):
        other = entry.labels or entry.annotations or entry.instances
        return (root / entry.images).is_dir() or (root / other).exists()
    if isinstance(entry, list):
        parts = (part[0] if isinstance(part, tuple) else part for part in entry)
        return any(has(root, part) for part in parts)
    return (root / entry).exists()


def _of_folders(root: Path, entry: Folders, classes: Sequence[str]) -> list[Pair]:
    images = root / entry.images
    if entry.annotations:
        drawn = _drawn(root / entry.annotations, images, entry.format, classes, entry.subset)
        if not entry.list:
            return drawn
        keys = (pair.image.relative_to(images).with_suffix("").as_posix() for pair in drawn)
        return chosen(root / entry.list, dict(zip(keys, drawn, strict=True)))
    side = Side(images, entry.image_prefix, entry.image_suffix)
    ids = root / entry.instances, entry.instance_prefix, entry.instance_suffix
    labels = (root / entry.labels, entry.label_prefix, entry.label_suffix) if entry.labels else ids
    pairs = matched_pairs(side, masks_beside(side, Side(*labels)))
    if entry.labels and entry.instances:
        told = matched_pairs(side, masks_beside(side, Side(*ids)))
        if alone := pairs.keys() - told.keys():
            raise ValueError(
                f"{len(alone)} images have labels in {labels[0]} and nothing in {ids[0]} that "
                f"tells their objects apart, such as {min(alone)}; add it, or drop the images."
            )
        pairs = {k: pair._replace(instance_file=told[k].label_file) for k, pair in pairs.items()}
    return chosen(root / entry.list, pairs) if entry.list else list(pairs.values())


def _listed(image: Path, label: Path, instance_file: Path | None = None) -> Pair:
    return Pair(image, label, None, instance_file)


def _of_file(root: Path, entry: str, classes: Sequence[str], instances: bool) -> list[Pair]:
    """Returns the pairs of a list, of a file of shapes, or of a folder of images and labels."""
    path = root / entry
    if path.suffix.lower() in _SHAPES:
        return _drawn(path, path.parent, "", classes)
    if path.is_dir():
        pairs = pairs_in(Folder.scan(path))
        if not pairs:
            raise ValueError(
                f"{path}: it is a folder without images that have label files of like names; write "
                "{images: folder, labels: folder}, or {images: folder, annotations: file}."
            )
        return [Pair(image, label) for image, label in pairs]
    try:
        return listed_pairs(root, path, instances=instances)
    except ValueError:
        by_key = keyed(root, pairs_in(Folder.scan(root)))
        if any(is_pair(line) for _, line in lines_of(path)) or not speaks_of(path, by_key):
            raise
    return chosen(path, by_key)


def _joined(pairs: list[Pair]) -> tuple[Pair, ...]:
    """Returns pairs of several sources; an image that several files of shapes name has them all."""
    found: dict[Path, Pair] = {}
    for pair in pairs:
        known = found.setdefault(pair.image, pair)
        if known is pair:
            continue
        if known.drawing is None or pair.drawing is None:
            raise ValueError(
                f"{pair.image} is labelled twice, by {known.label_file} and {pair.label_file}; "
                "name one of them."
            )
        both = replace(pair.drawing, shapes=known.drawing.shapes + pair.drawing.shapes)
        found[pair.image] = pair._replace(drawing=both)
    return tuple(found.values())


def _drawn(
    path: Path, images: Path, kind: str, classes: Sequence[str], subset: str = ""
) -> list[Pair]:
    """Returns the images that have shapes, with these; those of one split if it is named."""
    if not images.is_dir():
        raise ValueError(f"the folder {images} does not exist.")
    names = tuple(name for name in classes if name != BACKGROUND)
    read = FORMATS[kind or kind_of(path)](path, images, names)
    if read.missing:
        listed = ", ".join(read.missing[:5]) + (" ..." if len(read.missing) > 5 else "")
        count = "1 image" if len(read.missing) == 1 else f"{len(read.missing)} images"
        warnings.warn(
            f"{count} that {path} labels {'is' if len(read.missing) == 1 else 'are'} not in "
            f"{images} and {'is' if len(read.missing) == 1 else 'are'} left out: {listed}.",
            stacklevel=5,
        )
    splits = subsets_of(read, images, path) if subset else {}
    return [
        Pair(image, drawing.source, drawing)
        for image, drawing in read.drawings.items()
        if not subset or splits.get(image, "train") == subset
    ]
