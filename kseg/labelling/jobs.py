"""The work of labelling a heap of images: what is to be done, and what a worker does with a batch.

An engine, or a loop, hands the batches out. Nothing is remembered beside the outputs: what is
there is done, so a job that was killed goes on where it was.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from kseg.data.opening import ENDINGS
from kseg.labelling.labeller import Labeller, png_of
from kseg.labelling.stores import (
    RowReader,
    Store,
    column_of,
    is_address,
    parquet_rows,
    pyarrow,
    read_any,
)
from kseg.sources import OUTPUT_ENDINGS, find_sources

PARQUET = "parquet"


class Piece(NamedTuple):
    """An image of a job.

    Attributes:
        name: Its path or address, or that of a Parquet file and the row, FILE#ROW.
        output: The path of its outputs within their folder, without an ending.
        file: The file that it is read from.
        row: Its row in a Parquet file; -1 for an image file.
        column: The column of a Parquet file that has the image.
    """

    name: str
    output: str
    file: str
    row: int = -1
    column: str = ""


def find_pieces(
    words: Sequence[str], *, recursive: bool = False, leave_out: Path | None = None
) -> tuple[list[Piece], list[str]]:
    """Finds the images of a job.

    Args:
        words: As for `kseg.sources.find_sources`; or Parquet files, and images, Parquet files and
            folders of object stores.
        recursive: Whether the folders within a folder are searched too; in a store they always are.
        leave_out: As for `find_sources`.

    Returns:
        The images, and a sentence for each word that names nothing.

    Raises:
        ValueError: If two images would have the same outputs.
    """
    pieces: list[Piece] = []
    problems: list[str] = []
    plain = [word for word in words if not is_address(word) and not _is_parquet(word)]
    found = find_sources(plain, recursive=recursive, leave_out=leave_out)
    problems += found.problems
    for source in found.sources:
        if source.is_video:
            problems.append(f"{source.name} is a video; label it without an engine.")
            continue
        name = source.name if "://" in source.name else str(Path(source.name).absolute())
        pieces.append(Piece(name, source.output.as_posix(), name))
    for word in words:
        if word in plain:
            continue
        try:
            pieces += _in_parquet(word, "") if _is_parquet(word) else _in_store(word)
        except ValueError as error:
            problems.append(str(error))
    outputs: dict[str, str] = {}
    for piece in pieces:
        other = outputs.setdefault(piece.output, piece.name)
        if other != piece.name:
            raise ValueError(
                f"{other} and {piece.name} would both be written as {piece.output}; label them in "
                "two runs with an --out each."
            )
    return pieces, problems


def _is_parquet(word: str) -> bool:
    return word.lower().endswith(".parquet")


def _in_store(word: str) -> Iterator[Piece]:
    store = Store(word)
    names = [""] if store.is_file() else store.files()
    count = 0
    for name in names:
        full = store.full(name)
        if _is_parquet(full):
            yield from _in_parquet(full, name)
        elif full.lower().endswith(ENDINGS) and not full.lower().endswith(OUTPUT_ENDINGS):
            output = PurePosixPath(name or full.rsplit("/", 1)[-1]).with_suffix("")
            yield Piece(full, str(output), full)
        else:
            continue
        count += 1
    if not count:
        raise ValueError(f"{word} holds no images or Parquet files.")


def _in_parquet(word: str, name: str) -> Iterator[Piece]:
    """Yields the rows of a file, or of the files of a folder."""
    full = word if is_address(word) else str(Path(word).absolute())
    store = Store(full)
    if not store.is_file():
        within = [name for name in store.files() if _is_parquet(name)]
        if not within:
            raise ValueError(f"{word}: there is no such file, and no folder of Parquet files.")
        for name in within:
            yield from _in_parquet(store.full(name), name)
        return
    rows, column = parquet_rows(full)
    folder = PurePosixPath(name or full.rsplit("/", 1)[-1]).with_suffix("")
    for row in range(rows):
        yield Piece(f"{full}#{row}", f"{folder}/{row:08d}", full, row, column)


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
        return [self._files(piece, reader) for piece in pieces]

    def _files(self, piece: Piece, reader: RowReader) -> Done:
        """Writes the files of an image."""
        from kseg.cli.writing import content_of

        wanted = self._targets(piece)
        if not self.replace:  # an engine repeats a batch whose worker died
            wanted = {k: name for k, name in wanted.items() if not self.out.exists(name)}
        if not wanted:
            return Done(piece.name, skipped=True)
        try:
            _, classes, _ = self.labeller.opened()
            image = self.labeller.read(_content(piece, reader), piece.name)
            found = self.labeller.label(image, piece.name)
            if found.labels is None:
                raise ValueError(found.error)
            for kind, name in wanted.items():
                content = content_of(
                    kind, image, found.labels, _named(classes), Path(piece.name).name
                )
                self.out.write(name, content, replace=self.replace)
        except (ValueError, OSError) as error:
            if hasattr(error, "exit_code"):
                raise
            return Done(piece.name, str(error))
        return Done(piece.name)

    def _part(self, pieces: Sequence[Piece], reader: RowReader) -> list[Done]:
        """Writes a Parquet file of a batch: its images, their label maps, what was wrong."""
        pa = pyarrow()
        named = hashlib.sha256("\n".join(piece.name for piece in pieces).encode()).hexdigest()
        part = f"part-{named[:20]}.parquet"
        if not self.replace and self.out.exists(part):
            return [Done(piece.name, skipped=True) for piece in pieces]
        rows = [self._row(piece, reader) for piece in pieces]
        columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _schema(pa)}
        for name in {key: None for row in rows for key in row["other"]}:
            if name not in columns:
                columns[name] = pa.array([row["other"].get(name) for row in rows])
        sink = pa.BufferOutputStream()
        pa.parquet.write_table(pa.table(columns), sink)
        self.out.write(part, sink.getvalue().to_pybytes(), replace=self.replace)
        return [Done(row["image"], row["error"] or "") for row in rows]

    def _row(self, piece: Piece, reader: RowReader) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(("height", "width", "labels", "error"))
        row |= {"image": piece.name, "other": {}}
        try:
            if piece.row >= 0:
                given = reader.row(piece.file, piece.row)
                row["other"] = {k: v for k, v in given.items() if k != piece.column}
            found = self.labeller.label(_content(piece, reader), piece.name)
        except (ValueError, OSError) as error:
            if hasattr(error, "exit_code"):
                raise
            return {**row, "error": str(error)}
        if found.labels is None:
            return {**row, "error": found.error}
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


def batches_of(pieces: Sequence[Piece], size: int) -> Iterator[list[Piece]]:
    """Yields the images in batches."""
    for first in range(0, len(pieces), size):
        yield list(pieces[first : first + size])


def as_columns(pieces: Sequence[Piece]) -> dict[str, np.ndarray]:
    """Returns images as columns, which engines hand out."""
    columns = zip(*pieces, strict=True)
    return {name: np.array(c) for name, c in zip(Piece._fields, columns, strict=True)}
