"""Guessing how a folder of labelled images is laid out, and writing that down.

One function for each layout, tried in the order of `LAYOUTS`: from a folder to what it found.
"""

from collections.abc import Callable
from pathlib import Path

import yaml

from kseg.data.layouts.found import Folder, Layout
from kseg.data.layouts.known import find_annotations, find_cityscapes, find_voc, find_yolo
from kseg.data.layouts.lists import find_lists
from kseg.data.layouts.pairs import find_pairs

__all__ = ["LAYOUTS", "Layout", "guess_layout", "to_yaml"]

LAYOUTS: tuple[Callable[[Folder], Layout | None], ...] = (
    find_cityscapes,
    find_voc,
    find_yolo,
    find_lists,
    find_pairs,
    find_annotations,
)

_KNOWN = (
    "images and label files with like names, lists of them, Pascal VOC, Cityscapes, CamVid, COCO, "
    "labelme, YOLO segmentation, CVAT for images, Label Studio"
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
            return found
    images = len(folder.images())
    raise ValueError(
        f"{path}: it is a folder of {images} images without labels that are known. kseg knows "
        f"{_KNOWN}; or write a YAML file (docs/your_data.md)."
    )


def to_yaml(layout: Layout, title: str) -> str:
    """Returns the YAML file of a layout, with what was found and assumed as comments.

    Args:
        layout: The layout.
        title: What the first line says the data set is.
    """
    comments = [f"{title}: {layout.title}.", *layout.notes]
    head = "".join(f"# {line}\n" for line in comments)
    order = ("path", "train", "val", "test", "names", "ignore", "merge", "colors")
    body = {key: layout.content[key] for key in order if key in layout.content}
    return head + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, default_flow_style=None)
