"""Images and label files that match by their names: in two folders or one, flat or nested."""

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from PIL import Image

from kseg.data.layouts.found import SPLITS, Folder, Layout
from kseg.data.layouts.names import classes_of, known_names, look_at

_LABEL = (
    "annot|annotation|annotations|annots|label|labels|mask|masks|gt|groundtruth|truth|seg|segs|"
    "segmentation|segmentations|segmentationclass|target|targets|labelids|labeltrainids|trainids"
)
_IMAGE = (
    "image|images|img|imgs|jpegimages|input|inputs|rgb|original|raw|photos|pictures|leftimg8bit"
)
_LABEL_FOLDER = re.compile(rf"(^|.*[_\- .])({_LABEL})([_\- .].*|$)|.*(annot|mask|label)s?$", re.I)
_LABEL_END = re.compile(rf"[_\-. ]({_LABEL}|L|P)$", re.I)
_LABEL_START = re.compile(rf"^({_LABEL})[_\-. ]", re.I)
_IMAGE_END = re.compile(rf"[_\-. ]({_IMAGE})$", re.I)
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
    return Layout("images and label files", content | names, (*notes, *said, *more))


def pairs_in(folder: Folder) -> list[tuple[Path, Path]]:
    """Returns the images of a folder that have label files of like names, with these."""
    return _match(folder, *_sides(folder))


def entries(folder: Folder, pairs: list[tuple[Path, Path]]) -> tuple[dict[str, Any], list[str]]:
    """Returns the splits of pairs as the YAML file has them, and what is to be said of them."""
    by_split: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
    for image, label in pairs:
        by_split[folder.split_of(image) or folder.split_of(label) or "train"].append((image, label))
    notes = []
    if "train" not in by_split:  # a set of test images alone is trained on
        by_split["train"] = by_split.pop(next(iter(by_split)))
    content: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        if split in by_split:
            content[split] = _entry(folder, by_split[split])
    if "val" not in content:
        content["val"] = _FRACTION
        notes.append("There is no folder of validation images: a fifth of the others is taken.")
    return content, notes


def _entry(folder: Folder, pairs: list[tuple[Path, Path]]) -> dict[str, Any] | list[list[str]]:
    """Returns {images, labels, label_suffix} where that says it, or else a list of pairs."""
    roots = [_common([side[i] for side in pairs]) for i in (0, 1)]
    suffixes = {
        (_difference(image.stem, label.stem), _difference(label.stem, image.stem))
        for image, label in pairs
    }
    inside = [
        [p.relative_to(r).parent for p in side]
        for side, r in zip(zip(*pairs, strict=True), roots, strict=True)
    ]
    matched = {(i, i.relative_to(roots[0]).parent) for i, _ in pairs}
    if len(suffixes) == 1 and inside[0] == inside[1] and len(matched) == len(pairs):
        image_suffix, label_suffix = suffixes.pop()
        entry: dict[str, Any] = {
            key: folder.relative(root) if root != folder.path else "."
            for key, root in zip(("images", "labels"), roots, strict=True)
        }
        if image_suffix:
            entry["image_suffix"] = image_suffix
        if label_suffix:
            entry["label_suffix"] = label_suffix
        return entry
    return [[folder.relative(image), folder.relative(label)] for image, label in pairs]


def _difference(one: str, other: str) -> str:
    """Returns what a stem has after what it shares with another."""
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    return one[shared:]


def _common(files: list[Path]) -> Path:
    """Returns the deepest folder that holds all files."""
    parents = [file.parent.parts for file in files]
    depth = min(map(len, parents))
    while any(p[:depth] != parents[0][:depth] for p in parents):
        depth -= 1
    return Path(*parents[0][:depth])


def _sides(folder: Folder) -> tuple[list[Path], list[Path]]:
    """Tells images from label files, by their names, or else by what is in them."""
    files = folder.images()
    labels = [file for file in files if _is_label(folder, file)]
    if not labels:
        labels = _by_content(files)
    taken = set(labels)
    return [file for file in files if file not in taken], labels


def _is_label(folder: Folder, file: Path) -> bool:
    parts = file.relative_to(folder.path).parts[:-1]
    named = any(_LABEL_FOLDER.match(part) and part.lower() not in SPLITS for part in parts)
    return named or bool(_LABEL_END.search(file.stem) or _LABEL_START.match(file.stem))


def _by_content(files: list[Path]) -> list[Path]:
    """Returns the files of the one of two folders whose files hold few values in one channel."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        folders[file.parent].append(file)
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

    Where one stem comes several times, the folders that are neither a side nor a split tell them
    apart.
    """
    keys = [Counter(_key(folder, f, nested=False) for f in side) for side in (images, labels)]
    nested = any(count > 1 for side in keys for count in side.values())
    by_key = {_key(folder, label, nested=nested): label for label in labels}
    found = [(image, by_key.get(_key(folder, image, nested=nested))) for image in images]
    return [(image, label) for image, label in found if label is not None]


def _key(folder: Folder, file: Path, *, nested: bool) -> tuple[str, ...]:
    stem = _IMAGE_END.sub("", _LABEL_START.sub("", _LABEL_END.sub("", file.stem)))
    # Such as x_gtFine_labelIds: the word before goes too.
    stem = _IMAGE_END.sub("", re.sub(r"_gt(Fine|Coarse)$", "", stem))
    if not nested:
        return (stem,)
    parts = file.relative_to(folder.path).parts[:-1]
    plain = [p for p in parts if not _LABEL_FOLDER.match(p) and not _IMAGE_FOLDER.match(p)]
    split = folder.split_of(file) or ""
    return (split, *(p for p in plain if p.lower() not in SPLITS), stem)


_IMAGE_FOLDER = re.compile(rf"^({_IMAGE})$", re.I)
