"""Reading a file that anybody may have handed in: regular files only, never above a limit.

A FIFO would wait for a writer for ever, an endless device would fill the memory, and JSON nested a
few thousand deep ends the interpreter's stack. Here each of them is one sentence.
"""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# A string that never ends goes to the end of the text; possessive, so that nothing is tried twice.
_BRACKETS_AND_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Goes through a folder as `os.walk` does, and then through the folders that it links to.

    Each folder comes once: by its own name, where that is within, and not by that of a link.
    """
    seen, waiting = set(), [folder]
    while waiting:
        for place, within, names in os.walk(waiting.pop(0)):
            real, here = os.path.realpath(place), Path(place)
            if real in seen:
                within.clear()
                continue
            seen.add(real)
            within.sort()
            yield here, within, names  # whoever reads it may leave out some of what is within
            waiting += [here / name for name in within if os.path.islink(here / name)]


def files_in(folder: Path) -> Iterator[Path]:
    """Yields the files within a folder, at any depth, as `walk` finds them."""
    for place, _, names in walk(folder):
        yield from (place / name for name in names)


def read_bytes(path: str | Path, *, limit: int) -> bytes:
    """Returns the content of a regular file.

    Args:
        path: The file; a symbolic link is followed to what it names.
        limit: Bytes that the file may have at most. They are compared with the file's size before
            anything is read.

    Raises:
        ValueError: If the file is missing, cannot be read, is a folder, a pipe, a device or a
            socket, or is larger than the limit.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:  # a null byte in a name is a ValueError
        raise ValueError(f"{path} cannot be read: {_reason(error)}.") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
            raise ValueError(f"{path} cannot be read: it is {kind}, where a file is expected.")
        if found.st_size > limit:
            raise ValueError(
                f"{path} cannot be read: it has {found.st_size:,} bytes, over the limit of "
                f"{limit:,} for such a file."
            )
        with open(handle, "rb", closefd=False) as stream:
            size = found.st_size or limit  # files of /proc say 0 bytes
            content = stream.read(size + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {_reason(error)}.") from None
    finally:
        os.close(handle)
    if len(content) > size:
        raise ValueError(f"{path} cannot be read: it has more than {size:,} bytes.")
    return content


def read_text(path: str | Path, *, limit: int) -> str:
    """Returns the text of a regular file in UTF-8; a byte order mark is left out.

    Args:
        path: The file.
        limit: Bytes that it may have at most.

    Raises:
        ValueError: As `read_bytes`, or if the bytes are not UTF-8.
    """
    try:
        return read_bytes(path, limit=limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{error.object[error.start]:02x}"
        raise ValueError(f"{path} is not a text in UTF-8: {byte}.") from None


def read_json(path: str | Path, *, limit: int, depth: int = 50) -> Any:
    """Returns what a JSON file holds.

    Args:
        path: The file.
        limit: Bytes that it may have at most.
        depth: Lists and objects that may lie within each other.

    Raises:
        ValueError: As `read_text`, or if the text is not JSON, is nested deeper, has a key twice
            in one object, or holds NaN, an infinite number or one of over 4,000 digits.
    """
    text = read_text(path, limit=limit)
    if _depth(text) > depth:
        raise ValueError(f"{path} is not read: its JSON is nested deeper than {depth} levels.")
    try:
        return json.loads(
            text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {str(error).rstrip('.')}.") from None


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ELOOP:
        return "its symbolic links lead in a circle"
    if code == errno.ENXIO:
        return "it is a socket or a device, where a file is expected"
    return getattr(error, "strerror", None) or str(error)


def _depth(text: str) -> int:
    """Returns how deep brackets are nested; those within strings do not count."""
    deepest = level = 0
    for found in _BRACKETS_AND_STRINGS.finditer(text):
        if (mark := found[0]) in "[{":
            level += 1
            deepest = max(deepest, level)
        elif mark in "]}":
            level -= 1
    return deepest


def _no_constant(name: str):
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} comes twice")
    return found
