"""YOLO segmentation as a layout: a data.yaml that names the folders or lists of each split."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from kseg.data.layouts.found import SPLITS, Folder, Layout, common_folder
from kseg.data.matching import lines_of
from kseg.safe_files import files_in, read_text

_TEXT = 10_000_000


def find_yolo(folder: Folder) -> Layout | None:
    """Finds YOLO segmentation: a data.yaml with names, and text files beside the images."""
    for file, found in _descriptions(folder):
        layout = _yolo(folder, file, found)
        if layout is not None:
            return layout
    return None


def unread_places(folder: Folder) -> list[str]:
    """Says which training images a data.yaml names that are not there or have no polygons."""
    said = []
    for file, found in _descriptions(folder):
        for place in (place for place in _listed(found["train"]) if isinstance(place, str)):
            # A YAML file of kseg's own may name a list or a folder.
            if "images" in Path(place).parts or not (file.parent / place).exists():
                said.append(_left_out(file, place, "train"))
    return said


def _descriptions(folder: Folder) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in folder.ending(".yaml", ".yml"):
        try:
            found = yaml.safe_load(read_text(file, limit=_TEXT))
        except (ValueError, yaml.YAMLError, RecursionError):
            continue
        if isinstance(found, dict) and "names" in found and "train" in found:
            yield file, found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _left_out(file: Path, place: str, key: str) -> str:
    return (
        f"{file.name} names {place} for {key}, which is not there or has no text files of "
        "polygons: left out."
    )


def _yolo(folder: Folder, file: Path, found: dict[str, Any]) -> Layout | None:
    names = found["names"]
    if isinstance(names, dict) and all(isinstance(key, int) for key in names):
        ids, names = sorted(names), [names[key] for key in sorted(names)]
    elif isinstance(names, list):
        ids = list(range(len(names)))
    else:  # a YAML file of kseg itself may name ranges of ids
        return None
    said: list[str] = []
    content = _splits(folder, file, found, said)
    if "train" not in content:
        return None
    if ids != list(range(len(ids))):
        raise ValueError(
            f"{file}: its names have the ids {', '.join(map(str, ids))}; name every id from 0 on, "
            "also those that no polygon has."
        )
    if "background" in names:
        raise ValueError(
            f"{file}: one of its names is background, which the ids of its polygons count; kseg "
            "counts them without a background. Give that class another name there."
        )
    same = [split for split in ("val", "test") if content.get(split) == content["train"]]
    for split in same:
        del content[split]
    content.setdefault("val", 0.2)
    # The ids of YOLO have no background; it becomes the first class.
    content["names"] = ["background", *map(str, names)]
    notes = (
        f"Names of {file.name}; what no polygon covers is the class background.",
        "An image without a text file is all background.",
        *(f"{file.name} names the images of train for {split} too: left out." for split in same),
        *said,
    )
    return Layout("YOLO segmentation", content, notes)


def _splits(folder: Folder, file: Path, found: dict[str, Any], said: list[str]) -> dict[str, Any]:
    """Returns the entries of the splits that are there; adds what is not to what is said."""
    content: dict[str, Any] = {}
    for key in ("train", "val", "valid", "test"):
        places = [place for place in _listed(found.get(key)) if isinstance(place, str) and place]
        entries = []
        for place in places:
            entry = _entry(folder, file, found, place, said)
            if entry is None:
                said.append(_left_out(file, place, key))
            else:
                entries.append(entry)
        if entries:
            content[SPLITS[key]] = entries if len(entries) > 1 else entries[0]
    return content


def _entry(
    folder: Folder, file: Path, found: dict[str, Any], place: str, said: list[str]
) -> dict[str, str] | None:
    """Returns the entry of a folder of images, or of a text file with their paths."""
    listed = _meant(file, found, place, Path.is_file) if place.endswith(".txt") else None
    if listed is None:
        images = _meant(file, found, place, Path.is_dir)
    else:
        images = _folder_of(folder, listed)
    labels = images and _labels(images)
    if images is None or labels is None:
        return None
    parts = [part for part in Path(place).parts if part not in ("..", ".", "/")]
    taken = (listed or images).relative_to(file.parent).as_posix()
    if len(PurePosixPath(taken).parts) < len(parts):
        said.append(f"{file.name} names {place}, which is taken for {taken}.")
    entry = {
        "images": folder.relative(images),
        "annotations": folder.relative(labels),
        "format": "yolo",
    }
    return entry | ({"list": folder.relative(listed)} if listed else {})


def _meant(file: Path, found: dict[str, Any], entry: str, is_there) -> Path | None:
    """Returns the folder or file that an entry means; paths in such files are often stale."""
    parts = [part for part in Path(entry).parts if part not in ("..", ".", "/")]
    base = file.parent / str(found.get("path") or ".")
    for root in (base, file.parent):
        for start in range(len(parts)):
            candidate = root.joinpath(*parts[start:])
            if is_there(candidate) and file.parent.resolve() in candidate.resolve().parents:
                return candidate
    return None


def _folder_of(folder: Folder, listed: Path) -> Path | None:
    """Returns the folder of the images that a list names, of those that are there."""
    by_end: dict[str, list[Path]] = {}
    for image in folder.images():
        by_end.setdefault(image.name, []).append(image)
    images = []
    for _, line in lines_of(listed, comments=True):
        parts = PurePosixPath(line.replace("\\", "/")).parts
        for candidate in by_end.get(parts[-1], ()):
            own = candidate.relative_to(folder.path).parts
            # The list's path ends like the image's, or the other way round.
            count = min(len(own), len([part for part in parts if part not in (".", "..", "/")]))
            if own[-count:] == parts[-count:]:
                images.append(candidate)
    if not images:
        return None
    common = common_folder(images)
    return next((p for p in (common, *common.parents) if p.name == "images"), common)


def _labels(images: Path) -> Path | None:
    parts = list(images.parts)
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "images":
            labels = Path(*parts[:index], "labels", *parts[index + 1 :])
            return labels if _has_texts(labels) else None
    return images if _has_texts(images) else None


def _has_texts(folder: Path) -> bool:
    return any(file.suffix == ".txt" for file in files_in(folder))
