"""List files: a line for each image, with its label file or as a stem."""

from pathlib import Path
from typing import Any

from kseg.data.layouts.found import SPLITS, Folder, Layout
from kseg.data.layouts.names import classes_of, known_names, look_at
from kseg.data.layouts.pairs import find_pairs
from kseg.safe_files import read_text

_LIMIT = 50_000_000


def find_lists(folder: Folder) -> Layout | None:
    """Finds `train.txt`, `val.txt` and `test.txt` (or names like these) with pairs or stems.

    Returns:
        The layout; None if there is no list of the training images whose files are there.
    """
    lists: dict[str, Path] = {}
    for file in folder.ending(".txt", ".lst"):
        split = SPLITS.get(file.stem.lower())
        if split is not None and split not in lists:
            lists[split] = file
    if "train" not in lists:
        return None
    pairs = _pairs(folder, lists)
    return pairs if pairs is not None else _stems(folder, lists)


def _pairs(folder: Folder, lists: dict[str, Path]) -> Layout | None:
    """Lists whose lines are `image label`."""
    labels: list[Path] = []
    lines = _lines(lists["train"])
    roots = [folder.path, lists["train"].parent]
    for root in roots:
        labels = []
        for line in lines:
            parts = line.replace(",", " ").split()
            if len(parts) != 2 or not all((root / part).is_file() for part in parts):
                break
            labels.append(root / parts[1])
        else:
            content: dict[str, Any] = {s: folder.relative(f) for s, f in lists.items()}
            if root != folder.path:
                content = {s: f.name for s, f in lists.items()}
                content["path"] = folder.relative(root)
            content.setdefault("val", 0.2)
            names, said = classes_of(look_at(labels), known_names(folder))
            notes = (
                f"Lists of images and label files: {', '.join(f.name for f in lists.values())}.",
            )
            return Layout("lists of images and label files", content | names, (*notes, *said))
    return None


def _stems(folder: Folder, lists: dict[str, Path]) -> Layout | None:
    """Lists whose lines are stems or names of images, beside two folders."""
    plain = find_pairs(folder)
    if plain is None or not isinstance(plain.content.get("train"), dict):
        return None
    where = plain.content["train"]
    content: dict[str, Any] = {
        split: {**where, "list": folder.relative(file)} for split, file in lists.items()
    }
    content.setdefault("val", 0.2)
    rest = {key: v for key, v in plain.content.items() if key not in ("train", "val", "test")}
    counts = ", ".join(f"{len(_lines(file))} in {file.name}" for file in lists.values())
    notes = (f"The lists name images: {counts}.", *plain.notes)
    return Layout("lists of stems", content | rest, notes)


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in read_text(file, limit=_LIMIT).splitlines() if line.strip()]
