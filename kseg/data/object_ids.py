"""Objects told apart: from the numbers in files, masks and shapes to ids that count from 1."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kseg.classes import IGNORE_CLASS, Classes
from kseg.data.folders import Folders
from kseg.data.label_files import LabelIds, read_ids
from kseg.data.opening import ENDINGS
from kseg.data.schema import DataFile

if TYPE_CHECKING:
    from kseg.data.dataset import Data

_IDS = 65536
_CITYSCAPES = 1000  # an id of instanceIds is class * 1000 + number


class Numbers(NamedTuple):
    """Which object each pixel of an image is of, as its files say it.

    Attributes:
        numbers: int32 (H, W), not yet turned; 0 for none. What they number differs by file.
        tag: The EXIF orientation of that file, 1 to 8.
        overlap: Pixels that several objects have.
    """

    numbers: np.ndarray
    tag: int = 1
    overlap: int = 0


class Told(NamedTuple):
    """A label map and its objects.

    Attributes:
        label_map: uint8 (H, W); a pixel of a thing that is of no object is ignored.
        ids: int32 (H, W), 1 to n in the order of the numbers, 0 for none.
        unnamed: Numbers of objects that have no pixel of a thing.
        ignored: Pixels of things that are of no object.
    """

    label_map: np.ndarray
    ids: np.ndarray
    unnamed: tuple[int, ...] = ()
    ignored: int = 0


def told_apart(label_map: np.ndarray, numbers: np.ndarray, things: tuple[int, ...]) -> Told:
    """Matches the numbers of objects with the classes of their pixels.

    An object is of the thing that most of its pixels have, and only these pixels are of it.

    Args:
        label_map: Classes, uint8 (H, W).
        numbers: Any number above 0 for each object, integers (H, W).
        things: The classes whose objects are told apart.
    """
    present = np.flatnonzero(np.bincount(numbers.ravel(), minlength=1))
    present = present[present > 0]
    index = np.zeros(max(1, int(present.max(initial=0)) + 1), "int32")
    index[present] = np.arange(1, len(present) + 1)
    indices = index[numbers]
    pairs = np.bincount((indices * 256 + label_map).ravel(), minlength=(len(present) + 1) * 256)
    areas = pairs.reshape(-1, 256)[:, list(things)]
    best = np.array(things, "int64")[areas.argmax(1)]
    named = areas.max(1) > 0
    named[0] = False  # number 0 is no object
    order = np.cumsum(named) * named
    ids = np.where(best[indices] == label_map, order[indices], 0).astype("int32")
    alone = np.isin(label_map, things) & (ids == 0)
    found = np.where(alone, IGNORE_CLASS, label_map).astype("uint8")
    return Told(found, ids, tuple(present[~named[1:]].tolist()), int(np.count_nonzero(alone)))


def read_masks(folder: Path) -> tuple[LabelIds, int]:
    """Reads a folder with one mask file for each object.

    Args:
        folder: Its image files are the masks, in the order of their names; what is not 0 is of
            the object.

    Returns:
        The numbers of the objects, later ones over earlier ones, and the pixels that several have.

    Raises:
        ValueError: If a file cannot be read or differs in size; it is named.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
    numbers, tag, overlap = np.zeros((0, 0), "uint16"), 1, 0
    if not 0 < len(files) < _IDS:
        raise ValueError(f"{folder}: a folder of masks has 1 to 65535 files; it has {len(files)}.")
    for number, file in enumerate(files, start=1):
        mask = read_ids(file, {})
        inside = mask.ids > 0
        if number == 1:
            numbers, tag = np.zeros(inside.shape, "uint16"), mask.tag
        if inside.shape != numbers.shape:
            raise ValueError(
                f"{file}: it is {inside.shape[1]} x {inside.shape[0]} pixels and {files[0].name} "
                f"is {numbers.shape[1]} x {numbers.shape[0]}; masks of one image must be equal."
            )
        overlap += int(np.count_nonzero(numbers[inside]))
        numbers[inside] = number
    return LabelIds(numbers, "id", tag), overlap


