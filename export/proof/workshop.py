"""Where a file is made before it is delivered, and what keeps two exports out of each other's way.

A temporary folder beside the file to be holds all that belongs to it until everything is written.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kseg.training.writing import telling_of_full_disks

# What may be written beside X.tflite.
ENDINGS = (".json", ".html", ".labels.txt", "_vela.tflite", ".mlirbc", ".vmfb")
_COMPILED = ("_vela.tflite",)
_PREFIX = ".export-"
_MADE = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")  # as tempfile makes them
_LOCK = "lock"


@contextlib.contextmanager
def workshop(path: Path, needed: int) -> Iterator[Path]:
    """Gives a temporary folder on the file system of a file to be.

    Folders that killed exports left there are removed first. Each holds a lock file that its
    process has locked; the lock goes with the process, so that it is certain which are needed.

    Args:
        path: The file to be.
        needed: How many bytes are needed on the way to it, for the message about a full disk.

    Yields:
        The folder. It is removed at the end.

    Raises:
        DiskFullError: If the disk or the temporary folder of the system is full.
    """
    _remove_leftovers(path.parent)
    with (
        _telling_of_full_disks(path, needed),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=_PREFIX) as name,
        (Path(name) / "unlocked").open("w") as lock,
    ):
        _lock(lock.fileno())
        # Under its name only once it is locked, or another export would take it for a leftover.
        os.replace(lock.name, Path(name) / _LOCK)
        yield Path(name)


def save(path: Path, content: bytes) -> None:
    """Writes a file into a workshop and waits until it is on disk.

    Args:
        path: The file, in the workshop.
        content: What is to be in it.

    Raises:
        DiskFullError: If the disk is full.
    """
    place = path.parent.parent / path.name
    with telling_of_full_disks(place, len(content)), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other exports from delivering into a folder at the same time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuses a place where something else is.

    Args:
        path: X.tflite; what is delivered beside it counts, too.
        overwrite: Whether files of an earlier export may be replaced.

    Raises:
        ValueError: If something there must stay.
    """
    for existing in filter(Path.exists, (path, *(beside(path, ending) for ending in ENDINGS))):
        if not existing.is_file():
            raise ValueError(f"{existing} is no file; export elsewhere.")
        if not overwrite:
            raise ValueError(f"{existing} exists; export elsewhere, or allow it to be overwritten.")
        if existing != path and not _is_of_export(existing, path):
            raise ValueError(
                f"{existing} is in the way, and no report says that an export of {path.name} made "
                "it; move it, or export elsewhere."
            )


def _is_of_export(existing: Path, path: Path) -> bool:
    """Says whether a file beside X.tflite came with it, as far as the report X.json says."""
    try:
        report = json.loads(beside(path, ".json").read_text(encoding="utf-8"))
        made_by_export = "sha256" in report["file"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not existing.name.endswith(_COMPILED):
        return made_by_export
    return made_by_export and not beside(existing, ".json").exists()


def beside(path: Path, ending: str) -> Path:
    """Returns the path of a file that is delivered with X.tflite, such as X.json."""
    return path.with_name(path.stem + ending)


def _remove_leftovers(parent: Path) -> None:
    for folder in (f for f in parent.glob(f"{_PREFIX}*") if _MADE.fullmatch(f.name)):
        # No lock file: made a moment ago, or not by an export.
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held while the process lives
            shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # some network file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextlib.contextmanager
def _telling_of_full_disks(path: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        told = _as_system_error(error)
        if not isinstance(told, OSError):
            raise
        # The error seldom says on which of the two disks there is no room.
        places = (path, Path(tempfile.gettempdir()) / path.name)
        tightest = min(places, key=lambda place: shutil.disk_usage(place.parent).free)
        with telling_of_full_disks(tightest, needed):
            raise told from error.__cause__


def _as_system_error(error: Exception) -> Exception:
    """Returns an error of TensorFlow that means a full disk as Python's own; others as they are."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if not isinstance(error, OSError) and os.strerror(number) in str(error):
            return OSError(number, os.strerror(number))
    return error
