"""What a layout finds in a folder."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kseg.data.opening import ENDINGS
from kseg.safe_files import files_in

_MOST_FILES = 2_000_000
# Folders that kseg itself or other tools leave beside a data set.
_OTHERS = frozenset({"runs", "predictions", "__pycache__", "__MACOSX", "checkpoints"})
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Folder:
    """A folder with the paths of all its files, looked at once.

    Attributes:
        path: The folder.
        files: Its files at any depth, sorted; hidden ones are left out.
    """

    path: Path
    files: tuple[Path, ...] = field(repr=False)

    @classmethod
    def scan(cls, path: Path) -> "Folder":
        """Lists a folder.

        Raises:
            ValueError: If it is not a folder, or holds too many files to look at.
        """
        if not path.is_dir():
            raise ValueError(f"{path} is not a folder.")
        files = []
        for file in files_in(path):
            parts = file.relative_to(path).parts
            if any(part.startswith(".") or part in _OTHERS for part in parts):
                continue
            if file.is_file():
                files.append(file)
            if len(files) > _MOST_FILES:
                raise ValueError(f"{path} holds over {_MOST_FILES:,} files; name a smaller folder.")
        return cls(path, tuple(sorted(files)))

    def images(self) -> list[Path]:
        """Returns the files that are images by their names."""
        return [file for file in self.files if file.suffix.lower() in ENDINGS]

    def ending(self, *endings: str) -> list[Path]:
        """Returns the files with one of some endings."""
        return [file for file in self.files if file.suffix.lower() in endings]

    def relative(self, file: Path) -> str:
        """Returns a path as the YAML file has it: relative to the folder, with slashes."""
        return file.relative_to(self.path).as_posix()  # "." for the folder itself

    def split_of(self, file: Path) -> str | None:
        """Returns the split that a file's folders name, if any; the nearest one counts."""
        return split_named(file.relative_to(self.path).parts[-2::-1])


def split_named(parts: Iterable[str]) -> str | None:
    """Returns the split that the first word does that is one, as in instances_train2017."""
    for part in parts:
        for word in re.split(r"[_\- .]|\d+", part.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return None


def splits_of_names(images: Sequence[Path]) -> list[str] | None:
    """Returns the splits that the names of images begin with; None unless all do, and not alike."""
    splits = [split for split in _firsts(images) if split is not None]
    return splits if len(splits) == len(images) and len(set(splits)) > 1 else None


def some_names_have_splits(images: Sequence[Path]) -> list[str]:
    """Says that names of some images begin with several splits, which are not taken for these."""
    found = Counter(split or "" for split in _firsts(images))
    plain = found.pop("", 0)
    if not plain or len(found) < 2:
        return []
    words = ", ".join(f"{count} with {split}" for split, count in sorted(found.items()))
    return [f"The names of some images begin with splits ({words}), and {plain} do not: no splits."]


def _firsts(images: Sequence[Path]) -> list[str | None]:
    return [split_named([re.split(r"[_\- .]", image.stem)[0]]) for image in images]


def trained(folder: Folder, splits: dict[str, Any]) -> list[str]:
    """Makes the only split of a folder the one to train on, and says so.

    Args:
        folder: The folder.
        splits: Split to what is in it; it is changed.

    Returns:
        What is to be said.

    Raises:
        ValueError: If there are several splits, and none of them is train.
    """
    if "train" in splits:
        return []
    if len(splits) > 1:
        raise ValueError(
            f"{folder.path}: there are images of {' and '.join(sorted(splits))} and none of train; "
            "add them, or write a YAML file that says which to train on (docs/your_data.md)."
        )
    (only,) = splits
    splits["train"] = splits.pop(only)
    return [f"All images are of the split {only} by their folders or names; they are trained on."]


def common_folder(files: Sequence[Path]) -> Path:
    """Returns the deepest folder that holds all files."""
    parents = [file.parent.parts for file in files]
    depth = min(map(len, parents))
    while any(p[:depth] != parents[0][:depth] for p in parents):
        depth -= 1
    return Path(*parents[0][:depth])


@dataclass(frozen=True)
class Layout:
    """A data set as it was found.

    Attributes:
        title: The kind of layout, such as "Pascal VOC".
        content: What the YAML file says, as `kseg.load_data` takes it.
        notes: What was found and what was assumed, a sentence each.
    """

    title: str
    content: dict[str, Any]
    notes: tuple[str, ...] = ()
