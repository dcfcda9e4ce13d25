"""The work of labelling a heap of images: what is left to do, and what a worker does with a batch.

An engine, or a loop, hands the batches out. Nothing is remembered beside the outputs: what is
there is done, so a job that was killed goes on where it was.
"""

import contextlib
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kseg.labelling.labeller import Labelled, Labeller, png_of
from kseg.labelling.pieces import Piece
from kseg.labelling.stores import RowReader, Store, column_of, pyarrow, read_any

PARQUET = "parquet"


class Done(NamedTuple):
    """What became of an image.

    Attributes:
        name: Of the piece.
        error: Why it could not be labelled; empty if it was.
        skipped: Whether its outputs were there.
    """

    name: str
    error: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class Work:
    """What a worker does with a batch; it can be pickled.

    Attributes:
        labeller: The model.
        out: Where outputs go.
        kinds: What is written, as for `kseg predict --save`; or PARQUET alone.
        replace: Whether files that are there are replaced.
    """

    labeller: Labeller
    out: Store
    kinds: tuple[str, ...]
    replace: bool = False

    def clear(self) -> None:
        """Removes the Parquet files of an earlier job, whose batches may have been others."""
        if PARQUET in self.kinds:
            for part in self._parts():
                self.out.remove(part)

    def left(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Returns the images that are not done."""
        if self.replace:
            return list(pieces)
        if PARQUET in self.kinds:
            parts = map(self.out.full, self._parts())
            done = {name for part in parts for name in column_of(part, "image")}
            return [piece for piece in pieces if piece.name not in done]
        there = set(self.out.files())
        return [p for p in pieces if not there.issuperset(self._targets(p).values())]

    def __call__(self, pieces: Sequence[Piece]) -> list[Done]:
        """Labels images and writes their outputs; one that is bad is said and stops nothing."""
        self.labeller.opened()  # a missing model is no fault of an image
        reader = RowReader()
        if PARQUET in self.kinds:
            return self._part(pieces, reader)
        return self._files(pieces, reader)

    def _files(self, pieces: Sequence[Piece], reader: RowReader) -> list[Done]:
        """Writes the files of images."""
        wanted = {piece: self._targets(piece) for piece in pieces}
        if not self.replace:  # an engine repeats a batch whose worker died
            for names in wanted.values():
                for kind in [k for k, name in names.items() if self.out.exists(name)]:
                    del names[kind]
        left = [piece for piece in pieces if wanted[piece]]
        done = {
            piece: self._written(piece, image, found, wanted[piece])
            for piece, image, found in self._labelled(left, reader)
        }
        return [done.get(piece) or Done(piece.name, skipped=True) for piece in pieces]

    def _written(
        self, piece: Piece, image: np.ndarray, found: Labelled, wanted: dict[str, str]
    ) -> Done:
        from kseg.cli.writing import content_of

        if found.labels is None:
            return Done(piece.name, found.error or "")
        classes = _named(self.labeller.opened()[1])
        try:
            for kind, name in wanted.items():
                content = content_of(kind, image, found.labels, classes, Path(piece.name).name)
                self.out.write(name, content, replace=self.replace)
        except (ValueError, OSError) as error:
            if hasattr(error, "exit_code"):
                raise
            return Done(piece.name, str(error))
        return Done(piece.name)

    def _labelled(
        self, pieces: Sequence[Piece], reader: RowReader
    ) -> Iterator[tuple[Piece, Any, Labelled]]:
        """Yields images, as arrays, and their label maps; few of them are in memory at a time."""
        images: deque[Any] = deque()

        def read() -> Iterator[Any]:
            for piece in pieces:
                try:
                    images.append(self.labeller.read(_content(piece, reader), piece.name))
                except (ValueError, OSError) as error:
                    images.append(error)
                yield images[-1]

        for piece, found in zip(pieces, self.labeller.label_all(read()), strict=True):
            yield piece, images.popleft(), found

    def _part(self, pieces: Sequence[Piece], reader: RowReader) -> list[Done]:
        """Writes a Parquet file of a batch: its images, their label maps, what was wrong."""
        pa = pyarrow()
        named = hashlib.sha256("\n".join(piece.name for piece in pieces).encode()).hexdigest()
        part = f"part-{named[:20]}.parquet"
        if not self.replace and self.out.exists(part):
            return [Done(piece.name, skipped=True) for piece in pieces]
        rows = [self._row(p, found, reader) for p, _, found in self._labelled(pieces, reader)]
        columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _schema(pa)}
        for name in {key: None for row in rows for key in row["other"]}:
            if name not in columns:
                columns[name] = pa.array([row["other"].get(name) for row in rows])
        sink = pa.BufferOutputStream()
        pa.parquet.write_table(pa.table(columns), sink)
        self.out.write(part, sink.getvalue().to_pybytes(), replace=self.replace)
        return [Done(row["image"], row["error"] or "") for row in rows]

    def _row(self, piece: Piece, found: Labelled, reader: RowReader) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(("height", "width", "labels"))
        row |= {"image": piece.name, "other": {}, "error": found.error}
        if piece.row >= 0:
            with contextlib.suppress(ValueError, OSError):  # the error says so already
                given = reader.row(piece.file, piece.row)
                row["other"] = {k: v for k, v in given.items() if k != piece.column}
        if found.labels is None:
            return row
        height, width = found.labels.shape
        return {**row, "height": height, "width": width, "labels": png_of(found.labels)}

    def _parts(self) -> list[str]:
        names = self.out.files()
        return [name for name in names if name.startswith("part-") and name.endswith(".parquet")]

    def _targets(self, piece: Piece) -> dict[str, str]:
        from kseg.cli.writing import ENDINGS

        return {kind: piece.output + ENDINGS[kind] for kind in self.kinds}


def _schema(pa: Any) -> list[tuple[str, Any]]:
    sides = [("height", pa.int32()), ("width", pa.int32())]
    return [("image", pa.string()), *sides, ("labels", pa.binary()), ("error", pa.string())]


def _content(piece: Piece, reader: RowReader) -> Any:
    """Returns the bytes of an image, or its address on the web."""
    if piece.row >= 0:
        value = reader.row(piece.file, piece.row)[piece.column]
        if not value:
            raise ValueError(f"{piece.name} has no bytes.")
        return value
    return piece.file if piece.file.startswith("http") else read_any(piece.file)


def _named(classes: Any) -> Any:
    from kseg.cli.tflite_facts import unnamed

    return unnamed(255) if classes is None else classes
