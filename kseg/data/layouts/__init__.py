"""Guessing how a folder of labelled images is laid out, and writing that down.

One function for each layout, tried in the order of `LAYOUTS`: from a folder to what it found.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kseg.data.dataset import Data
from kseg.data.layouts.annotation_files import find_annotations
from kseg.data.layouts.found import Folder, Layout, common_folder
from kseg.data.layouts.known import find_cityscapes, find_voc
from kseg.data.layouts.list_files import find_lists, unread_lists
from kseg.data.layouts.mask_folders import find_mask_folders
from kseg.data.layouts.pairs import PAIRS, find_pairs, pairs_in
from kseg.data.layouts.yolo_files import find_yolo, unread_places

__all__ = ["LAYOUTS", "Layout", "guess_layout", "to_yaml"]

LAYOUTS: tuple[Callable[[Folder], Layout | None], ...] = (
    find_cityscapes,
    find_voc,
    find_yolo,
    find_lists,
    find_mask_folders,
    find_pairs,
    find_annotations,
)

_KNOWN = (
    "images and label files with like names, lists of them, folders of masks, Pascal VOC, "
    "Cityscapes, CamVid, COCO, labelme, YOLO segmentation, CVAT for images, Label Studio"
)


def guess_layout(path: str | Path) -> Layout:
    """Looks at a folder and says how it is laid out.

    Args:
        path: The folder.

    Returns:
        The first layout of `LAYOUTS` that fits.

    Raises:
        ValueError: If none fits, or a file that would be read is damaged.
    """
    folder = Folder.scan(Path(path))
    for find in LAYOUTS:
        found = find(folder)
        if found is not None:
            unread = () if find is find_yolo else unread_places(folder)
            more = (*unread, *unread_lists(folder, found.content), *_besides(folder, found))
            return replace(found, notes=(*found.notes, *more))
    images = len(folder.images())
    raise ValueError(
        f"{path}: it is a folder of {images} images without labels that are known. kseg knows "
        f"{_KNOWN}; or write a YAML file (docs/your_data.md)."
        + "".join(f" {said}" for said in unread_places(folder))
    )


def _besides(folder: Folder, taken: Layout) -> list[str]:
    """Says which other labels there are."""
    shapes = "annotations" in str(taken.content["train"])
    for find in (find_pairs,) if shapes else (find_yolo, find_annotations):
        try:
            found = find(folder)
        except ValueError:
            continue
        if found is not None:
            return [
                f"There are labels of another source too, {found.title}; these are not read. "
                f"They would be `train: {found.content['train']}`."[:500]
            ]
    return []


def other_sources(data: Data) -> Iterator[tuple[str, str]]:
    """Yields what else in the folders of a data set looks like labels, and what to do.

    Args:
        data: The data set.
    """
    pairs = [pair for split in data.pairs.values() for pair in split]
    drawn = any(pair.drawing is not None for pair in pairs)
    top = common_folder([file for pair in pairs for file in (pair.image, pair.label_file)])
    base = data.source if data.source.is_dir() else data.source.parent
    folder = Folder.scan(base if top.is_relative_to(base) else top)
    used = {pair.label_file.absolute() for pair in pairs}
    images = {pair.image.absolute() for pair in pairs}
    for find in (find_pairs,) if drawn else (find_yolo, find_annotations):
        try:
            found = find(folder)
        except ValueError:
            continue
        if found is not None and _labels_of(found, folder, images) - used:
            yield (
                f"labels of two sources are there: those that are read, and {found.title}",
                "make sure that the right ones are read; move the others away, or name them in "
                f"the YAML file ({found.content['train']})",
            )


def _labels_of(layout: Layout, folder: Folder, images: set[Path]) -> set[Path]:
    """Returns the files from which a layout would read labels of some images."""
    if layout.title == PAIRS:
        return {label.absolute() for image, label in pairs_in(folder) if image.absolute() in images}
    places = [
        folder.path / entry["annotations"]
        for value in layout.content.values()
        for entry in (value if isinstance(value, list) else [value])
        if isinstance(entry, dict) and "annotations" in entry
    ]
    return {place.absolute() for place in places}


def to_yaml(layout: Layout, title: str) -> str:
    """Returns the YAML file of a layout, with what was found and assumed as comments.

    Args:
        layout: The layout.
        title: What the first line says the data set is.
    """
    comments = [f"{title}: {layout.title}.", *layout.notes]
    head = "".join(f"# {' '.join(line.split())}\n" for line in comments)
    order = ("path", "train", "val", "test", "names", "ignore", "merge", "colors", "instances")
    body = {key: layout.content[key] for key in order if key in layout.content}
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 100}
    return head + yaml.dump(body, Dumper=_Plain, default_flow_style=None, **options)


class _Plain(yaml.SafeDumper):
    """Writes out what comes twice: aliases are refused when the file is read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
