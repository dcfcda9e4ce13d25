"""List files: lines of an image and its label file."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kseg.data.formats.drawing import Drawing
from kseg.data.opening import ENDINGS
from kseg.data.yaml_text import decoded
from kseg.safe_files import read_bytes

_MAX_BYTES = 1 << 26
# Images of formats that are not read: found here, so that reading says what they are.
OTHER_ENDINGS = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".eps", ".dds", ".psd", ".npy")
_IMAGE = "(?:" + "|".join(re.escape(end) for end in (*ENDINGS, *OTHER_ENDINGS)) + ")"
_LINE = re.compile(rf"(.+?{_IMAGE})[\s,;]+(.+{_IMAGE})", re.IGNORECASE)
_NAME = re.compile(rf".*{_IMAGE}", re.IGNORECASE)
_QUOTED = re.compile(r"\"([^\"]+)\"[\s,;]+\"([^\"]+)\"|'([^']+)'[\s,;]+'([^']+)'")


class Note(UserWarning):
    """Says what was assumed or left out where nothing is wrong."""


class Pair(NamedTuple):
    """An image and its labels.

    Attributes:
        image: The image file.
        label_file: The file that has the labels.
        drawing: The shapes of the image where that file has shapes; None where it is an image.
    """

    image: Path
    label_file: Path
    drawing: Drawing | None = None


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


def is_pair(line: str) -> bool:
    """Returns whether a line names two image files."""
    return _parts(line) is not None


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
