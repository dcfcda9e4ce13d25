"""Reviewing a data set: all that is wrong or odd about it in one list, and what it holds."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kseg.data.checking import look_at_all
from kseg.data.dataset import Data
from kseg.data.label_files import unlisted
from kseg.data.labels import Census, advice, look_at, shares
from kseg.data.layouts import other_sources
from kseg.data.lists import Note
from kseg.data.review.oddities import cut_out, names_alike, odd_ones, turned_copies
from kseg.data.review.problems import Problem, of_images, problem_of
from kseg.data.review.sights import Sight, see
from kseg.data.yaml_file import load_data

__all__ = ["Problem", "Review", "review"]


_RARE = 0.02
_WORKING_PIXELS = 400 * 600


@dataclass(frozen=True)
class Review:
    """What a data set holds, and what is to be looked at.

    Attributes:
        source: The YAML file or the folder.
        problems: What is wrong or odd, those that stop a training first.
        notes: What was assumed or left out, which is no problem.
        data: The data set; None where it could not be loaded.
        images: Split name to its number of images.
        shares: Split name to the share of each class of the pixels that count, (num_classes,).
        holders: Split name to the number of images in which each class occurs.
        sizes: (height, width) to the number of images of that size.
        gray: How many images are stored in gray.
        objects: Split name to its number of objects, where they are told apart.
    """

    source: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    data: Data | None = field(default=None, repr=False)
    images: dict[str, int] = field(default_factory=dict)
    shares: dict[str, np.ndarray] = field(default_factory=dict)
    holders: dict[str, np.ndarray] = field(default_factory=dict)
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    gray: int = 0
    objects: dict[str, int] = field(default_factory=dict)

    def suggestions(self) -> list[str]:
        """Returns settings that suit the data, a sentence each."""
        if not self.sizes or self.data is None:
            return []
        lines = [_size_line(self.sizes)]
        if self.objects and len(self.sizes) > 1:
            lines = ["No working size (--size), so that objects keep the size they have."]
        if self.gray == sum(self.sizes.values()) and self.data.channels == 3:
            lines.append("All images are gray: `channels: 1` in the YAML file saves some work.")
        train = self.shares["train"]
        rare = [n for n, s in zip(self.data.classes.names, train, strict=True) if 0 < s < _RARE]
        if rare:
            lines.append(f"Rare classes ({', '.join(rare[:5])}): keep class weights (the default).")
        if "val" not in self.images:
            lines.append("There is no split val: `val: 0.2` takes a fifth of train.")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Returns all of it but the data set as JSON takes it."""
        names = self.data.classes.names if self.data else ()
        return {
            "source": self.source,
            "problems": [asdict(problem) for problem in self.problems],
            "notes": list(self.notes),
            "images": self.images,
            "objects": self.objects,
            "shares": {
                split: dict(zip(names, map(float, found), strict=True))
                for split, found in self.shares.items()
            },
            "sizes": [[*size, count] for size, count in self.sizes.items()],
            "suggestions": self.suggestions(),
        }


def _size_line(sizes: dict[tuple[int, int], int]) -> str:
    """Suggests the working size: the usual one, at most so large, in multiples of 32."""
    height, width = max(sizes, key=lambda size: (sizes[size], size))
    scale = min(1.0, (_WORKING_PIXELS / (height * width)) ** 0.5)
    height, width = (max(32, round(side * scale / 32) * 32) for side in (height, width))
    return f"Working size for a start: --size {height} {width}."


def review(path: str | Path, *, shown: bool = False) -> Review:
    """Reads every file of a data set once, and says all that is wrong or odd about it.

    Args:
        path: A YAML file or a folder, as for `load_data`.
        shown: Whether progress is shown.
    """
    source = str(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            data = load_data(path)
        except ValueError as error:
            return Review(source, (problem_of(str(error), source, stops=True),))
    notes = tuple(_text(one) for one in said if issubclass(one.category, Note))
    problems = [problem_of(text, source) for text in _warnings(said)]
    seen = {
        split: look_at_all(data, pairs, see, label=f"reading {split}" if shown else None)
        for split, pairs in data.pairs.items()
    }
    censuses = {
        split: _census([sight for sight in sights if sight.problem is None])
        for split, sights in seen.items()
    }
    problems += _unusable(data, seen)
    for split, census in censuses.items():
        problems += _about_classes(data, split, census)
    problems += of_images(data, seen)
    good = [sight for sights in seen.values() for sight in sights if sight.problem is None]
    holders = {split: _holders(data, sights) for split, sights in seen.items()}
    problems += [*odd_ones(data, good), *turned_copies(seen), *cut_out(seen)]
    problems += names_alike(data, holders)
    problems += [Problem(source, reason, do) for reason, do in other_sources(data)]
    problems.sort(key=lambda problem: not problem.stops)
    sizes: dict[tuple[int, int], int] = {}
    for sight in good:
        sizes[sight.size] = sizes.get(sight.size, 0) + 1
    return Review(
        str(data.source),
        tuple(dict.fromkeys(problems)),
        notes,
        data,
        {split: len(sights) for split, sights in seen.items()},
        {split: _shares(data, census) for split, census in censuses.items()},
        holders,
        sizes,
        sum(sight.gray for sight in good),
        {split: _count(sights) for split, sights in seen.items()} if data.things else {},
    )


def _count(sights: list[Sight]) -> int:
    return sum(sight.objects.total for sight in sights if sight.objects)


def _text(said: warnings.WarningMessage) -> str:
    return str(said.message)


def _warnings(said: list[warnings.WarningMessage]) -> list[str]:
    """Returns what was said to users, notes aside."""
    return [
        _text(one)
        for one in said
        if issubclass(one.category, UserWarning) and not issubclass(one.category, Note)
    ]


def _census(sights: list[Sight]) -> Census:
    census = Census()
    for sight in sights:
        counts = np.zeros(65536, "int64")
        counts[list(sight.ids)] = sight.counts
        census.add(counts, sight.by)
    return census


def _unusable(data: Data, seen: dict[str, list[Sight]]) -> Iterator[Problem]:
    sights = [sight for found in seen.values() for sight in found]
    for sight in sights:
        if sight.problem is not None:
            yield problem_of(sight.problem, str(sight.pair.image), stops=True)
    whole = _census([sight for sight in sights if sight.ids])
    if unlisted(whole.counts, data.lookup) and (right := advice(data, whole)):
        yield problem_of(right, str(data.source))


def _about_classes(data: Data, split: str, census: Census) -> list[Problem]:
    if not census.counts.any():
        return []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stopped = None
        try:
            look_at(data, split, census)
        except ValueError as error:
            stopped = problem_of(str(error), str(data.source), stops=True)
    found = [stopped] if stopped else []
    return found + [problem_of(text, str(data.source)) for text in _warnings(said)]


def _shares(data: Data, census: Census) -> np.ndarray:
    pixels, _ = shares(data, census)
    return pixels / max(1, pixels.sum())


def _holders(data: Data, sights: list[Sight]) -> np.ndarray:
    found = np.zeros(256, int)
    for sight in sights:
        if sight.problem is None:
            found[np.unique(data.lookup[list(sight.ids)])] += 1
    return found[: data.classes.num_classes]
