"""List files: a line for each image, with its label file or as a stem."""

from pathlib import Path, PurePosixPath
from typing import Any

from kseg.data.layouts.found import SPLITS, Folder, Layout
from kseg.data.layouts.name_files import known_names
from kseg.data.layouts.names import classes_of, look_at
from kseg.data.layouts.pairs import entry_of, pairs_in
from kseg.data.opening import ENDINGS
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
    """Lists whose lines are stems or names of images that have label files of like names."""
    by_stem = {image.stem: (image, label) for image, label in pairs_in(folder)}
    lines = {split: _lines(file) for split, file in lists.items()}
    if not all(_stem(line) in by_stem for listed in lines.values() for line in listed):
        return None
    where = entry_of(folder, list(by_stem.values()))
    content: dict[str, Any] = {}
    for split, file in lists.items():
        if isinstance(where, dict):
            content[split] = {**where, "list": folder.relative(file)}
        else:
            content[split] = [
                [folder.relative(f) for f in by_stem[_stem(line)]] for line in lines[split]
            ]
    content.setdefault("val", 0.2)
    counts = ", ".join(f"{len(lines[split])} in {file.name}" for split, file in lists.items())
    names, said = classes_of(look_at([label for _, label in by_stem.values()]), known_names(folder))
    notes = (f"The lists name images: {counts}.", *said)
    return Layout("lists of stems", content | names, notes)


def _stem(line: str) -> str:
    path = PurePosixPath(line.replace("\\", "/"))
    return path.stem if path.suffix.lower() in ENDINGS else path.name


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in read_text(file, limit=_LIMIT).splitlines() if line.strip()]
