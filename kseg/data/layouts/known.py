"""Layouts of label files that have a name: Pascal VOC, Cityscapes."""

import re
import warnings
from pathlib import Path
from typing import Any

from kseg.data.layouts.found import Folder, Layout
from kseg.data.layouts.list_files import NO_LIST, left_over, lists_in, one_of_each
from kseg.data.layouts.name_files import known_names
from kseg.data.layouts.names import classes_of, look_at
from kseg.data.matching import Side, matched_pairs, speaks_of

VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()
# Id of labelIds to the name of the training class; all other ids are ignored.
# Source: cityscapesScripts, helpers/labels.py.
CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}


def find_voc(folder: Folder) -> Layout | None:
    """Finds Pascal VOC: JPEGImages, SegmentationClass and ImageSets."""
    labels = [f for f in folder.images() if f.parent.name == "SegmentationClass"]
    if not labels:
        return None
    root = labels[0].parent.parent
    if any(file.parent.parent != root for file in labels):
        return None  # a folder for each split, which are found by their names
    images, lists = root / "JPEGImages", root / "ImageSets" / "Segmentation"
    if not images.is_dir():
        return None
    where = {"images": folder.relative(images), "labels": folder.relative(labels[0].parent)}
    content, notes = _voc_splits(folder, where, [f for f in lists_in(folder) if f.parent == lists])
    ids, known = look_at(labels), known_names(folder)
    names, said = classes_of(ids, known)
    top = max((v for v in ids.counts if v != 255 and isinstance(v, int)), default=len(VOC))
    if known is None and not ids.is_color and top < len(VOC) and _is_of_voc(labels, top):
        names = {"names": VOC, "ignore": 255}
        said = ["No file of names: the 21 classes of Pascal VOC are assumed."]
    return Layout("Pascal VOC", content | names, (*notes, *said))


def _voc_splits(
    folder: Folder, where: dict[str, str], lists: list[Path]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the splits of Pascal VOC by its lists, and what is to be said of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said when they are loaded
        sides = (Side(folder.path / where[key]) for key in ("images", "labels"))
        pairs = matched_pairs(*sides) if lists else {}
    chosen = one_of_each(lists, lambda file: speaks_of(file, pairs))
    content: dict[str, Any] = {
        split: {**where, "list": folder.relative(file)} for split, file in chosen.items()
    }
    notes = []
    if chosen and "train" not in chosen:
        content["train"] = left_over(folder, pairs, chosen)
        notes.append(NO_LIST)
    content.setdefault("train", where)
    content.setdefault("val", 0.2)
    return content, notes


def _is_of_voc(labels: list[Path], top: int) -> bool:
    """Returns whether label files are Pascal VOC's own, by their names or by their many classes.

    Others keep their own few classes in folders of the same names.
    """
    return top > len(VOC) // 2 or all(re.fullmatch(r"20\d\d_\d{6}", f.stem) for f in labels)


def find_cityscapes(folder: Folder) -> Layout | None:
    """Finds Cityscapes: leftImg8bit and gtFine, with trainIds where they are there."""
    files = [f for f in folder.images() if "_gtFine_label" in f.name]
    train_ids = [f for f in files if f.stem.endswith("_gtFine_labelTrainIds")]
    chosen = train_ids or [f for f in files if f.stem.endswith("_gtFine_labelIds")]
    if not chosen:
        return None
    root = next(p for p in chosen[0].parents if (p / "leftImg8bit").is_dir() or p == folder.path)
    kind = "labelTrainIds" if train_ids else "labelIds"
    content: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
        if images.is_dir() and any(labels in f.parents for f in chosen):
            content[split] = {
                "images": folder.relative(images),
                "labels": folder.relative(labels),
                "image_suffix": "_leftImg8bit",
                "label_suffix": f"_gtFine_{kind}",
            }
    if "train" not in content:
        return None
    content.setdefault("val", 0.2)
    if train_ids:
        content |= {"names": list(CITYSCAPES.values()), "ignore": 255}
        return Layout("Cityscapes", content, ("The label files hold trainIds, 19 classes.",))
    ids = [value for value in range(34) if value not in CITYSCAPES]
    content |= {"names": dict(CITYSCAPES), "ignore": [*ids, 255]}
    notes = ("The label files hold labelIds: the 19 training classes are read, the rest ignored.",)
    return Layout("Cityscapes", content, notes)
