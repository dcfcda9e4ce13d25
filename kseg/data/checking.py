"""Reading every file of a data set once, before time is spent on training."""

import hashlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from kseg.data.dataset import Data, matching_turn
from kseg.data.files import decode_image, turn
from kseg.data.label_files import LabelIds, count, unlisted
from kseg.data.labels import Census, advice, look_at, shares
from kseg.data.lists import Pair
from kseg.data.opening import header
from kseg.data.upright import Lie, lie_of, upright
from kseg.progress import progress

_Result = TypeVar("_Result")
_LISTED_AT_MOST = 20
_WORKERS = min(32, (os.cpu_count() or 1) + 4)
_MEMORY = 1 << 30
_BYTES_A_PIXEL = 16  # an image as Pillow and as numpy hold it, turned, and a label map


@dataclass(frozen=True)
class DataReport:
    """What a data set holds.

    Attributes:
        pixels: Split name to the pixels of each class, int64 (num_classes,).
        ignored: Split name to the ignored pixels.
        fingerprint: sha256 over names and contents; equal data has an equal fingerprint.
        upright: Split name to why its images are thought to have an above and a below; None where
            they have none.
    """

    pixels: dict[str, np.ndarray]
    ignored: dict[str, int]
    fingerprint: str
    upright: dict[str, str | None]


@dataclass(frozen=True)
class _Found:
    """What a pair of files holds, or why it cannot be used."""

    problem: str | None = None
    counts: np.ndarray | None = None
    by: str = ""
    remarks: tuple[str, ...] = ()
    hashes: tuple[bytes, ...] = (b"", b"")
    objects: int = 0
    lie: Lie | None = None


def check_data(data: Data, splits: Sequence[str] = ("train", "val")) -> DataReport:
    """Reads all images and label files of some splits, and says what is odd about them.

    Args:
        data: The data set.
        splits: Names of splits.

    Returns:
        What they hold.

    Raises:
        ValueError: If a split is missing, any file cannot be used (all such files are named), or
            nothing could be learned from the labels.
    """
    digest = hashlib.sha256(repr(data.classes).encode() + data.lookup.tobytes())
    if (data.channels, data.bits) not in ((3, None), (3, 16)):
        digest.update(f"{data.channels} {data.bits}".encode())
    if data.things:
        digest.update(repr(data.things).encode() + data.object_ids.tobytes())
    found = {split: look_at_all(data, data.files(split), _look) for split in splits}
    censuses = _censuses(data, found)
    for split in splits if data.things else ():
        if not any(one.objects for one in found[split]):
            raise ValueError(
                f"{data.source}: in {split}, no image has an object of the classes in instances "
                f"({', '.join(data.classes.names[i] for i in data.things)})."
            )
    images: dict[bytes, set[str]] = {}
    for split in splits:
        digest.update(split.encode())
        for one in found[split]:
            digest.update(b"".join(one.hashes))
            images.setdefault(one.hashes[0], set()).add(split)
    _say_remarks(data, found)
    shared = sum(len(where) > 1 for where in images.values())
    if shared:
        warnings.warn(
            f"{data.source}: {shared} images are in more than one of the splits "
            f"{', '.join(splits)}, so scores will look better than they are.",
            stacklevel=2,
        )
    counted = {split: shares(data, census) for split, census in censuses.items()}
    pixels = {split: pixels for split, (pixels, _) in counted.items()}
    ignored = {split: ignored for split, (_, ignored) in counted.items()}
    sides = {
        split: upright([one.lie for one in results if one.lie], data.classes.names)
        for split, results in found.items()
    }
    return DataReport(pixels, ignored, digest.hexdigest(), sides)


def check_labels(data: Data, splits: Sequence[str]) -> None:
    """Reads the label files of splits that were not looked at yet, and says what is odd.

    Args:
        data: The data set.
        splits: Names of splits.

    Raises:
        ValueError: As `check_data`.
    """
    new = [split for split in splits if split not in data.looked_at]
    _censuses(data, {split: look_at_all(data, data.files(split), _look_at_label) for split in new})


