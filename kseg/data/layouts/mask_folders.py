"""A folder with one mask file for each object: beside its image, or named like it."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from kseg.data.label_files import count, read_ids
from kseg.data.layouts.found import Folder, Layout, trained

_FEWEST = 2
_LOOKED_AT = 5
_FRACTION = 0.2


def find_mask_folders(folder: Folder) -> Layout | None:
    """Finds images each of which has a folder of masks.

    It is named masks and lies beside the folder of the one image, as in the Data Science Bowl of
    2018, or it has the name of its image.

    Args:
        folder: The folder.

    Returns:
        The layout; None if there are fewer than two such folders.
    """
    pairs = _pairs(folder)
    if len(pairs) < _FEWEST or not all(map(_is_mask, [p[1] for p in pairs][:_LOOKED_AT])):
        return None
    by_split: dict[str, list[list[str]]] = defaultdict(list)
    for image, masks in pairs:
        split = folder.split_of(image) or folder.split_of(masks / "0") or "train"
        by_split[split].append([folder.relative(image), f"{folder.relative(masks)}/"])
    said = trained(folder, by_split)
    content: dict[str, Any] = {s: by_split[s] for s in ("train", "val", "test") if s in by_split}
    content.setdefault("val", _FRACTION)
    content |= {"names": {0: "background", "1-65535": "object"}, "instances": ["object"]}
    notes = (
        f"{len(pairs)} images, each with a folder of masks: every mask is an object, and all are "
        "of one class, 'object'.",
        *said,
    )
    return Layout("a folder of masks for each image", content, notes)


def _pairs(folder: Folder) -> list[tuple[Path, Path]]:
    """Returns images with their folders of masks."""
    by_place: dict[Path, list[Path]] = defaultdict(list)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in folder.images():
        by_place[image.parent].append(image)
        by_stem[image.stem].append(image)
    pairs = []
    for place in by_place:
        found = [image for image in by_stem.get(place.name, []) if image.parent != place]
        if place.name.lower() in ("masks", "mask"):
            found = found or by_place.get(place.parent / "images", [])
        if len(found) == 1:
            pairs.append((found[0], place))
    return pairs


def _is_mask(place: Path) -> bool:
    """Returns whether the first file of a folder has two values, one of which is 0."""
    try:
        files = (file for file in place.iterdir() if file.is_file())
        first = min(file for file in files if not file.name.startswith("."))
        counts = count(read_ids(first, {}).ids)
    except ValueError:
        return False
    return counts[0] > 0 and (counts > 0).sum() <= 2
