"""Where images lie and outputs go: folders, and object stores that pyarrow reads."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from kseg.safe_files import read_bytes

_ADDRESS = re.compile(r"(?!https?://)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_AS_IT_IS = "/!$&'()*+,;=:@"  # of a file's name in an address
_LARGEST = 1 << 30  # bytes of an image


def is_address(word: str) -> bool:
    """Returns whether a word names a place of an object store, such as s3://bucket/folder."""
    return bool(_ADDRESS.match(word))


def place_of(name: str) -> str:
    """Returns a path or an address in the form that all names of one place share."""
    if name.lower().startswith("file://"):
        name = unquote(name[len("file://") :])
    return name.rstrip("/") if is_address(name) else os.path.realpath(name)


def pyarrow() -> Any:
    """Returns the package pyarrow, with the parts that are used.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.fs
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files and object stores need pyarrow: pip install 'kseg[ray]'."
        ) from error
    return pyarrow


@dataclass(frozen=True)
class Store:
    """A folder, or a place of an object store.

    Attributes:
        root: The folder, or an address such as s3://bucket/folder.
    """

    root: str

    def full(self, name: str) -> str:
        """Returns the path or address of a file in it."""
        if not name:
            return self.root
        # In an address, a space or a "#" of a file's name would end it, or make it another one.
        name = quote(name, safe=_AS_IT_IS) if is_address(self.root) else name
        return f"{self.root.rstrip('/')}/{name}"

    def files(self) -> list[str]:
        """Returns the names of all files in it and below, sorted; none where it does not exist.

        Raises:
            ValueError: If the store does not answer.
        """
        fs, path = _opened(self.root)
        selector = pyarrow().fs.FileSelector(path, recursive=True, allow_not_found=True)
        with _said(self.root):
            found = fs.get_file_info(selector)
        start = len(path.rstrip("/")) + 1
        return sorted(entry.path[start:] for entry in found if entry.is_file)

    def is_file(self) -> bool:
        """Returns whether the address is that of a file."""
        fs, path = _opened(self.root)
        with _said(self.root):
            return bool(fs.get_file_info(path).is_file)

    def exists(self, name: str) -> bool:
        """Returns whether there is a file of this name."""
        return Store(self.full(name)).is_file()

    def head(self, name: str, count: int) -> bytes:
        """Returns the first bytes of a file.

        Raises:
            ValueError: If it cannot be read.
        """
        fs, path = _opened(self.full(name))
        with _said(self.full(name)), fs.open_input_file(path) as file:
            return bytes(file.read(count))

    def remove(self, name: str) -> None:
        """Removes a file."""
        fs, path = _opened(self.full(name))
        with _said(self.full(name)):
            fs.delete_file(path)

    def write(self, name: str, content: bytes, *, replace: bool) -> None:
        """Writes a file, which is there whole or not at all.

        Raises:
            FileExistsError: If there is one in a folder and it is not to be replaced.
            ValueError: If it cannot be written.
        """
        if not is_address(self.root):
            from kseg.cli.writing import write_whole

            write_whole(Path(self.root), Path(self.root) / name, content, replace=replace)
            return
        fs, path = _opened(self.full(name))
        with _said(self.full(name)):
            if fs.type_name == "local":  # file://, where a kill would leave a part
                write_local(path, content, replace)
                return
            with fs.open_output_stream(path) as stream:  # an object appears when it is closed
                stream.write(content)


def write_local(path: str, content: bytes, replace: bool) -> None:
    """Writes a file of this computer whole or not at all."""
    from kseg.cli.writing import write_whole

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(path).parent, Path(path), content, replace=replace)


def read_any(name: str) -> bytes:
    """Returns what the file of a path or an address holds.

    Raises:
        ValueError: If it cannot be read.
    """
    if not is_address(name):
        return read_bytes(name, limit=_LARGEST)
    fs, path = _opened(name)
    with _said(name), fs.open_input_file(path) as file:
        if file.size() > _LARGEST:
            raise ValueError(f"{name} has {file.size():,} bytes, over the limit of {_LARGEST:,}.")
        return file.read()


def parquet_rows(name: str) -> tuple[int, str]:
    """Returns how many rows a Parquet file has, and the column of its images.

    A column of images holds bytes, or, as Hugging Face's data sets have it, "bytes" and "path".

    Raises:
        ValueError: If it cannot be read, or it is not plain which column has the images.
    """
    pa = pyarrow()
    with _opened_parquet(name) as file:
        schema = file.schema_arrow
        found = [field.name for field in schema if _holds_images(pa, field.type)]
        if len(found) > 1:
            found = [column for column in found if column in ("image", "bytes")] or found
        if len(found) != 1:
            many = f"several: {', '.join(found)}" if found else "none"
            raise ValueError(
                f"{name} must have one column of bytes with its images; it has {many}. Call the "
                "one with the images image."
            )
        return file.metadata.num_rows, found[0]


class RowReader:
    """Reads rows of Parquet files; the last group of rows stays, as batches follow each other."""

    def __init__(self) -> None:
        """Makes the reader."""
        self._key: tuple[str, int] | None = None
        self._group: Any = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return RowReader, ()  # what was read stays where it is

    def row(self, name: str, number: int) -> dict[str, Any]:
        """Returns a row of a file as a dict.

        Raises:
            ValueError: If it cannot be read.
        """
        return self._one(name, number).to_pylist()[0]

    def value(self, name: str, number: int, column: str) -> Any:
        """Returns one value of a row; errors as `row`."""
        return self._one(name, number).column(column)[0].as_py()

    def others(self, name: str, number: int, column: str) -> dict[str, Any]:
        """Returns the columns of a row but one, each as pyarrow has it, type and all."""
        one = self._one(name, number)
        return {key: one.column(key) for key in one.column_names if key != column}

    def _one(self, name: str, number: int) -> Any:
        if self._key is None or self._key[0] != name or not self._first <= number < self._last:
            self._read(name, number)
        return self._group.slice(number - self._first, 1)

    def _read(self, name: str, number: int) -> None:
        with _opened_parquet(name) as file:
            last = 0
            for group in range(file.metadata.num_row_groups):
                first, last = last, last + file.metadata.row_group(group).num_rows
                if number < last:
                    self._group, self._key = file.read_row_group(group), (name, group)
                    self._first, self._last = first, last
                    return
        raise ValueError(f"{name} has no row {number}.")


def source_columns(columns: Mapping[str, Any], made: Collection[str]) -> dict[str, Any]:
    """Returns columns of a source by the names that they get beside those that kseg makes.

    A name that is taken gets "source_" before it, until it is free.
    """
    named: dict[str, Any] = {}
    for name, column in columns.items():
        free = name
        while free in made or (free != name and free in columns):
            free = f"source_{free}"
        named[free] = column
    return named


def columns_of(
    name: str, columns: Sequence[str], beside: Sequence[str] = ()
) -> Iterator[tuple[Any, ...]]:
    """Yields the values of columns of a Parquet file, row by row.

    Args:
        name: The file.
        columns: What is read.
        beside: More columns that it must have.

    Raises:
        ValueError: If it cannot be read, or has other columns.
    """
    with _said(name), _opened_parquet(name) as file:
        lacking = {*columns, *beside}.difference(file.schema_arrow.names)
        if lacking:
            raise ValueError(
                f"{name} is no file of label maps by kseg, it has no column {min(lacking)}; move "
                "it, or take another --out."
            )
        for batch in file.iter_batches(columns=list(columns)):
            yield from zip(*(batch.column(column).to_pylist() for column in columns), strict=True)


def read_table(name: str) -> Any:
    """Returns a Parquet file as a table of pyarrow.

    Raises:
        ValueError: If it cannot be read.
    """
    with _said(name), _opened_parquet(name) as file:
        return file.read()


def _holds_images(pa: Any, kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(index).name == "bytes" for index in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _opened(name: str) -> tuple[Any, str]:
    """Returns pyarrow's file system and the path in it."""
    fs = pyarrow().fs
    if not is_address(name):
        return fs.LocalFileSystem(), name
    with _said(name):
        return fs.FileSystem.from_uri(name)


def _opened_parquet(name: str) -> Any:
    fs, path = _opened(name)
    with _said(name):
        return pyarrow().parquet.ParquetFile(fs.open_input_file(path))


class _said:  # noqa: N801
    """Names the file in what pyarrow says is wrong with it."""

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        if isinstance(error, OSError | ValueError) and not hasattr(error, "exit_code"):
            if isinstance(error, FileExistsError) or self.name in str(error):
                return
            why = " ".join(str(error).split())[:300]
            raise ValueError(f"{self.name} cannot be used: {why.rstrip('.')}.") from None
