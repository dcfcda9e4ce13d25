"""The table of images that could not be labelled: a row for each, written as they come."""

import csv
import io
import os
from pathlib import Path

from kseg.cli.output import clean


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
        """
        part = "" if shard is None else f".{shard.replace('/', '-of-')}"
        self.name, self.rows = f"errors{part}.csv", 0
        self._address = None if isinstance(folder, Path) else folder
        self._path = folder / self.name if isinstance(folder, Path) else None
        self._text = io.StringIO(newline="")
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def add(self, image: str, error: str) -> None:
        """Adds a row; in a folder it is in the file at once."""
        line = io.StringIO(newline="")
        rows = csv.writer(line, lineterminator="\n")
        if not self.rows:
            rows.writerow(["image", "error"])
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
        """Writes the table where files of a store are written whole."""
        if self._address is not None and self.rows:
            from kseg.labelling.stores import Store

            Store(self._address).write(self.name, self._text.getvalue().encode(), replace=True)