def _censuses(data: Data, found: dict[str, list[_Found]]) -> dict[str, Census]:
    """Counts the ids of each split, once all files are known to be usable."""
    censuses, whole = {split: Census() for split in found}, Census()
    problems = []
    for split, results in found.items():
        for one in results:
            if one.problem is not None:
                problems.append(one.problem)
            if one.counts is not None:
                censuses[split].add(one.counts, one.by)
                whole.add(one.counts, one.by)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:_LISTED_AT_MOST])
        more = len(problems) - _LISTED_AT_MOST
        listed += f"\n  and {more} more" if more > 0 else ""
        files = "1 file" if len(problems) == 1 else f"{len(problems)} files"
        right = advice(data, whole) if unlisted(whole.counts, data.lookup) else None
        listed += f"\n{right}" if right else ""
        raise ValueError(f"{data.source}: {files} cannot be used:\n{listed}")
    for split, census in censuses.items():
        look_at(data, split, census)
        data.looked_at.add(split)
    return censuses


def _look(data: Data, pair: Pair) -> _Found:
    try:
        image = decode_image(pair.image, data.channels, data.bits)
        labels = data.ids(pair)
        label_turn = matching_turn(pair, image, labels)
        # Of shapes, what they are drawn to: their file may hold those of all images.
        whole = pair.drawing is None and pair.label_file.is_file()
        parts = [pair.image.read_bytes()]
        parts.append(pair.label_file.read_bytes() if whole else labels.ids.tobytes())
        found, objects, lie = _counted(data, pair, labels), 0, None
        if found.problem is None:
            shown = turn(image.pixels, image.tag), turn(labels.ids, label_turn)
            lie = lie_of(*shown, data.lookup, data.classes.num_classes)
        if data.things and found.problem is None:
            told, _ = data.tell_apart(pair, image, labels)
            objects = int(told.ids.max(initial=0))
            parts.append(told.ids.tobytes())
    except (ValueError, OSError) as error:
        return _Found(str(error))
    hashes = tuple(hashlib.sha256(part).digest() for part in parts)
    return replace(found, remarks=image.remarks, hashes=hashes, objects=objects, lie=lie)


def _look_at_label(data: Data, pair: Pair) -> _Found:
    try:
        return _counted(data, pair, data.ids(pair))
    except ValueError as error:
        return _Found(str(error))


def _counted(data: Data, pair: Pair, labels: LabelIds) -> _Found:
    counts = count(labels.ids)
    missing = unlisted(counts, data.lookup)
    problem = missing and f"{pair.label_file}: {missing}."
    return _Found(problem, counts, labels.by)


def look_at_all(
    data: Data,
    pairs: Sequence[Pair],
    look: Callable[[Data, Pair], _Result],
    *,
    label: str | None = None,
) -> list[_Result]:
    """Looks at all pairs in parallel, as many at a time as fit into memory.

    Args:
        data: The data set.
        pairs: Which of its images.
        look: What is done with each.
        label: What a progress bar says; None shows none.

    Returns:
        What look returns, in the order of the pairs.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        files = {file for pair in pairs for file in (pair.image, pair.label_file)}
        sizes = pool.map(lambda file: math.prod(header(file).size), files)
        workers = _workers(max(sizes, default=0))
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda pair: look(data, pair), pairs)
        shown = label is not None
        return list(
            progress(results, total=len(pairs), unit="image", label=label or "", shown=shown)
        )


def _workers(pixels: int) -> int:
    """Returns how many images of so many pixels may be worked on at a time."""
    return max(1, min(_WORKERS, _MEMORY // (max(1, pixels) * _BYTES_A_PIXEL)))


def _say_remarks(data: Data, found: dict[str, list[_Found]]) -> None:
    """Says what of images is left out: each kind once, with how many images have it."""
    remarks = Counter(
        remark for results in found.values() for one in results for remark in one.remarks
    )
    for remark, images in remarks.most_common(5):
        which = "1 image" if images == 1 else f"{images} images"
        warnings.warn(f"{data.source}: of {which} this is said: {remark}.", stacklevel=3)
