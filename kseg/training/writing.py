"""Writing files of a run folder so that a kill or a full disk leaves no part of one."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(OSError):
    """There is no room for a file; `errno` is the system's and `exit_code` the command line's."""

    exit_code = 5

    def __str__(self) -> str:
        """Returns the sentence, without the number before it."""
        return str(self.strerror)


@contextlib.contextmanager
def telling_of_full_disks(path: Path, needed: int) -> Iterator[None]:
    """Says how much room was needed where writing fails for want of it.

    Args:
        path: What is written.
        needed: Bytes.

    Raises:
        DiskFullError: In place of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFullError):
            raise
        free = shutil.disk_usage(path.parent).free
        raise DiskFullError(
            error.errno,
            f"{path} could not be written ({error.strerror}): it needs {needed:,} bytes, and "
            f"{free:,} are free on its disk, unless a quota or a limit on file sizes allows less. "
            "Make room, or take another folder; what was there before is whole.",
        ) from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file such that either the old or the new content is there, never a part.

    Raises:
        DiskFullError: If there is no room; what was there stays.
    """
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        with telling_of_full_disks(path, len(content)):
            temporary.write_bytes(content)
            sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record as it is read back: tuples become lists."""
    return json.loads(json.dumps(record))


def sync(path: Path) -> None:
    """Waits until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Returns the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(path: Path) -> None:
    """Removes what killed processes left half written in a run folder; its lock must be held."""
    for entry in (*path.glob(".*.tmp"), *(path / "checkpoints").glob(".*.tmp")):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
