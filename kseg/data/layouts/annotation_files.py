"""Files of shapes as a layout: COCO, labelme, Label Studio, CVAT."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from kseg.data.formats import FORMATS, IN_JSON
from kseg.data.formats.drawing import Annotated
from kseg.data.formats.finding import LARGEST_JSON
from kseg.data.layouts.found import (
    Folder,
    Layout,
    common_folder,
    some_names_have_splits,
    split_named,
    trained,
)
from kseg.data.subsets import subsets_of
from kseg.safe_files import read_bytes, read_json

_LOOKED_INTO = 50  # JSON files, where all of them are labelme's
_TITLES = {"coco": "COCO", "labelme": "labelme", "label_studio": "Label Studio", "cvat": "CVAT"}


def find_annotations(folder: Folder) -> Layout | None:
    """Finds files of shapes: COCO, labelme, Label Studio, CVAT.

    Args:
        folder: The folder.

    Returns:
        The layout; of the format that comes first in `FORMATS` where there are several.

    Raises:
        ValueError: If such a file is damaged, or labels no image that is there.
    """
    notes: list[str] = []
    found = _in_json(folder, notes)
    if files := _in_xml(folder):
        found["cvat"] = files
    kinds = [kind for kind in (*IN_JSON, "cvat") if kind in found]
    if not kinds:
        return None
    kind, *others = kinds
    for other in others:
        notes.append(
            f"There are shapes of {_TITLES[other]} too, such as those of "
            f"{folder.relative(found[other][0])}; these are not read."
        )
    return _annotated(folder, kind, found[kind], notes)


def _in_json(folder: Folder, notes: list[str]) -> dict[str, list[Path]]:
    """Returns the JSON files of each format; adds to the notes what cannot be read."""
    found: dict[str, list[Path]] = defaultdict(list)
    people: list[Path] = []
    files = folder.ending(".json")
    for number, file in enumerate(files):
        if number >= _LOOKED_INTO and len(found["labelme"]) == number:
            found["labelme"] += files[number:]  # a file for each image
            break
        try:
            content = read_json(file, limit=LARGEST_JSON)
        except ValueError as error:
            notes.append(f"It is not read: {error}")
            continue
        name = next((name for name, fits in IN_JSON.items() if fits(content)), None)
        if name is not None:
            found[name].append(file)
        if name == "coco" and _is_of_keypoints(content):
            people.append(file)
    # COCO comes with its people once more, as keypoints; drawn twice they would hide the rest.
    if instances := [file for file in found["coco"] if file not in people]:
        found["coco"] = instances
    return {kind: files for kind, files in found.items() if files}


def _is_of_keypoints(coco: dict[str, Any]) -> bool:
    drawn = [shape for shape in coco["annotations"] if isinstance(shape, dict)]
    return bool(drawn) and all("keypoints" in shape for shape in drawn)


def _in_xml(folder: Folder) -> list[Path]:
    return [
        f for f in folder.ending(".xml") if b"<annotations" in read_bytes(f, limit=10**9)[:4096]
    ]


def _sources(folder: Folder, kind: str, files: list[Path]) -> list[tuple[Path, str | None]]:
    """Returns what entries name, files or the folder of labelme's, with the splits of their own."""
    if kind != "labelme":
        return [(file, split_named([file.stem]) or folder.split_of(file)) for file in files]
    by_split: dict[str | None, list[Path]] = defaultdict(list)
    for file in files:
        by_split[folder.split_of(file)].append(file)
    places = {split: common_folder(found) for split, found in by_split.items()}
    for split, place in places.items():
        if any(o != split and other.is_relative_to(place) for o, other in places.items()):
            return [(common_folder(files), None)]
    return [(place, split) for split, place in places.items()]


def _annotated(folder: Folder, kind: str, files: list[Path], notes: list[str]) -> Layout:
    """Makes an entry for each split that is there."""
    content: dict[str, Any] = defaultdict(list)
    names: list[str] = []
    colors: dict[str, Any] = {}
    missing, count = 0, 0
    sources = _sources(folder, kind, files)
    for place, split in sources:
        read = FORMATS[kind](place, _images_of(folder, place, kind), ())
        missing, count = missing + len(read.missing), count + len(read.drawings)
        if not read.drawings:
            notes.append(f"None of the images of {folder.relative(place)} is there.")
            continue
        for own, entry in _entries(folder, place, kind, read, split, notes):
            content[own].append(entry)
        names += [name for name in read.names if name not in names]
        colors |= read.colors
    for place, split in sources:
        if not content or (split is not None and split not in content):
            raise ValueError(f"{place}: none of the images that it labels is in {folder.path}.")
    said = [
        f"{count} annotated images; what no shape covers is the class background.",
        f"To tell objects apart, add `instances: [{', '.join(names[1:4])}]`: a shape is an object.",
        *trained(folder, content),
    ]
    if several := [split for split, entries in content.items() if len(entries) > 1]:
        said.append(f"Several annotation files are read together for {', '.join(several)}.")
    if kind == "labelme" and (others := len(files) - count - missing):
        said.append(f"{others} JSON files are not labelme's and are not read.")
    if missing:
        said.append(f"{missing} annotated images are not there and are left out.")
    content = {
        split: content[split] if len(content[split]) > 1 else content[split][0]
        for split in ("train", "val", "test")
        if split in content
    }
    content.setdefault("val", 0.2)
    content["names"] = names
    if colors and all(name in colors for name in names[1:]):
        content["colors"] = [list(colors.get(name, (0, 0, 0))) for name in names]
    return Layout(_TITLES[kind], content, (*said, *notes))


def _entries(
    folder: Folder, place: Path, kind: str, read: Annotated, split: str | None, notes: list[str]
) -> list[tuple[str, dict[str, str]]]:
    """Returns the entries of a source with their splits; adds to the notes what was assumed."""
    images = common_folder(list(read.drawings))
    entry = {
        "images": folder.relative(images),
        "annotations": folder.relative(place),
        "format": kind,
    }
    found = Counter(subsets_of(read, images, place).values())
    named = ", ".join(f"{count} {own}" for own, count in sorted(found.items()))
    if split is not None:
        if set(found) - {split}:
            notes.append(
                f"{folder.relative(place)} is taken for {split}, though its images lie in folders, "
                f"or have subsets or names, of other splits: {named}."
            )
        return [(split, entry)]
    if len(found) > 1:
        notes.append(
            f"The images of {folder.relative(place)} say their splits by subset, folder or name: "
            f"{named}."
        )
        return [(own, {**entry, "subset": own}) for own in sorted(found)]
    if not found:
        notes += some_names_have_splits(list(read.drawings))
    return [(next(iter(found), "train"), entry)]


def _images_of(folder: Folder, place: Path, kind: str) -> Path:
    """Returns the folder of the images: that of the annotations, where all are beneath it."""
    near = place if place.is_dir() else place.parent
    if any(file.is_relative_to(near) for file in folder.images()):
        read = FORMATS[kind](place, near, ())
        if read.drawings and not read.missing:
            return near
    return folder.path
