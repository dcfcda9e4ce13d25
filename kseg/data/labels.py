"""Looking at the numbers in label files before anything is learned from them.

What the numbers mean is settled where it is plain, and said in one line; else it is refused with
the line of the data file that would be right.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml

from kseg.classes import IGNORE_CLASS
from kseg.data.dataset import Data
from kseg.data.files import decode_image
from kseg.data.label_files import count, unlisted
from kseg.data.lists import Pair
from kseg.data.object_ids import numbered
from kseg.data.opening import header

_SAMPLE = 16
_RARE = 0.001
_MUCH_BLACK = 0.2
_FAR_FEWER = 10  # times
_COLORED = ("color", "palette")


@dataclass
class Census:
    """The ids in the label files of a split.

    Attributes:
        counts: Pixels of each id, int64 (65536,).
        ways: How many files were read in which way (`LabelIds.by`).
        black: Pixels that are ignored because black is not among `colors`.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(65536, "int64"))
    ways: Counter = field(default_factory=Counter)
    black: int = 0

    def add(self, counts: np.ndarray, by: str) -> None:
        """Takes in a label file: the pixels of each id, and how it was read."""
        self.counts[: len(counts)] += counts
        self.ways[by] += 1
        self.black += int(counts[IGNORE_CLASS]) if by in _COLORED else 0

    def values(self) -> list[int]:
        """Returns the ids that occur."""
        return np.flatnonzero(self.counts).tolist()


def settle(data: Data, *, ignores_255: bool) -> Data:
    """Looks into a few files, and settles what their numbers plainly mean.

    Args:
        data: The data set as its YAML file describes it.
        ignores_255: Whether the YAML file itself ignores 255.

    Returns:
        The data set, with masks of 0 and 255 read as two classes, gray values read as gray
        `colors`, and the bits of 16-bit images counted. A line is said for each.
    """
    pairs = _sample(data)
    if data.bits is None and any(_may_be_deep(pair.image) for pair in pairs):
        data = _with_bits(data, pairs)
    census = Census()
    for pair in pairs:
        try:
            ids, by, _ = data.ids(pair)
        except ValueError:  # named when everything is checked
            continue
        census.add(count(ids), by)
    values = census.values()
    if set(census.ways) & {*_COLORED, "either", "shape"} or not values:
        return data
    grays = _gray_colors(data)
    odd = unlisted(census.counts, data.lookup) or (IGNORE_CLASS in values and not ignores_255)
    if grays and odd and set(values) <= set(grays):
        return _by_gray(data, grays)
    whole = all(pair.instance_file is None for pair in pairs)
    if data.things and whole and (found := numbered(data, values, ignores_255=ignores_255)):
        _say(data, found[1])
        return found[0]
    two = _plain_ids(data) == [0, 1]
    counts = {value: int(census.counts[value]) for value in values}
    if two and not ignores_255 and (said := nearly_two(counts)):
        _say(
            data,
            f"label files {said}, and 255 is ignored; store 0 and 255 alone if 255 is "
            f"{data.classes.names[1]!r}, or write `ignore: 255` if it is not to be scored",
        )
    if two and values == [0, 255] and not ignores_255:
        lookup = data.lookup.copy()
        lookup[[0, 1, 255]] = 0, -1, 1
        line = _names_line(data, values)
        _say(data, f"label files hold 0 and 255, so 255 is {data.classes.names[1]!r} ({line})")
        colors = {color: i for color, i in data.color_ids.items() if i != IGNORE_CLASS}
        return replace(data, lookup=lookup, color_ids=colors)
    return data


def nearly_two(counts: Mapping[int, int]) -> str | None:
    """Says that label files hold 0 and 255 and few pixels of other ids, in half a sentence.

    Then nothing says whether 255 is a class, whose edges were smoothed, or what is ignored.

    Args:
        counts: Id to its pixels.
    """
    others = {value: n for value, n in counts.items() if n and value not in (0, IGNORE_CLASS)}
    few = sum(others.values())
    if not others or not counts.get(0) or _FAR_FEWER * few > counts.get(IGNORE_CLASS, 0):
        return None
    listed = ", ".join(map(str, sorted(others)[:5])) + (", ..." if len(others) > 5 else "")
    return f"hold 0 and 255, and only {few} pixels of other ids ({listed})"


