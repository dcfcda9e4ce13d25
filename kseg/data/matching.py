"""Matching the images of a folder with label files by their names."""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from kseg.data.lists import OTHER_ENDINGS, Note, Pair
from kseg.data.opening import ENDINGS
from kseg.data.yaml_text import decoded
from kseg.safe_files import files_in, read_bytes

_MAX_BYTES = 1 << 26
_SHOWN = 5


@dataclass(frozen=True)
class Side:
    """The images, or the label files.

    Attributes:
        folder: Where they are, at any depth.
        prefix: What their stems begin with.
        suffix: What their stems end with.
        folders: Whether they are folders of masks, one for each image, in place of files.
    """

    folder: Path
    prefix: str = ""
    suffix: str = ""
    folders: bool = False

    def key(self, file: Path) -> str | None:
        """Returns what a file has in common with its partner; None for a file of another kind."""
        stem = file.name if self.folders else file.stem
        if not (stem.startswith(self.prefix) and stem.endswith(self.suffix)):
            return None
        inner = stem[len(self.prefix) : len(stem) - len(self.suffix)]
        if not inner and stem:
            return None
        relative = file.relative_to(self.folder).with_name(inner).as_posix()
        return unicodedata.normalize("NFC", relative)


def matched_pairs(images: Side, labels: Side) -> dict[str, Pair]:
    """Matches images with label files that have the same path and stem, prefix and suffix aside.

    An image without a label file is left out with a warning.

    Args:
        images: The images.
        labels: The label files.

    Returns:
        From what they have in common to the pair, in its order.

    Raises:
        ValueError: If a folder does not exist or has two files with one stem, a label file has no
            image, or no file of the one matches one of the other.
    """
    by_image, by_label = _by_key(images, labels), _by_key(labels, images)
    if images == labels and by_image:
        raise ValueError(
            f"images and labels are both {images.folder}; say with label_suffix, such as _mask, "
            "which files are labels."
        )
    strangers, alone = by_label.keys() - by_image.keys(), by_image.keys() - by_label.keys()
    if strangers or (by_image and len(alone) == len(by_image)):
        raise ValueError(
            f"images in {images.folder} and label files in {labels.folder} must have the same "
            f"stems; only one folder has {_listed(strangers | alone)}."
        )
    if alone:
        count = "1 image" if len(alone) == 1 else f"{len(alone)} images"
        warnings.warn(
            f"{count} of {len(by_image)} in {images.folder} without a label file "
            f"{'is' if len(alone) == 1 else 'are'} left out: {_listed(alone)}.",
            Note,
            stacklevel=5,
        )
    return {key: Pair(by_image[key], by_label[key]) for key in sorted(by_label)}


def chosen(path: Path, pairs: dict[str, Pair]) -> list[Pair]:
    """Returns the pairs that a list of stems names, in its order.

    Args:
        path: The list: a stem, a name or a path on each line.
        pairs: As `matched_pairs` returns them.

    Raises:
        ValueError: If the list cannot be read, or names what is none of them.
    """
    found = []
    for number, same in _named_by(path, pairs):
        if len(same) != 1:
            reason = "several images" if same else "no image with a label file"
            mend = "Write its folder too." if same else "Mend the line, or take it out."
            raise ValueError(
                f"{path}, line {number} names {reason}; it must be a stem or a name. {mend}"
            )
        found += same
    return found


def _named_by(path: Path, pairs: dict[str, Pair]) -> Iterator[tuple[int, list[Pair]]]:
    """Yields the number of each line of a list of stems, and the pairs that it may mean.

    Arguments and errors as `chosen`, but for lines that mean none or several.
    """
    short: dict[str, list[Pair]] = {}
    for key, pair in pairs.items():
        for name in _names_of(key, pair):
            short.setdefault(name, []).append(pair)
    folders = {pair.image.parent for pair in pairs.values()}
    for number, line in lines_of(path, comments=True):
        same = _meant(line, pairs, short, folders)
        if same or not line.startswith("#"):
            yield number, same


def speaks_of(path: Path, pairs: dict[str, Pair]) -> bool:
    """Returns whether a line of a list has the stem of one of some images.

    Arguments and errors as `chosen`.
    """
    stems = {name for key, pair in pairs.items() for name in _names_of(key, pair)}
    return any(_plain(line).name in stems for _, line in lines_of(path, comments=True))


