"""List files: a line for each image, with its label file or as a stem."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kseg.data.layouts.found import SPLITS, Folder, Layout
from kseg.data.layouts.name_files import known_names
from kseg.data.layouts.names import classes_of, look_at
from kseg.data.layouts.pairs import entry_of, pairs_in
from kseg.data.lists import Pair, listed_pairs, pair_is_there
from kseg.data.matching import chosen, keyed, lines_of, speaks_of

_SHOWN = 3


def find_lists(folder: Folder) -> Layout | None:
    """Finds `train.txt`, `val.txt` and `test.txt` (or names like these) with pairs or stems.

    Returns:
        The layout; None if no line names an image that is there with its labels.

    Raises:
        ValueError: If some lines of a list do so and others do not.
    """
    files = lists_in(folder)
    if not files:
        return None
    pairs = _pairs(folder, files)
    return pairs if pairs is not None else _stems(folder, files)


def lists_in(folder: Folder) -> list[Path]:
    """Returns the files that are lists of a split by their names."""
    files = [f for f in folder.ending(".txt", ".lst") if f.stem.lower() in SPLITS]
    # Pascal VOC has lists for its other tasks beside those for segmentation.
    others = {f for f in files if f.parts[-3:-2] == ("ImageSets",) and f.parent.name in _TASKS}
    return [f for f in files if f not in others]


_TASKS = ("Main", "Layout", "Action")


def unread_lists(folder: Folder, content: dict[str, Any]) -> list[str]:
    """Says which lists a layout leaves out, whatever the reason."""
    root = folder.path / content.get("path", ".")
    entries = [e for s in SPLITS.values() for e in _each(content.get(s))]
    named = (e.get("list") if isinstance(e, dict) else e for e in entries)
    read = {root / name for name in named if isinstance(name, str)}
    unread = [folder.relative(file) for file in lists_in(folder) if file not in read]
    if not unread:
        return []
    more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    return [f"Not read, though the names are those of lists: {', '.join(unread[:_SHOWN])}{more}."]


def _each(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def one_of_each(files: Iterable[Path], fits: Callable[[Path], bool]) -> dict[str, Path]:
    """Returns a list for each split, of those that fit; the first folder that has train has it."""
    files = [file for file in files if fits(file)]
    trained = {file.parent for file in files if SPLITS[file.stem.lower()] == "train"}
    files.sort(key=lambda file: (file.parent not in trained, len(file.parts), file))
    found: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: file.parent != files[0].parent):
        found.setdefault(SPLITS[file.stem.lower()], file)
    return found


def left_over(folder: Folder, pairs: dict[str, Pair], lists: dict[str, Path]) -> list[list[str]]:
    """Returns the images that no list names, with their label files.

    Raises:
        ValueError: If there are none, or a line of a list names none.
    """
    taken = {pair for file in lists.values() for pair in chosen(file, pairs)}
    rest = [pair for pair in pairs.values() if pair not in taken]
    if not rest:
        raise ValueError(
            f"{folder.path}: there is no list of training images, and the others "
            f"({', '.join(folder.relative(file) for file in lists.values())}) name all images; "
            "add train.txt."
        )
    return [[folder.relative(pair.image), folder.relative(pair.label_file)] for pair in rest]


NO_LIST = "There is no list of training images: those that no list names are taken."


def _pairs(folder: Folder, files: list[Path]) -> Layout | None:
    """Lists whose lines are `image label`."""
    for root in dict.fromkeys([folder.path, *(file.parent for file in files)]):
        within = [file for file in files if file.is_relative_to(root)]

        def fits(file: Path, root: Path = root) -> bool:
            lines = lines_of(file, comments=True)
            return any(pair_is_there(root, line) for _, line in lines)

        lists = one_of_each(within, fits)
        if "train" not in lists:
            continue
        content: dict[str, Any] = {s: f.relative_to(root).as_posix() for s, f in lists.items()}
        if root != folder.path:
            content["path"] = folder.relative(root)
        content.setdefault("val", 0.2)
        listed = [pair for file in lists.values() for pair in listed_pairs(root, file)]
        there = [pair for pair in listed if pair.image.exists() and pair.label_file.exists()]
        names, said = classes_of(look_at([p.label_file for p in there]), known_names(folder))
        notes = [f"Lists of images and label files: {', '.join(f.name for f in lists.values())}."]
        if lost := len(listed) - len(there):
            notes.append(f"{lost} lines of the lists name files that are not there.")
        return Layout("lists of images and label files", content | names, (*notes, *said))
    return None


def _stems(folder: Folder, files: list[Path]) -> Layout | None:
    """Lists whose lines are stems or names of images that have label files of like names."""
    pairs = keyed(folder.path, pairs_in(folder))
    lists = one_of_each(files, lambda file: speaks_of(file, pairs))
    if not lists:
        return None
    where = entry_of(folder, [(pair.image, pair.label_file) for pair in pairs.values()])
    content: dict[str, Any] = {}
    said = []
    if "train" not in lists:
        content["train"] = left_over(folder, pairs, lists)
        said.append(NO_LIST)
    listed = {split: chosen(file, pairs) for split, file in lists.items()}
    for split, file in lists.items():
        if isinstance(where, dict):
            content[split] = {**where, "list": folder.relative(file)}
        else:
            content[split] = [
                [folder.relative(pair.image), folder.relative(pair.label_file)]
                for pair in listed[split]
            ]
    content.setdefault("val", 0.2)
    counts = ", ".join(f"{len(listed[split])} in {file.name}" for split, file in lists.items())
    labels = [pair.label_file for pair in pairs.values()]
    names, more = classes_of(look_at(labels), known_names(folder))
    notes = (f"The lists name images: {counts}.", *said, *more)
    return Layout("lists of stems", content | names, notes)