def _sample(data: Data) -> list[Pair]:
    """Returns pairs spread over all splits, and those whose label files have the most bytes."""
    pairs = [pair for split in data.pairs.values() for pair in split]
    spread = np.linspace(0, len(pairs) - 1, min(_SAMPLE, len(pairs))).round().astype(int)

    def size(pair: Pair) -> int:
        if pair.drawing is not None:
            return len(pair.drawing.shapes)
        try:
            return pair.label_file.stat().st_size
        except (OSError, ValueError):
            return 0

    largest = sorted(pairs, key=size, reverse=True)[: _SAMPLE // 2]
    return list(dict.fromkeys([*(pairs[index] for index in spread), *largest]))


def _may_be_deep(path: Path) -> bool:
    """Whether an image may have 16 bits; of TIFFs in colour the header that is read cannot tell."""
    return path.suffix.lower() in (".tif", ".tiff") or header(path).deep


def _with_bits(data: Data, pairs: Sequence[Pair]) -> Data:
    found = []
    for pair in pairs:
        try:
            found.append(decode_image(pair.image, data.channels).bits or 0)
        except ValueError:
            continue
    bits = max(found, default=0)
    if bits in (0, 16):
        return replace(data, bits=bits or None)
    _say(data, f"16-bit images use {bits} bits, so white is {(1 << bits) - 1} (`bits: {bits}`)")
    return replace(data, bits=bits)


def _gray_colors(data: Data) -> dict[int, int]:
    """Returns gray value to class if all `colors` are gray, else nothing."""
    grays = {}
    for color, class_id in data.color_ids.items():
        if (color, class_id) != (0, IGNORE_CLASS):
            if color % 0x10101:
                return {}
            grays[color // 0x10101] = int(data.lookup[class_id])
    return grays


def _by_gray(data: Data, grays: dict[int, int]) -> Data:
    lookup = np.full_like(data.lookup, -1)
    lookup[IGNORE_CLASS] = IGNORE_CLASS
    for value, found in grays.items():
        lookup[value] = found
    _say(data, "label files are gray and hold the gray values of colors, so they go by these")
    return replace(data, lookup=lookup, color_ids={value * 0x10101: value for value in grays})


def advice(data: Data, census: Census) -> str | None:
    """Returns the lines of the data file that would be right where ids have no class, or None."""
    values, names = census.values(), data.classes.names
    if _plain_ids(data) is None or len(values) > len(names) + 20:
        return None
    shown = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
    held = f"All label files together hold the ids {shown}"
    inner = [value for value in values if value != IGNORE_CLASS]
    if len(values) == len(names):
        return f"{held}; if these are the classes, write {_names_line(data, values)}."
    if len(inner) == len(names):
        line = _names_line(data, inner)
        return f"{held}; if these are the classes, write {line} and `ignore: 255`."
    if inner == list(range(len(names) + 1)):
        line = _names_line(data, inner[1:])
        return (
            f"{held}; if 0 stands for nothing, write {line} and `ignore: 0`, otherwise put the "
            "name of 0 first in names."
        )
    extra = [value for value in inner if value >= len(data.lookup) or data.lookup[value] < 0]
    return f"{held}; to leave out what has no name, write `ignore: {extra[:20]}`."


def _plain_ids(data: Data) -> list[int] | None:
    """Returns the ids of the classes if each has one and they count from 0."""
    ids = np.flatnonzero((data.lookup >= 0) & (data.lookup != IGNORE_CLASS)).tolist()
    return ids if ids == list(range(data.classes.num_classes)) else None


def _names_line(data: Data, ids: Sequence[int]) -> str:
    names = {"names": dict(zip(ids, data.classes.names, strict=True))}
    text = yaml.safe_dump(
        names, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return f"`{text.strip()[1:-1]}`"


def look_at(data: Data, split: str, census: Census) -> None:
    """Says what is odd about the labels of a split, each kind in one line.

    Args:
        data: The data set.
        split: The name of the split.
        census: Its ids, all of which have a class or are ignored.

    Raises:
        ValueError: If nothing can be learned or measured: all pixels are ignored, the training
            images show one class alone, label files are of two kinds, or black is much and
            nothing says what it is.
    """
    pixels, ignored = shares(data, census)
    total, names = int(pixels.sum()) + ignored, data.classes.names
    if not pixels.any():
        raise ValueError(f"{data.source}: all pixels of the split {split!r} are ignored.")
    _check_ways(data, split, census)
    _check_black(data, split, census, total)
    if np.count_nonzero(pixels) == 1:
        only = names[int(pixels.argmax())]
        said = f"in {split}, {only!r} is the only class that occurs"
        if 255 in census.values() and data.lookup[IGNORE_CLASS] == IGNORE_CLASS:
            said += ", and 255 is ignored; if it is a class, write its name as `255: name` in names"
        if split == "train":
            raise ValueError(f"{data.source}: {said}.")
        _say(data, f"{said}, so scores on it say nothing")
    elif absent := [name for name, n in zip(names, pixels, strict=True) if not n]:
        _say(
            data, f"in {split}, {_listed(absent)} {'does' if len(absent) == 1 else 'do'} not occur"
        )
    rare = [
        f"{name!r} ({100 * n / pixels.sum():.2g} %)"
        for name, n in zip(names, pixels.tolist(), strict=True)
        if 0 < n < _RARE * pixels.sum()
    ]
    if rare:
        _say(data, f"in {split}, under 0.1 % of the pixels are {', '.join(rare)}")
    if 2 * ignored > total:
        _say(data, f"in {split}, {100 * ignored / total:.0f} % of the pixels are ignored")


def shares(data: Data, census: Census) -> tuple[np.ndarray, int]:
    """Returns the pixels of each class, int64 (num_classes,), and the ignored pixels."""
    found = np.zeros(256, "int64")
    known = np.flatnonzero(data.lookup >= 0)
    np.add.at(found, data.lookup[known], census.counts[known])
    return found[: data.classes.num_classes], int(found[IGNORE_CLASS])


def _check_ways(data: Data, split: str, census: Census) -> None:
    ways = set(census.ways)
    if {"gray", "color"} <= ways:
        raise ValueError(
            f"{data.source}: in {split}, some label files hold colours of `colors` and others gray "
            "values that are none of them; store all in one way."
        )
    if {"index", "palette"} <= ways:
        raise ValueError(
            f"{data.source}: in {split}, the palettes of some label files have the colours of "
            "`colors` and those of others have not; if they are black, add [0, 0, 0] to colors "
            "or to ignore."
        )


def _check_black(data: Data, split: str, census: Census, total: int) -> None:
    if not census.black or data.color_ids.get(0) != IGNORE_CLASS:
        return
    share = census.black / total
    said = f"in {split}, {100 * share:.2g} % of the pixels are black, which is not among colors"
    ways = "add [0, 0, 0] to colors and its name to names, or write `ignore: [[0, 0, 0]]`"
    if share > _MUCH_BLACK:
        raise ValueError(f"{data.source}: {said}; {ways}.")
    _say(data, f"{said}, so they are ignored; to say so, {ways}")


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:10]))
    return listed + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _say(data: Data, text: str) -> None:
    warnings.warn(f"{data.source}: {text}.", stacklevel=3)