def _names_of(key: str, pair: Pair) -> set[str]:
    """Returns what a list may call an image: its stem, also without its prefix and suffix."""
    return {PurePosixPath(key).name, unicodedata.normalize("NFC", pair.image.stem)}


def _plain(line: str) -> PurePosixPath:
    """Returns the path of a line without the ending of an image."""
    path = PurePosixPath(unicodedata.normalize("NFC", line.replace("\\", "/")))
    return path.with_suffix("") if path.suffix.lower() in ENDINGS else path


def _meant(
    line: str, pairs: dict[str, Pair], short: dict[str, list[Pair]], folders: set[Path]
) -> list[Pair]:
    plain = _plain(line)
    if plain.as_posix() in pairs:
        return [pairs[plain.as_posix()]]
    same = short.get(plain.name, [])
    if not plain.parent.parts:
        return same
    shared = [_shared(pair.image.parent, plain.parent) for pair in same]
    # Paths that begin elsewhere are told apart by their ends; a folder that is known is meant.
    known = any(_shared(f, plain.parent) == len(plain.parent.parts) for f in folders)
    least = len(plain.parent.parts) if known else max(shared, default=0)
    return [pair for pair, parts in zip(same, shared, strict=True) if parts >= least]


def keyed(root: Path, pairs: Iterable[tuple[Path, Path]]) -> dict[str, Pair]:
    """Returns images with label files by the paths of the images, without endings."""
    return {Side(root).key(image) or "": Pair(image, label) for image, label in pairs}


def _shared(folder: Path, other: PurePosixPath) -> int:
    """Returns how many names at the ends of two folders are the same."""
    names = unicodedata.normalize("NFC", folder.as_posix()).split("/")
    both = zip(reversed(names), reversed(other.parts), strict=False)
    return len(list(takewhile(lambda two: two[0] == two[1], both)))


def lines_of(path: Path, *, comments: bool = False) -> Iterator[tuple[int, str]]:
    """Yields the number and the text of each line that is neither empty nor a comment.

    Args:
        path: The file.
        comments: Whether lines that begin with # come too: names of files may do so.

    Raises:
        ValueError: If the file is no text.
    """
    try:
        text = decoded(read_bytes(path, limit=_MAX_BYTES), "surrogateescape")
    except ValueError as error:
        raise ValueError(f"{path} is no list of images: {error}.") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and (comments or not line.lstrip().startswith("#")):
            yield number, line.strip()


def _by_key(side: Side, other: Side) -> dict[str, Path]:
    if not side.folder.is_dir():
        raise ValueError(f"the folder {side.folder} does not exist.")
    found: dict[str, Path] = {}
    for file in _folders(side.folder) if side.folders else _files(side.folder):
        if other.folder != side.folder and other.folder.is_relative_to(side.folder):
            if file.is_relative_to(other.folder):
                continue
        key = side.key(file)
        if key is None or (other.folder == side.folder and _fits_better(other, side, file)):
            continue
        if key in found:
            raise ValueError(
                f"{side.folder} has two files with one stem; stems match image to label: "
                f"{found[key].name} and {file.name}."
            )
        found[key] = file
    return found


def _fits_better(other: Side, side: Side, file: Path) -> bool:
    """Returns whether a file of a folder of both is rather of the other side."""
    longer = len(other.prefix + other.suffix) > len(side.prefix + side.suffix)
    return longer and other.key(file) is not None


def masks_beside(images: Side, labels: Side) -> Side:
    """Returns the side of the labels, as folders of masks if the images have such folders."""
    folders = replace(labels, folders=True)
    wanted = {images.key(file) for file in _files(images.folder)} - {None}
    found = {folders.key(folder) for folder in _folders(labels.folder)}
    return folders if wanted & found else labels


def _folders(folder: Path) -> list[Path]:
    """Returns the folders of files that have no folders within."""
    return sorted({file.parent for file in _files(folder)} - {folder})


def _files(folder: Path) -> list[Path]:
    endings = (*ENDINGS, *OTHER_ENDINGS)
    return sorted(
        file
        for file in files_in(folder)
        if file.suffix.lower() in endings
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
