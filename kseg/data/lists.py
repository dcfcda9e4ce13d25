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
# Labels may be a folder of masks, one for each object; a slash at its end says so.
_LABELS = f"(?:{_IMAGE}|[/\\\\])"
_LINE = re.compile(rf"(.+?{_IMAGE})[\s,;]+(.+{_LABELS})", re.IGNORECASE)
_OTHERS = re.compile(rf"(.+?{_LABELS})[\s,;]+(.+{_LABELS})", re.IGNORECASE)
_NAME = re.compile(rf".*{_IMAGE}", re.IGNORECASE)
_LABEL = re.compile(rf".*{_LABELS}", re.IGNORECASE)
_QUOTED = re.compile(r"""("[^"]+"|'[^']+')([\s,;]+("[^"]+"|'[^']+')){1,2}""")
_IN_QUOTES = re.compile(r"""["']([^"']+)["']""")


class Note(UserWarning):
    """Says what was assumed or left out where nothing is wrong."""


class Pair(NamedTuple):
    """An image and its labels.

    Attributes:
        image: The image file.
        label_file: The file that has the labels.
        drawing: The shapes of the image where that file has shapes; None where it is an image.
        instance_file: A file of ids that tells objects apart, or a folder with a mask for each;
            None where the labels do so, or nothing does.
    """

    image: Path
    label_file: Path
    drawing: Drawing | None = None
    instance_file: Path | None = None


def listed_pairs(root: Path, path: Path, *, instances: bool = False) -> list[Pair]:
    """Reads a list file of `image label` lines.

    Args:
        root: The folder that paths in the list are relative to.
        path: The list: UTF-8, or UTF-16 with a byte order mark. Between two paths stand spaces, a
            tab, a comma or a semicolon; they may be in quotes, and backslashes may be slashes.
        instances: Whether a line may have a third path, of what tells its objects apart.

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
        if line and not is_comment(root, line):
            parts = _parts(line)
            if parts is None or len(parts) > 2 + instances:
                raise ValueError(
                    f"{path}, line {number} must be `image label`, two image files such as "
                    "`images/1.png labels/1.png`; between names with spaces put a tab."
                )
            image, label, *others = (_found(root, part) for part in parts)
            pairs.append(Pair(image, label, None, *others))
    return pairs


def is_pair(line: str) -> bool:
    """Returns whether a line names two image files."""
    return _parts(line) is not None


def is_comment(root: Path, line: str) -> bool:
    """Returns whether a line is a comment: it begins with #, as no file that it names does."""
    if not line.startswith("#"):
        return False
    parts = _parts(line)
    return parts is None or not os.path.exists(_found(root, parts[0]))


def pair_is_there(root: Path, line: str) -> bool:
    """Returns whether a line names two files, and both are there."""
    parts = _parts(line)
    return parts is not None and all(os.path.exists(_found(root, part)) for part in parts)


def _parts(line: str) -> tuple[str, ...] | None:
    """Returns the two or three paths of a line; None if they are not so many that end as such."""
    if _QUOTED.fullmatch(line):
        parts = tuple(_IN_QUOTES.findall(line))
    elif line.count("\t") in (1, 2):
        parts = tuple(part.strip().strip("\"'") for part in line.split("\t"))
    elif plain := _LINE.fullmatch(line):
        parts = tuple(part.strip("\"'") for part in (plain[1], *_others(plain[2])))
    else:
        return None
    right = len(parts) in (2, 3) and _NAME.fullmatch(parts[0])
    return parts if right and all(_LABEL.fullmatch(part) for part in parts[1:]) else None


def _others(text: str) -> tuple[str, ...]:
    """Returns the paths that a text has, each up to the first ending of its kind."""
    several = _OTHERS.fullmatch(text)
    return (several[1], *_others(several[2])) if several else (text,)


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
