"""Finding the images that annotation files name."""

from pathlib import Path, PurePosixPath
from typing import Any

from kseg.data.opening import ENDINGS
from kseg.safe_files import files_in

LARGEST_JSON = 1_000_000_000  # COCO's own training annotations have 470 MB


def locate(folder: Path, names: list[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Returns the files of a folder that names mean.

    Args:
        folder: Where the images are, at any depth.
        names: Paths as annotation files have them: relative to the folder, or to anything else,
            or with the backslashes of Windows.

    Returns:
        Name to file, and the names of no file. A name fits the one file that shares the longest
        end of its path; where several share as much, none is taken. Of several names that fit one
        file, the one that shares the longest end has it, and none where several share as much.
    """
    files = [f for f in files_in(folder) if f.suffix.lower() in ENDINGS and f.is_file()]
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.name.casefold(), []).append(file)
    fitting: dict[Path, dict[str, int]] = {}
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        candidates = by_name.get(parts[-1].casefold(), []) if parts else []
        if file := _best({file: _shared(parts, file.parts) for file in candidates}):
            fitting.setdefault(file, {})[name] = _shared(parts, file.parts)
    found = {name: file for file, shared in fitting.items() if (name := _best(shared)) is not None}
    return found, tuple(name for name in names if name not in found)


def folders_of_name(name: str) -> tuple[str, ...]:
    """Returns the folders that an annotation file names for an image, the nearest first."""
    return PurePosixPath(name.replace("\\", "/")).parts[-2::-1]


def _best(shared: dict[Any, int]) -> Any:
    """Returns the key of the largest number; None where several have it, or there is none."""
    largest = max(shared.values(), default=0)
    best = [key for key, count in shared.items() if count == largest]
    return best[0] if len(best) == 1 else None


def _shared(name: tuple[str, ...], path: tuple[str, ...]) -> int:
    """Returns how many parts two paths have in common, from their ends."""
    count = 0
    for one, other in zip(reversed(name), reversed(path), strict=False):
        if one.casefold() != other.casefold():
            break
        count += 1
    return count
