"""Finding the images and label files of a split: list files, and folders matched by stem."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kseg.data.opening import ENDINGS
from kseg.data.yaml_text import decoded
from kseg.safe_files import read_bytes

_MAX_BYTES = 1 << 26
# Images of formats that are not read: found here, so that reading says what they are.
_OTHER_ENDINGS = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".eps", ".dds", ".psd", ".npy")
_IMAGE = "(?:" + "|".join(re.escape(end) for end in (*ENDINGS, *_OTHER_ENDINGS)) + ")"
_LINE = re.compile(rf"(.+?{_IMAGE})[\s,;]+(.+{_IMAGE})", re.IGNORECASE)
_NAME = re.compile(rf".*{_IMAGE}", re.IGNORECASE)
_QUOTED = re.compile(r"\"([^\"]+)\"[\s,;]+\"([^\"]+)\"|'([^']+)'[\s,;]+'([^']+)'")


class Pair(NamedTuple):
    """An image and its label file."""

    image: Path
    label_file: Path


def listed_pairs(root: Path, path: Path) -> list[Pair]:
    """Reads a list file of `image label` lines.

    Args:
        root: The folder that paths in the list are relative to.
        path: The list: UTF-8, or UTF-16 with a byte order mark. Between two paths stand spaces, a
            tab, a comma or a semicolon; they may be in quotes, and backslashes may be slashes.

    Raises:
        ValueError: If the list cannot be read, or a line is no pair. The line is named but not
            shown: it may come from any file.
    """
    content = read_bytes(path, limit=_MAX_BYTES)
    try:
        text = decoded(content, "surrogateescape")
    except ValueError as error:
        raise ValueError(f"{path} is no list of images: {error}.") from None
    pairs = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            parts = _parts(line)
            if parts is None:
                raise ValueError(
                    f"{path}, line {number} must be `image label`, two image files such as "
                    "`images/1.png labels/1.png`; between names with spaces put a tab."
                )
            pairs.append(Pair(_found(root, parts[0]), _found(root, parts[1])))
    return pairs


def matched_pairs(images: Path, labels: Path) -> list[Pair]:
    """Matches the images of one folder with the label files of another by their stems.

    Raises:
        ValueError: If a folder does not exist or has two files with one stem, or stems differ.
    """
    by_image, by_label = _by_stem(images), _by_stem(labels)
    alone = sorted(by_image.keys() ^ by_label.keys())
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise ValueError(
            f"images in {images} and label files in {labels} must have the same stems; only one "
            f"folder has {', '.join(alone[:5])}{more}."
        )
    return [Pair(by_image[stem], by_label[stem]) for stem in sorted(by_image)]


def part_of(pairs: Sequence[Pair], fraction: float) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Takes a fraction of the training images for validation.

    Images are chosen by the hash of their names, so most stay where they are when more are added.

    Raises:
        ValueError: If none would be left to train on.
    """
    order = sorted(pairs, key=lambda pair: hashlib.sha256(os.fsencode(pair.image.name)).digest())
    count = max(1, round(len(order) * fraction))
    if count >= len(order):
        raise ValueError(f"val takes {count} of {len(order)} images and leaves none to train on.")
    chosen = set(order[:count])
    rest = tuple(pair for pair in pairs if pair not in chosen)
    return rest, tuple(pair for pair in pairs if pair in chosen)


def _parts(line: str) -> tuple[str, str] | None:
    """Returns the two paths of a line; None if it has not just two that end like images."""
    if quoted := _QUOTED.fullmatch(line):
        first, second = filter(None, quoted.groups())
    elif line.count("\t") == 1:
        first, second = (part.strip().strip("\"'") for part in line.split("\t"))
    elif (plain := _LINE.fullmatch(line)) and not _LINE.fullmatch(plain[2]):
        first, second = (part.strip("\"'") for part in plain.groups())
    else:
        return None
    return (first, second) if _NAME.fullmatch(first) and _NAME.fullmatch(second) else None


def _found(root: Path, name: str) -> Path:
    """Returns the file that a name means; where there is none, the name as it is written."""
    for way in _spellings(name):
        if os.path.exists(root / way):
            return root / way
    return root / name


def _spellings(name: str) -> Iterator[str]:
    """Other computers write backslashes, and accents as one character (NFC) or two (NFD)."""
    for slashes in (name, name.replace("\\", "/")):
        yield slashes
        if not slashes.isascii():
            yield unicodedata.normalize("NFC", slashes)
            yield unicodedata.normalize("NFD", slashes)


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"the folder {folder} does not exist.")
    endings = (*ENDINGS, *_OTHER_ENDINGS)
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in endings and not file.name.startswith(".")
    )
    stems = {unicodedata.normalize("NFC", file.stem): file for file in files}
    if len(stems) < len(files):
        raise ValueError(f"{folder} has two files with one stem; stems match image to label.")
    return stems
