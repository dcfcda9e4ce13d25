"""Images and label files that match by their names: in two folders or one, flat or nested."""

import re
import warnings
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from PIL import Image

from kseg.data.layouts.found import (
    SPLITS,
    Folder,
    Layout,
    common_folder,
    some_names_have_splits,
    splits_of_names,
    trained,
)
from kseg.data.layouts.name_files import known_names
from kseg.data.layouts.names import classes_of, look_at
from kseg.data.matching import Side, matched_pairs

_LABEL = (
    "annot|annotation|annotations|annots|label|labels|mask|masks|gt|groundtruth|truth|seg|segs|"
    "segmentation|segmentations|segmentationclass|target|targets|labelids|labeltrainids|trainids|"
    "instance|instances"
)
_IMAGE = (
    "image|images|img|imgs|jpegimages|input|inputs|rgb|original|raw|photos|pictures|leftimg8bit"
)
_LABEL_FOLDER = re.compile(rf"(^|.*[_\- .])({_LABEL})([_\- .].*|$)|.*(annot|mask|label)s?$", re.I)
_LABEL_END = re.compile(rf"[_\-. ]({_LABEL}|L|P)$", re.I)
_LABEL_START = re.compile(rf"^({_LABEL})[_\-. ]", re.I)
_LABEL_ALONE = re.compile(rf"^({_LABEL})$", re.I)  # 1/image.png and 1/mask.png
_IMAGE_END = re.compile(rf"[_\-. ]({_IMAGE})$", re.I)
_IMAGE_START = re.compile(rf"^({_IMAGE})[_\-. ]", re.I)
PAIRS = "images and label files"
_FEWEST_PAIRS = 2
_FRACTION = 0.2


def find_pairs(folder: Folder) -> Layout | None:
    """Finds images with label files of like names.

    Args:
        folder: The folder.

    Returns:
        The layout; None if fewer than two images have a label file.
    """
    images, labels = _sides(folder)
    pairs = _match(folder, images, labels)
    if len(pairs) < _FEWEST_PAIRS:
        return None
    notes = [f"{len(pairs)} images with label files, matched by their names."]
    alone = len(images) - len(pairs)
    if alone:
        notes.append(f"{alone} images have no label file and are left out.")
    spare = len(labels) - len(pairs)
    if spare:
        notes.append(f"{spare} label files have no image and are left out.")
    content, said = entries(folder, pairs)
    names, more = classes_of(look_at([label for _, label in pairs]), known_names(folder))
    return Layout(PAIRS, content | names, (*notes, *said, *more))


def pairs_in(folder: Folder) -> list[tuple[Path, Path]]:
    """Returns the images of a folder that have label files of like names, with these."""
    return _match(folder, *_sides(folder))


def entries(folder: Folder, pairs: list[tuple[Path, Path]]) -> tuple[dict[str, Any], list[str]]:
    """Returns the splits of pairs as the YAML file has them, and what is to be said of them."""
    by_split: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
    notes = []
    for image, label in pairs:
        by_split[folder.split_of(image) or folder.split_of(label) or "train"].append((image, label))
    named = splits_of_names([image for image, _ in pairs])
    if len(by_split) == 1 and named:
        by_split.clear()
        for split, pair in zip(named, pairs, strict=True):
            by_split[split].append(pair)
        notes.append("The names of the images begin with their splits.")
    elif len(by_split) == 1:
        notes += some_names_have_splits([image for image, _ in pairs])
    notes += trained(folder, by_split)
    content: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        if split in by_split:
            content[split] = entry_of(folder, by_split[split])
    if "val" not in content:
        content["val"] = _FRACTION
        notes.append("There is no folder of validation images: a fifth of the others is taken.")
    return content, notes


