"""HDF5 files of weights, read from themselves alone.

HDF5 lets a file name others: by external storage, by links, by virtual datasets. Whoever follows
them puts a system file's bytes into a kernel, and from there into an export.
"""

import math
from pathlib import Path
from typing import BinaryIO

import h5py
from h5py import h5d, h5g, h5l, h5o, h5t

_MOST_OBJECTS = 100_000
_DEEPEST = 100


def own(group: h5g.GroupID, name: str) -> object:
    """Opens what a name stands for, if it is in the file itself.

    Args:
        group: Where the name is.
        name: One name, not a path.

    Raises:
        ValueError: If there is no such name, or it leads elsewhere.
    """
    key = name.encode()
    if not group.links.exists(key):
        raise ValueError(f"it lacks {name!r}")
    if group.links.get_info(key).type != h5l.TYPE_HARD:
        raise ValueError(
            f"it holds a link at {name!r}, where weights are expected; links are not followed"
        )
    return h5o.open(group, key)


def plain(dataset: object, name: str) -> h5d.DatasetID:
    """Returns a dataset of real numbers whose bytes are all in the file, as they are.

    Args:
        dataset: What `own` opened.
        name: For the error.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(dataset, h5d.DatasetID):
        raise ValueError(f"it has no array {name!r}")
    plan = dataset.get_create_plist()
    if plan.get_layout() not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        raise ValueError(f"{name!r} is a virtual dataset; weights must be plain")
    if plan.get_external_count():
        raise ValueError(f"{name!r} lies in another file; weights must be in this one")
    if plan.get_nfilters():
        raise ValueError(f"{name!r} is stored through a filter; weights must be plain")
    kind = dataset.get_type()
    if kind.get_class() not in (h5t.FLOAT, h5t.INTEGER) or kind.get_size() > 8:
        raise ValueError(f"{name!r} does not hold real numbers")
    needed = math.prod(dataset.shape) * kind.get_size()
    if dataset.get_storage_size() < needed:
        raise ValueError(f"{name!r} claims {needed:,} bytes and has {dataset.get_storage_size():,}")
    return dataset


def check_plain(source: Path | BinaryIO) -> None:
    """Refuses a file that another reader, such as Keras, would follow out of itself.

    Args:
        source: An HDF5 file, by its path or open for reading.

    Raises:
        ValueError: If anything in it is not a group or a plain dataset of the file itself.
        OSError: If it is not HDF5.
    """
    with h5py.File(source, "r") as file:
        waiting, seen = [("", 0, file.id)], 0
        while waiting:
            place, depth, group = waiting.pop()
            if depth > _DEEPEST:  # links in a circle never end
                raise ValueError(f"its groups are nested more than {_DEEPEST} deep")
            for index in range(group.get_num_objs()):
                name = group.get_objname_by_idx(index).decode()
                seen += 1
                if seen > _MOST_OBJECTS:
                    raise ValueError(f"it has over {_MOST_OBJECTS:,} names")
                found = own(group, name)
                if isinstance(found, h5g.GroupID):
                    waiting.append((f"{place}{name}/", depth + 1, found))
                else:
                    plain(found, f"{place}{name}")
