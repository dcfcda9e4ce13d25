"""The work of labelling a heap of images: what is left to do, and what a worker does with a batch.

An engine, or a loop, hands the batches out. Nothing is remembered beside the outputs: what is
there is done, so a job that was killed goes on where it was.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kseg.labelling.labeller import Labelled, Labeller, png_of
from kseg.labelling.parquet_parts import drop_rows, part_of, parts_in, rows_of, write_part
from kseg.labelling.pieces import Piece
from kseg.labelling.stores import RowReader, Store, read_any

PARQUET = "parquet"


class Done(NamedTuple):
    """What became of an image.

    Attributes:
        name: Of the piece.
        error: Why it could not be labelled; empty if it was.
        skipped: Whether its outputs were there.
        part: The Parquet file that its row is in; empty where there is none.
    """

    name: str
    error: str = ""
    skipped: bool = False
    part: str = ""


class JobPlan(NamedTuple):
    """What a job has before it.

    Attributes:
        left: The images that are not done.
        outdated: Parquet files of earlier jobs with rows that this one replaces.
    """

    left: list[Piece]
    outdated: list[str]


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

    def plan(self, pieces: Sequence[Piece]) -> JobPlan:
        """Looks at what is there already.

        Raises:
            ValueError: If a file that looks like one of an earlier job cannot be read, or is none.
        """
        if PARQUET in self.kinds:
            return self._plan_of_parts(pieces)
        if self.replace:
            return JobPlan(list(pieces), [])
        there = set(self.out.files())
        return JobPlan([p for p in pieces if not there.issuperset(self._targets(p).values())], [])

    def _plan_of_parts(self, pieces: Sequence[Piece]) -> JobPlan:
        names = {piece.name for piece in pieces}
        done: set[str] = set()
        outdated = []
        for part in parts_in(self.out):
            ours = [row for row in rows_of(self.out, part) if row[0] in names]
            good = {image for image, error in ours if not self._is_outdated(error)}
            done |= good
            if len(good) < len(ours):
                outdated.append(part)
        return JobPlan([piece for piece in pieces if piece.name not in done], outdated)

    def _is_outdated(self, error: str | None) -> bool:
        return self.replace or bool(error)  # what was wrong may have been mended

    def settle(self, pieces: Iterable[Piece], outdated: Iterable[str], written: set[str]) -> None:
        """Removes the rows that were replaced; those of other images stay.

        It comes last, so that a job that is killed has lost nothing. Rows that stayed then go with
        the next one.

        Args:
            pieces: The images of the job, those that were done before too.
            outdated: As in the plan.
            written: The Parquet files that the job wrote.
        """
        names = {piece.name for piece in pieces}
        for part in outdated:
            if part not in written:
                drop_rows(
                    self.out,
                    part,
                    lambda image, error: image in names and self._is_outdated(error),
                )

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
        names = [piece.name for piece in pieces]
        part = part_of(names)
        there = self.out.exists(part)
        if there and not self.replace:  # an engine repeats a batch whose worker died
            good = {image for image, error in rows_of(self.out, part) if not error}
            if good.issuperset(names):
                return [Done(name, skipped=True, part=part) for name in names]
        rows = [self._row(p, found, reader) for p, _, found in self._labelled(pieces, reader)]
        write_part(self.out, part, rows, replace=self.replace or there)
        return [Done(row["image"], row["error"] or "", part=part) for row in rows]

    def _row(self, piece: Piece, found: Labelled, reader: RowReader) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(("height", "width", "labels"))
        row |= {"image": piece.name, "other": {}, "error": found.error}
        if piece.row >= 0:
            with contextlib.suppress(ValueError, OSError):  # the error says so already
                row["other"] = reader.others(piece.file, piece.row, piece.column)
        if found.labels is None:
            return row
        height, width = found.labels.shape
        return {**row, "height": height, "width": width, "labels": png_of(found.labels)}

    def _targets(self, piece: Piece) -> dict[str, str]:
        from kseg.cli.writing import ENDINGS

        return {kind: piece.output + ENDINGS[kind] for kind in self.kinds}


def _content(piece: Piece, reader: RowReader) -> Any:
    """Returns the bytes of an image, or its address on the web."""
    if piece.row >= 0:
        value = reader.value(piece.file, piece.row, piece.column)
        if not value:
            raise ValueError(f"{piece.name} has no bytes.")
        return value
    return piece.file if piece.file.startswith("http") else read_any(piece.file)


def _named(classes: Any) -> Any:
    from kseg.cli.tflite_facts import unnamed

    return unnamed(255) if classes is None else classes
