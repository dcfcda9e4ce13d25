"""The table of images that could not be labelled: a row for each, written as they come."""

import csv
import io
import os
from pathlib import Path

from kseg.cli.output import clean

_HEADER = b"image,error"
_HEAD = 64  # bytes, enough to tell


class ErrorTable:
    """A CSV file with the columns image and error; there is none where nothing went wrong.

    Attributes:
        name: Of the file.
        rows: How many images it lists.
    """

    def __init__(self, folder: Path | str, shard: str | None = None):
        """Begins the table anew: what was wrong is tried again, and listed again if it fails.

        Args:
            folder: The folder of the outputs, or an address of an object store.
            shard: Which part of the images, as I/N; the parts have tables of their own.

        Raises:
            ValueError: If there is a file of its name that is no such table.
        """
        part = "" if shard is None else f".{shard.replace('/', '-of-')}"
        self.name, self.rows = f"errors{part}.csv", 0
        self._address = None if isinstance(folder, Path) else folder
        self._path = folder / self.name if isinstance(folder, Path) else None
        self._text = io.StringIO(newline="")
        head = self._head()
        if head and head.splitlines()[0] != _HEADER:
            raise ValueError(
                f"{folder}/{self.name} would be replaced by a table of kseg's, and is none, as it "
                f"does not begin with {_HEADER.decode()}; move it, or take another --out."
            )
        self._earlier = head is not None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _head(self) -> bytes | None:
        """Returns how the file begins that is there, which a kill may have left empty; or None."""
        if self._path is not None:
            if self._path.is_file():
                with open(self._path, "rb") as file:
                    return file.read(_HEAD)
            return b"no file" if os.path.lexists(self._path) else None
        from kseg.labelling.stores import Store

        store = Store(str(self._address))
        return store.head(self.name, _HEAD) if store.exists(self.name) else None

    def add(self, image: str, error: str) -> None:
        """Adds a row; in a folder it is in the file at once."""
        line = io.StringIO(newline="")
        rows = csv.writer(line, lineterminator="\n")
        if not self.rows:
            rows.writerow(_HEADER.decode().split(","))
        rows.writerow([clean(image), clean(error)])
        self.rows += 1
        if self._path is None:
            self._text.write(line.getvalue())
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(self._path, flags, 0o666), "w", encoding="utf-8", newline="") as file:
            file.write(line.getvalue())

    def close(self) -> None:
        """Writes the table where files of a store are written whole, or removes an earlier one."""
        if self._address is None or not (self.rows or self._earlier):
            return
        from kseg.labelling.stores import Store

        store = Store(self._address)
        if self.rows:
            store.write(self.name, self._text.getvalue().encode(), replace=True)
        else:
            store.remove(self.name)
