"""Layouts that have a name: Pascal VOC, Cityscapes, COCO, labelme, CVAT, Label Studio."""

import re
import warnings
from pathlib import Path
from typing import Any

from kseg.data.formats import FORMATS, IN_JSON
from kseg.data.formats.finding import LARGEST_JSON
from kseg.data.layouts.found import SPLITS, Folder, Layout, common_folder, split_named
from kseg.data.layouts.list_files import NO_LIST, left_over, lists_in, one_of_each
from kseg.data.layouts.name_files import known_names
from kseg.data.layouts.names import classes_of, look_at
from kseg.data.matching import Side, matched_pairs, speaks_of
from kseg.safe_files import read_bytes, read_json

_LOOKED_INTO = 50  # JSON files

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


def find_annotations(folder: Folder) -> Layout | None:
    """Finds files of shapes: COCO, labelme, Label Studio, CVAT."""
    for detect in (_in_json, _in_xml):
        found = detect(folder)
        if found is not None:
            return _annotated(folder, *found)
    return None


def _in_json(folder: Folder) -> tuple[str, list[Path]] | None:
    found: dict[str, list[Path]] = {}
    people: list[Path] = []
    for file in folder.ending(".json")[:_LOOKED_INTO]:
        try:
            content = read_json(file, limit=LARGEST_JSON)
        except ValueError:
            continue
        for name, fits in IN_JSON.items():
            if fits(content):
                found.setdefault(name, []).append(file)
                if name == "coco" and _is_of_keypoints(content):
                    people.append(file)
                break
    # COCO comes with its people once more, as keypoints; drawn twice they would hide the rest.
    if instances := [file for file in found.get("coco", ()) if file not in people]:
        found["coco"] = instances
    for kind in IN_JSON:
        if kind in found:
            # labelme has a file for each image, more than were looked into.
            return kind, folder.ending(".json") if kind == "labelme" else found[kind]
    return None


def _is_of_keypoints(coco: dict[str, Any]) -> bool:
    drawn = [shape for shape in coco["annotations"] if isinstance(shape, dict)]
    return bool(drawn) and all("keypoints" in shape for shape in drawn)


def _in_xml(folder: Folder) -> tuple[str, list[Path]] | None:
    files = [
        f for f in folder.ending(".xml") if b"<annotations" in read_bytes(f, limit=10**9)[:4096]
    ]
    return ("cvat", files) if files else None


def _images_of(folder: Folder, place: Path, kind: str) -> Path:
    """Returns the folder of the images: that of the annotations, where all are beneath it."""
    near = place if place.is_dir() else place.parent
    if any(file.is_relative_to(near) for file in folder.images()):
        read = FORMATS[kind](place, near, ())
        if read.drawings and not read.missing:
            return near
    return folder.path


def _annotated(folder: Folder, kind: str, files: list[Path]) -> Layout:
    """Makes an entry for each split whose annotation file, or folder of files, is there."""
    files_of: dict[str, list[Path]] = {}
    for file in files:
        split = folder.split_of(file) or split_named([file.stem]) or "train"
        files_of.setdefault(split, []).append(file)
    if "train" not in files_of:
        files_of["train"] = files_of.pop(next(iter(files_of)))
    content: dict[str, Any] = {}
    names: list[str] = []
    colors: dict[str, Any] = {}
    missing, count = 0, 0
    for split, found in files_of.items():
        # labelme has a file for each image: their folder is what the YAML file names.
        entries = []
        for place in [common_folder(found)] if kind == "labelme" else found:
            read = FORMATS[kind](place, _images_of(folder, place, kind), ())
            missing, count = missing + len(read.missing), count + len(read.drawings)
            if not read.drawings:
                continue
            entry = {
                "images": folder.relative(common_folder(list(read.drawings))),
                "annotations": folder.relative(place),
                "format": kind,
            }
            entries.append(entry)
            names += [name for name in read.names if name not in names]
            colors |= read.colors
        if not entries:
            raise ValueError(f"{found[0]}: none of the images that it labels is in {folder.path}.")
        content[split] = entries if len(entries) > 1 else entries[0]
    content = {s: content[s] for s in ("train", "val", "test") if s in content}
    content.setdefault("val", 0.2)
    content["names"] = names
    if colors and all(name in colors for name in names[1:]):
        content["colors"] = [list(colors.get(name, (0, 0, 0))) for name in names]
    notes = [
        f"{count} annotated images; what no shape covers is the class background.",
        f"To tell objects apart, add `instances: [{', '.join(names[1:4])}]`: a shape is an object.",
    ]
    several = [split for split in files_of if isinstance(content.get(split), list)]
    if several:
        notes.append(f"Several annotation files are read together for {', '.join(several)}.")
    if missing:
        notes.append(f"{missing} annotated images are not there and are left out.")
    titles = {"coco": "COCO", "labelme": "labelme", "label_studio": "Label Studio", "cvat": "CVAT"}
    return Layout(titles[kind], content, tuple(notes))
