"""The images of a job: files, those of object stores, and rows of Parquet files."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from kseg.data.opening import ENDINGS
from kseg.labelling.stores import Store, is_address, parquet_rows, place_of
from kseg.sources import OUTPUT_ENDINGS, find_sources


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
    words: Sequence[str], *, recursive: bool = False, leave_out: Path | str | None = None
) -> tuple[list[Piece], list[str]]:
    """Finds the images of a job.

    Args:
        words: As for `kseg.sources.find_sources`; or Parquet files, and images, Parquet files and
            folders of object stores.
        recursive: Whether the folders within a folder are searched too; in a store they always are.
        leave_out: As for `find_sources`; or an address.

    Returns:
        The images, and a sentence for each word that names nothing, and for each line of a list
        and each Parquet file that is bad.

    Raises:
        ValueError: If two images would have the same outputs.
    """
    pieces: list[Piece] = []
    problems: list[str] = []
    plain = [word for word in words if not is_address(word) and not _is_parquet(word)]
    folder = leave_out if isinstance(leave_out, Path) else None
    found = find_sources(plain, recursive=recursive, leave_out=folder)
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
            find = _in_parquet if _is_parquet(word) else _in_store
            pieces += find(word, str(leave_out or ""), problems)
        except ValueError as error:
            problems.append(str(error))
    outputs: dict[str, str] = {}
    pieces = list(dict.fromkeys(pieces))  # what is named twice is labelled once
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


def _in_store(word: str, leave_out: str, problems: list[str]) -> Iterator[Piece]:
    store = Store(word)
    names = [""] if store.is_file() else _searched(store, leave_out)
    count = 0
    for name in names:
        full = store.full(name)
        if _is_parquet(full):
            yield from _rows(full, name, problems)
        elif full.lower().endswith(ENDINGS) and not full.lower().endswith(OUTPUT_ENDINGS):
            output = PurePosixPath(name or full.rsplit("/", 1)[-1]).with_suffix("")
            yield Piece(full, str(output), full)
        else:
            continue
        count += 1
    if not count:
        raise ValueError(f"{word} holds no images or Parquet files.")


def _in_parquet(word: str, leave_out: str, problems: list[str]) -> Iterator[Piece]:
    """Yields the rows of a file, or of the files of a folder."""
    store = Store(word if is_address(word) else str(Path(word).absolute()))
    if store.is_file():
        yield from _rows(store.root, "", problems)
        return
    within = [name for name in _searched(store, leave_out) if _is_parquet(name)]
    if not within:
        raise ValueError(f"{word}: there is no such file, and no folder of Parquet files.")
    for name in within:
        yield from _rows(store.full(name), name, problems)


def _searched(store: Store, leave_out: str) -> list[str]:
    """Returns the names in a store without those in a folder within it that is left out."""
    start = f"{leave_out.rstrip('/')}/"
    if not leave_out or f"{store.root.rstrip('/')}/" == start:
        return store.files()
    return [name for name in store.files() if not store.full(name).startswith(start)]


def _rows(full: str, name: str, problems: list[str]) -> Iterator[Piece]:
    """Yields the rows of a Parquet file; a bad one is said, and others go on."""
    try:
        rows, column = parquet_rows(full)
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return
    folder = PurePosixPath(name or full.rsplit("/", 1)[-1]).with_suffix("")
    for row in range(rows):
        yield Piece(f"{full}#{row}", f"{folder}/{row:08d}", full, row, column)


def check_apart(pieces: Sequence[Piece], out: str) -> None:
    """Refuses a place of Parquet files that holds what they are made from.

    Args:
        pieces: The images of a job.
        out: Where its Parquet files go.

    Raises:
        ValueError: If one of the images lies there.
    """
    folders = {os.path.dirname(piece.file): piece.file for piece in pieces}
    for folder, file in folders.items():
        if place_of(folder) == place_of(out):
            raise ValueError(
                f"{file} is to be labelled and lies in {out}, where --save parquet would write its "
                "own files; take another folder as --out."
            )


def batches_of(pieces: Sequence[Piece], size: int) -> Iterator[list[Piece]]:
    """Yields the images in batches."""
    for first in range(0, len(pieces), size):
        yield list(pieces[first : first + size])


def as_columns(pieces: Sequence[Piece]) -> dict[str, np.ndarray]:
    """Returns images as columns, which engines hand out."""
    columns = zip(*pieces, strict=True)
    return {name: np.array(c) for name, c in zip(Piece._fields, columns, strict=True)}