def entry_of(folder: Folder, pairs: list[tuple[Path, Path]]) -> dict[str, Any] | list[list[str]]:
    """Returns {images, labels, ...} where that stands for just these pairs, or else a list."""
    (image, label), sides = pairs[0], list(zip(*pairs, strict=True))
    roots = [common_folder(side) for side in sides]
    starts, ends = _beyond(image.stem, label.stem)
    found = [Side(*side) for side in zip(roots, starts, ends, strict=True)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matched = {(pair.image, pair.label_file) for pair in matched_pairs(*found).values()}
    except ValueError:
        matched = set()
    if matched != set(pairs) or _LABEL_ALONE.match(label.stem):
        return [[folder.relative(image), folder.relative(label)] for image, label in pairs]
    entry = {"images": folder.relative(roots[0]), "labels": folder.relative(roots[1])}
    keys = ("image_prefix", "label_prefix", "image_suffix", "label_suffix")
    words = zip(keys, (*starts, *ends), strict=True)
    return entry | {key: word for key, word in words if word}


def _beyond(image: str, label: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Returns the prefixes and the suffixes that two stems have beyond what they share."""
    match = SequenceMatcher(None, image, label, autojunk=False).find_longest_match()
    starts = image[: match.a], label[: match.b]
    return starts, (image[match.a + match.size :], label[match.b + match.size :])


def _sides(folder: Folder) -> tuple[list[Path], list[Path]]:
    """Tells images from label files, by their names, or else by what is in them."""
    files = folder.images()
    around = _around_both(folder, files)
    labels = [file for file in files if _is_label(folder, file, around)]
    if not labels:
        labels = _by_content(files)
    taken = set(labels)
    return [file for file in files if file not in taken], labels


def _around_both(folder: Folder, files: list[Path]) -> set[Path]:
    """Returns folders around those of images and of labels, whose own names tell no side.

    Such is Kvasir-SEG with its images and masks.
    """
    both: dict[Path, set[bool]] = defaultdict(set)
    parents = {file.parent for file in files}
    places = {place for parent in parents for place in (parent, *parent.parents)}
    for place in places - {folder.path, *folder.path.parents}:
        if _names_labels(place.name) or _IMAGE_FOLDER.match(place.name):
            for outer in place.parents:
                both[outer].add(_names_labels(place.name))
    return {place for place, sides in both.items() if len(sides) == 2}


def _names_labels(name: str) -> bool:
    return bool(_LABEL_FOLDER.match(name)) and name.lower() not in SPLITS


def _is_label(folder: Folder, file: Path, around: set[Path]) -> bool:
    places = [place for place in file.parents if place.is_relative_to(folder.path)]
    places = [place for place in places if place != folder.path and place not in around]
    named = any(_names_labels(place.name) for place in places)
    return named or any(word.search(file.stem) for word in (_LABEL_END, _LABEL_START, _LABEL_ALONE))


def _by_content(files: list[Path]) -> list[Path]:
    """Returns the files of the one of two folders, or endings, that hold few values."""
    folders: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        folders[file.parent, file.suffix.lower()].append(file)
    likely = []
    for entries_ in folders.values():
        few = [_holds_ids(file) for file in entries_[:5]]
        if all(few):
            likely.extend(entries_)
    return likely if 0 < len(likely) < len(files) else []


def _holds_ids(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            image.load()
            colors = image.convert("RGB").getcolors(maxcolors=64)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return colors is not None and file.suffix.lower() not in (".jpg", ".jpeg")


def _match(folder: Folder, images: list[Path], labels: list[Path]) -> list[tuple[Path, Path]]:
    """Pairs files by stem, without the words that say which side a file is of.

    Where one stem comes several times, or images and label files lie in the same folders, sides
    aside, these folders and the splits have to be the same too.
    """
    keys = [Counter(_key(folder, f, nested=False) for f in side) for side in (images, labels)]
    places = [{_key(folder, f, nested=True)[:-1] for f in side} for side in (images, labels)]
    nested = places[0] == places[1] or any(count > 1 for side in keys for count in side.values())
    by_key: dict[tuple[str, ...], Path] = {}
    for label in labels:
        other = by_key.setdefault(_key(folder, label, nested=nested), label)
        if other != label:
            raise ValueError(
                f"{folder.path}: {folder.relative(other)} and {folder.relative(label)} could both "
                "be the label file of one image; move one of the two kinds away, or write a YAML "
                "file (docs/your_data.md)."
            )
    owners: dict[Path, Path] = {}
    for image in images:
        found = by_key.get(_key(folder, image, nested=nested))
        if found is not None and owners.setdefault(found, image) != image:
            raise ValueError(
                f"{folder.path}: {folder.relative(owners[found])} and {folder.relative(image)} "
                f"could both be the image of {folder.relative(found)}; move one of the two kinds "
                "away, or write a YAML file (docs/your_data.md)."
            )
    return [(image, label) for label, image in owners.items()]


def _key(folder: Folder, file: Path, *, nested: bool) -> tuple[str, ...]:
    stem = file.stem
    for word in (_LABEL_END, _LABEL_START, _IMAGE_END, _IMAGE_START):
        stem = word.sub("", stem) or stem
    # Such as x_gtFine_labelIds: the word before goes too.
    stem = _IMAGE_END.sub("", re.sub(r"_gt(Fine|Coarse)$", "", stem))
    if not nested:
        return (stem,)
    if _LABEL_ALONE.match(stem) or _IMAGE_FOLDER.match(stem):
        stem = ""
    parts = file.relative_to(folder.path).parts[:-1]
    plain = [p for p in parts if not _LABEL_FOLDER.match(p) and not _IMAGE_FOLDER.match(p)]
    split = folder.split_of(file) or ""
    return (split, *(p for p in plain if p.lower() not in SPLITS), stem)


_IMAGE_FOLDER = re.compile(rf"^({_IMAGE})$", re.I)
