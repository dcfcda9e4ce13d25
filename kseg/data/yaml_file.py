"""The YAML file that describes a data set."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kseg.classes import IGNORE_CLASS, Classes
from kseg.data.dataset import Data
from kseg.data.entries import has, pairs_of
from kseg.data.labels import settle
from kseg.data.layouts import guess_layout
from kseg.data.lists import Note
from kseg.data.object_ids import told_apart_by
from kseg.data.schema import DataFile, check_ignored, described
from kseg.data.splitting import part_of
from kseg.data.yaml_text import read_yaml

NAME = "kseg.yaml"  # the file that `kseg data init` writes into a folder
_SPLITS = ("train", "val", "test")


def load_data(path: str | Path) -> Data:
    """Reads the description of a data set, and looks into a few of its files.

    Args:
        path: A folder with a file kseg.yaml, or whose layout is guessed; or a YAML file with
            `path` (a folder or a list of them, relative to the file; the file's own by default),
            `train`, `val`, `test` (each a text file of `image label` lines relative to `path`,
            `{images: folder, labels: folder}` matched by stem, or another of the entries of
            docs/your_data.md; `val` may be a fraction of train), `names` (a list, or id: name; an
            id may be a range such as 1-255), `ignore` (an id or a colour, or a list of them),
            `colors` (one [red, green, blue] for each name), `merge` (a new name: the names that it
            stands for), `instances` (names of classes whose objects are told apart), `channels`
            (1 gray, 3 RGB, 4 or more) and `bits` (of 16-bit images).

    Returns:
        The data set.

    Raises:
        ValueError: If the file, a folder or a list is missing, or a key is wrong.
    """
    source = Path(path)
    if source.is_dir() and (source / NAME).is_file():
        source = source / NAME
    if source.is_dir():
        content = _guessed(source)
    else:
        content = read_yaml(source, as_written=("names", "merge", "instances"))
    try:
        description = described(content)
        check_ignored(description)
        data = _data(source, description)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return settle(data, ignores_255=IGNORE_CLASS in (description.ignore or ()))


def _guessed(folder: Path) -> dict[str, Any]:
    layout = guess_layout(folder)
    warnings.warn(
        f"{folder} has no {NAME}, so it is read as it looks: {layout.title}. "
        f"{' '.join(layout.notes)} `kseg data init {folder}` writes that down to be changed.",
        Note,
        stacklevel=3,
    )
    return layout.content


def _data(source: Path, description: DataFile) -> Data:
    classes, lookup = _classes(description)
    things, object_ids, lookup = told_apart_by(description, classes, lookup)
    base = source if source.is_dir() else source.parent
    color_ids: dict[int, int] = {}
    if description.colors:
        # The lowest id of a class stands for its colour.
        colors = zip(description.colors, description.names, strict=True)
        color_ids = {_packed(color): min(ids) for color, (ids, _) in colors}
        ignored = [value for value in description.ignore or () if isinstance(value, list)]
        color_ids |= {_packed(color): _ignored_id(lookup) for color in ignored}
        if lookup[IGNORE_CLASS] == IGNORE_CLASS:
            color_ids.setdefault(0, IGNORE_CLASS)
    roots = [base / part for part in description.path]
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"path names the folder {root}, which does not exist.")
    entries = {name: getattr(description, name) for name in _SPLITS}
    entries = {name: e for name, e in entries.items() if e is not None and type(e) is not float}
    for root in roots[1:] and roots:
        if not any(has(root, entry) for entry in entries.values()):
            raise ValueError(f"path lists the folder {root}, in which no split is.")
    name_ids = {name: min(ids) for ids, name in sorted(description.names)}
    pairs = {
        name: pairs_of(roots, name, e, list(name_ids), instances=bool(things))
        for name, e in entries.items()
    }
    if isinstance(description.val, float):
        channels = description.channels
        pairs["train"], pairs["val"] = part_of(pairs["train"], description.val, channels)
    channels, bits = description.channels, description.bits
    return Data(
        source, classes, pairs, lookup, color_ids, name_ids, channels, bits, things, object_ids
    )


def _packed(color: list[int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _ignored_id(lookup: np.ndarray) -> int:
    """Returns an id that stands for ignored colours, other than 255, which black may have."""
    ignored = [i for i in np.flatnonzero(lookup == IGNORE_CLASS).tolist() if i != IGNORE_CLASS]
    if ignored:
        return ignored[0]
    free = int(np.flatnonzero(lookup[:-1] < 0)[-1])  # the last one marks unknown colours
    lookup[free] = IGNORE_CLASS
    return free


def _classes(description: DataFile) -> tuple[Classes, np.ndarray]:
    """Returns the classes in the order of their ids, merged, and the lookup from ids to them."""
    names = description.names
    if description.colors and len(description.colors) != len(names):
        raise ValueError(
            f"colors must be as many as names: {len(names)}; got {len(description.colors)}."
        )
    order = sorted(range(len(names)), key=lambda index: names[index][0])
    Classes(tuple(names[index][1] for index in order))  # refuses names that differ too little
    merged = {part: new for new, parts in description.merge.items() for part in parts}
    for part in set(merged) - {name for _, name in names}:
        raise ValueError(f"merge names the class {part!r}, which names does not list.")
    if len(merged) < sum(map(len, description.merge.values())):
        raise ValueError("merge names a class twice.")
    for new in set(description.merge) & ({name for _, name in names} - set(merged)):
        raise ValueError(f"merge makes a class {new!r}, and names has another of that name.")
    largest = max(max(ids) for ids, _ in names)
    ignored = [value for value in description.ignore or () if isinstance(value, int)]
    lookup = np.full(256 if max(largest, *ignored, 0) < 256 else 65536, -1)
    lookup[IGNORE_CLASS] = IGNORE_CLASS
    found: dict[str, tuple[int, int, int] | None] = {}
    for index in order:
        ids, name = names[index]
        name = merged.get(name, name)
        red, green, blue = description.colors[index] if description.colors else (0, 0, 0)
        found.setdefault(name, (red, green, blue))
        lookup[list(ids)] = list(found).index(name)
    lookup[ignored] = IGNORE_CLASS
    colors = tuple(color for color in found.values() if color) if description.colors else ()
    return Classes(tuple(found), colors), lookup
