"""weights.h5: groups of numbered arrays, read from this one file and from nowhere else.

All shapes are compared before any array is read.
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5g

from kseg.plain_hdf5 import own, plain
from kseg.training.run_schema import DamagedFileError

# Group name to the shapes of its arrays; None for a group that may be missing or of any shape.
Shapes = Mapping[str, list[tuple[int, ...]] | None]

_MOST_GROUPS = 100


def to_bytes(groups: dict[str, list[np.ndarray]]) -> memoryview:
    """Returns the content of a weights file."""
    content = io.BytesIO()  # a full disk would crash HDF5, and Python with it
    with h5py.File(content, "w") as file:
        for name, arrays in groups.items():
            for index, array in enumerate(arrays):
                file.create_dataset(f"{name}/{index:05d}", data=array)
    return content.getbuffer()


def read_weights(path: Path, shapes: Shapes | None = None) -> dict[str, list[np.ndarray]]:
    """Reads the arrays of a weights file.

    Args:
        path: The file.
        shapes: Name of a group to the shapes that its arrays must have, None for any; groups that
            are not named are passed over and take no memory. None reads all groups. What is read
            is never larger than the file.

    Returns:
        Group name to arrays.

    Raises:
        DamagedFileError: If a group is missing or holds anything but real, finite numbers of
            these shapes, stored plainly in the file itself.
    """
    check_size(path, shapes)
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path, shapes)
    # What HDF5 raises for a damaged file is nearly anything.
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DamagedFileError):
            raise
        text = " ".join(str(error).split()).rstrip(".")
        raise DamagedFileError(f"{path} is not a weights file of kseg: {text}.") from None


def check_size(path: Path, shapes: Shapes | None) -> None:
    """Refuses what is not a regular file, or larger than weights of these shapes can be.

    Raises:
        DamagedFileError: If it is.
    """
    if not path.is_file():
        raise DamagedFileError(f"{path} is not a regular file.")
    # The optimizer's arrays are in the file too.
    values = sum(math.prod(shape) for group in (shapes or {}).values() for shape in group or ())
    limit = 100_000_000 + 64 * values
    if shapes and path.stat().st_size > limit:
        raise DamagedFileError(
            f"{path} has {path.stat().st_size:,} bytes; weights of this network have at most "
            f"{limit:,}."
        )


def _read(file: h5py.File, path: Path, shapes: Shapes | None) -> dict[str, list[np.ndarray]]:
    root = file.id
    if shapes is None:
        shapes = dict.fromkeys(_names(root))
    datasets = {
        name: _datasets(root, name, wanted, path)
        for name, wanted in shapes.items()
        if wanted is not None or root.links.exists(name.encode())
    }
    # Names that lead to one dataset many times must not multiply it.
    total = sum(d.get_storage_size() for found in datasets.values() for d in found)
    if total > path.stat().st_size:
        raise DamagedFileError(f"{path} claims {total:,} bytes of weights, more than it has.")
    return {
        name: [_values(dataset, f"{name}/{index:05d}", path) for index, dataset in enumerate(found)]
        for name, found in datasets.items()
    }


def _datasets(
    root: h5g.GroupID, name: str, wanted: list[tuple[int, ...]] | None, path: Path
) -> list[h5d.DatasetID]:
    """Returns the datasets of a group, all of them plain and of the wanted shapes."""
    group = own(root, name)
    if not isinstance(group, h5g.GroupID):
        raise DamagedFileError(f"{path} has no group {name!r}.")
    count = group.get_num_objs()
    if wanted is None or count == len(wanted):
        keys = [f"{index:05d}" for index in range(count)]
        found = [plain(own(group, key), f"{name}/{key}") for key in keys]
        if wanted is None or [d.shape for d in found] == [tuple(shape) for shape in wanted]:
            return found
    raise DamagedFileError(
        f"{path} holds the weights of another network ({count} variables in {name}; this one has "
        f"{len(wanted)} or other shapes)."
    )


def _names(group: h5g.GroupID) -> list[str]:
    if group.get_num_objs() > _MOST_GROUPS:
        raise ValueError(f"it has {group.get_num_objs()} groups")
    count = group.get_num_objs()
    return [group.get_objname_by_idx(index).decode() for index in range(count)]


def _values(dataset: h5d.DatasetID, name: str, path: Path) -> np.ndarray:
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DamagedFileError(f"{path}: {name!r} holds numbers that are not finite.")
    return values
