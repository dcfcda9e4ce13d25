"""The Parquet files of a job: a row for each image, with its label map or what was wrong.

Only files of their form of name, with their columns, are read, replaced or removed: others of a
folder are not kseg's.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kseg.labelling.stores import Store, columns_of, pyarrow, read_table, source_columns

_NAME = re.compile(r"part-[0-9a-f]{20}\.parquet")
_COLUMNS = ("image", "height", "width", "labels", "error")


def part_of(images: Iterable[str]) -> str:
    """Returns the name of the file of a batch; the same images have the same one."""
    digest = hashlib.sha256("\n".join(images).encode()).hexdigest()
    return f"part-{digest[:20]}.parquet"


def parts_in(store: Store) -> list[str]:
    """Returns the names of the files of earlier jobs, and of others at this moment."""
    return [name for name in store.files() if _NAME.fullmatch(name)]


def rows_of(store: Store, part: str) -> Iterator[tuple[str, str | None]]:
    """Yields (image, what was wrong with it) of a file.

    Raises:
        ValueError: If it cannot be read, or is none of a job.
    """
    yield from columns_of(store.full(part), ("image", "error"), beside=_COLUMNS)


def write_part(store: Store, part: str, rows: list[dict[str, Any]], *, replace: bool) -> None:
    """Writes a file.

    Args:
        store: Where to.
        part: Its name.
        rows: What is in its columns; under "other", those of a Parquet source as pyarrow has them,
            which get "source_" before a name that is taken. They keep their types.
        replace: Whether one that is there is replaced.
    """
    pa = pyarrow()
    kinds = (pa.string(), pa.int32(), pa.int32(), pa.binary(), pa.string())
    columns = {
        name: pa.array([row[name] for row in rows], kind)
        for name, kind in zip(_COLUMNS, kinds, strict=True)
    }
    others = {key: key for row in rows for key in row["other"]}
    for kept, name in source_columns(others, columns).items():
        columns[kept] = _array([row["other"].get(name) for row in rows])
    _write(store, part, pa.table(columns), replace)


def _array(values: list[Any]) -> Any:
    """Returns columns of one row as one, None as null.

    Where several sources have several types, they are what holds all values, or else text.
    """
    pa = pyarrow()
    kinds = {value.type for value in values if value is not None}
    if len(kinds) == 1:
        (kind,) = kinds
        parts = [pa.nulls(1, kind) if value is None else value for value in values]
        chunks = [part for one in parts for part in getattr(one, "chunks", [one])]
        return pa.chunked_array(chunks, kind)
    scalars = [None if value is None else value[0] for value in values]
    try:
        return pa.array([None if scalar is None else scalar.as_py() for scalar in scalars])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        valid = [scalar if scalar is not None and scalar.is_valid else None for scalar in scalars]
        return pa.array([None if scalar is None else str(scalar) for scalar in valid], pa.string())


def drop_rows(store: Store, part: str, outdated: Callable[[str, str | None], bool]) -> None:
    """Removes rows of a file; a file without rows goes too.

    Args:
        store: Where it is.
        part: Its name.
        outdated: Tells by (image, what was wrong with it) whether a row goes.
    """
    kept = [not outdated(*row) for row in rows_of(store, part)]
    if not any(kept):
        store.remove(part)
    elif not all(kept):
        _write(store, part, read_table(store.full(part)).filter(pyarrow().array(kept)), True)


def _write(store: Store, part: str, table: Any, replace: bool) -> None:
    pa = pyarrow()
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    store.write(part, sink.getvalue().to_pybytes(), replace=replace)
