"""Fetching a file once: limited in size and patience, and kept only if its hash is right."""

import contextlib
import hashlib
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

from kseg.progress import progress

_SILENCE = 30.0  # seconds without a byte, or without a connection
_PIECE = 1 << 20


def fetch(url: str, target: Path, *, md5: str | None, limit: int) -> Path:
    """Returns a file, from its cache or else from its address.

    A cached file whose hash is wrong is removed and fetched anew. What comes appears under its name
    only once it is whole and right.

    Args:
        url: The address.
        target: Where the file is kept.
        md5: Of the file. Where it is None nobody can tell whether the file is the one that was
            meant; that is said on standard error when it is fetched.
        limit: Bytes that the file may have.

    Raises:
        OSError: If it cannot be fetched.
        ValueError: If it is too large, cut short, or has another hash.
    """
    if target.is_file() and (md5 is None or _md5(target) == md5):
        return target
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            _copy(url, file, limit)
        if md5 is not None and (found := _md5(temporary)) != md5:
            raise ValueError(f"its hash does not match the md5 {md5}; it is {found}")
        if md5 is None:
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            print(
                f"{target.name} was taken as {url} gave it: no hash of it is published. Its sha256 "
                f"is {digest}.",
                file=sys.stderr,
            )
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _copy(url: str, file, limit: int) -> None:
    with urllib.request.urlopen(url, timeout=_SILENCE) as answer:
        stated = answer.headers.get("Content-Length")
        total = int(stated) if stated and stated.isdecimal() else None
        if total is not None and total > limit:
            raise ValueError(f"it has {total:,} bytes, over the limit of {limit:,}")
        size = 0
        with contextlib.closing(progress(total=total, unit="byte", label="fetching")) as bar:
            while piece := answer.read(_PIECE):
                size += len(piece)
                if size > limit:
                    raise ValueError(f"it has over {limit:,} bytes")
                file.write(piece)
                bar.update(len(piece))
        if total is not None and size < total:
            raise ValueError(f"retrieval incomplete: got {size:,} of {total:,} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