def told_apart_by(
    description: DataFile, classes: Classes, lookup: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Returns the things of a YAML file, and what the ids of its label files say of objects.

    Args:
        description: The YAML file.
        classes: The classes, merged.
        lookup: From the id in a label file to the class.

    Returns:
        The classes whose objects are told apart; which ids number objects, bool as long as the
        lookup; and the lookup, with the ids of objects in it.

    Raises:
        ValueError: If instances names no class, or too many for files that number objects alone.
    """
    for name in description.instances:
        if name not in classes.names:
            raise ValueError(
                f"instances names the class {name!r}, which names does not list; classes are "
                f"{', '.join(classes.names)}."
            )
    things = tuple(sorted({classes.names.index(name) for name in description.instances}))
    alone, having = _with_instances(description)
    if having and not things:
        raise ValueError(
            f"{having} says what tells objects apart, and the file not of which classes; write it, "
            f"such as `instances: [{classes.names[-1]}]`."
        )
    if alone and (len(things) > 1 or classes.num_classes != 2 or lookup[0] in (-1, *things)):
        raise ValueError(
            f"{alone} has instances and no labels, so all objects must be of one class and the "
            "rest of another, like `names: [background, cell]` and `instances: [cell]`; or add "
            "labels."
        )
    if not things:
        return (), np.zeros(0, bool), lookup
    lookup = np.concatenate([lookup, np.full(_IDS - len(lookup), -1)])
    object_ids = _numbering(description, things, lookup)
    if alone:
        object_ids[1:] = True
        lookup[1:] = things[0]
    return things, object_ids, lookup


def _numbering(description: DataFile, things: tuple[int, ...], lookup: np.ndarray) -> np.ndarray:
    """Returns which ids number objects, and gives the lookup those of Cityscapes' instanceIds."""
    object_ids = np.zeros(_IDS, bool)
    for ids, _ in description.names:
        if lookup[ids[0]] not in things:
            continue
        if len(ids) > 1:  # a range such as 1-65535
            object_ids[list(ids)] = True
        elif 0 < ids[0] < _IDS // _CITYSCAPES:
            span = np.arange(ids[0] * _CITYSCAPES, (ids[0] + 1) * _CITYSCAPES)
            span = span[lookup[span] == -1]
            object_ids[span], lookup[span] = True, lookup[ids[0]]
    return object_ids


def _with_instances(description: DataFile) -> tuple[str | None, str | None]:
    """Returns the first split that has instances and no labels, and the first that has any."""
    alone, having = None, None
    for name in ("train", "val", "test"):
        entry = getattr(description, name)
        for part in entry if isinstance(entry, list) else [entry]:
            if isinstance(part, Folders) and part.instances:
                having = having or name
                alone = alone or (None if part.labels or part.annotations else name)
            if isinstance(part, tuple) and len(part) > 2:
                having = having or name
    return alone, having


def numbered(data: "Data", values: list[int], *, ignores_255: bool) -> tuple["Data", str] | None:
    """Settles that label files number the objects of the only thing, where they plainly do.

    Args:
        data: The data set, whose labels are files.
        values: The ids in some of its label files.
        ignores_255: Whether the YAML file itself ignores 255.

    Returns:
        The data set in which all ids without a class are objects, and what is to be said; None
        where there is nothing to settle.

    Raises:
        ValueError: If nothing tells the objects apart.
    """
    known = [value for value in values if data.lookup[value] >= 0]
    seen = [value for value in known if data.lookup[value] in data.things]
    if any(data.object_ids[value] for value in known):
        return None
    name = data.classes.names[data.things[0]]
    own = np.flatnonzero(data.lookup == data.things[0])[0]
    line = f"names: {{0: {data.classes.names[0]}, 1-65535: {name}}}"
    if own == 1 and data.classes.num_classes == 2 and len(known) < len(values):
        lookup, object_ids = data.lookup.copy(), data.object_ids.copy()
        ignored = lookup == IGNORE_CLASS
        ignored[IGNORE_CLASS] = ignores_255
        ignored[0] = True  # what is no object
        objects = np.flatnonzero(~ignored)
        lookup[objects], object_ids[objects] = data.things[0], True
        said = f"label files number the objects, so all ids from 1 are {name!r} (`{line}`)"
        return replace(data, lookup=lookup, object_ids=object_ids), said
    if seen:
        raise ValueError(
            f"{data.source}: instances names {name!r}, and nothing tells its objects apart: label "
            f"files hold {seen[0]} for all of them. Where they number objects, write `{line}`; or "
            "name files of ids or folders of masks beside the labels, such as "
            "`{images: images, labels: labels, instances: ids}`."
        )
    return None
