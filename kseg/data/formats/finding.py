"""Finding the images that annotation files name."""

from pathlib import Path, PurePosixPath

from kseg.data.opening import ENDINGS

LARGEST_JSON = 1_000_000_000  # COCO's own training annotations have 470 MB


def locate(folder: Path, names: list[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Returns the files of a folder that names mean.

    Args:
        folder: Where the images are, at any depth.
        names: Paths as annotation files have them: relative to the folder, or to anything else,
            or with the backslashes of Windows.

    Returns:
        Name to file, and the names of no file. A name fits the one file that shares the longest
        end of its path; where several share as much, none is taken.
    """
    files = [f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file()]
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.name.casefold(), []).append(file)
    found: dict[str, Path] = {}
    missing = []
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        candidates = by_name.get(parts[-1].casefold(), []) if parts else []
        if len(candidates) > 1:
            shared = [_shared(parts, file.parts) for file in candidates]
            best = max(shared)
            candidates = [f for f, s in zip(candidates, shared, strict=True) if s == best]
        if len(candidates) == 1:
            found[name] = candidates[0]
        else:
            missing.append(name)
    return found, tuple(missing)


def _shared(name: tuple[str, ...], path: tuple[str, ...]) -> int:
    """Returns how many parts two paths have in common, from their ends."""
    count = 0
    for one, other in zip(reversed(name), reversed(path), strict=False):
        if one.casefold() != other.casefold():
            break
        count += 1
    return count
