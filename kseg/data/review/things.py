"""What is to be known of the objects of an image, where they are told apart."""

from typing import NamedTuple

import numpy as np

from kseg.data.object_ids import Numbers, Told


class Objects(NamedTuple):
    """What is to be known of the objects of an image.

    Attributes:
        total: How many there are.
        overlap: Pixels that several have.
        unnamed: The numbers of those without a pixel of a thing.
        ignored: Pixels of things that are of no object.
        parted: Ids of those that are in several pieces.
    """

    total: int
    overlap: int
    unnamed: tuple[int, ...]
    ignored: int
    parted: tuple[int, ...]


def objects_of(told: Told, numbers: Numbers) -> Objects:
    """Takes down what `Data.tell_apart` found."""
    count = int(told.ids.max(initial=0))
    parted = np.flatnonzero(pieces(told.ids, count) > 1) + 1
    return Objects(count, numbers.overlap, told.unnamed, told.ignored, tuple(parted.tolist()))


def pieces(ids: np.ndarray, count: int) -> np.ndarray:
    """Returns of how many pieces each object is; pixels that touch at a corner hang together.

    Args:
        ids: Ids of objects, integers (H, W); 0 for none.
        count: How many objects there are.

    Returns:
        Pieces of the objects 1 to count, int64 (count,).
    """
    found = np.zeros(count + 1, "int64")
    leaders: list[int] = []  # of each run along a row, a run of its piece
    above: list[tuple[int, int, int, int]] = []  # (first, last, object, number) of its runs

    def leader(run: int) -> int:
        while leaders[run] != run:
            leaders[run] = run = leaders[leaders[run]]
        return run

    for row in np.pad(ids, ((0, 0), (1, 1))):
        edges = np.flatnonzero(np.diff(row))
        runs, place = [], 0
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if not (value := int(row[start + 1])):
                continue
            number = len(leaders)
            leaders.append(number)
            found[value] += 1
            runs.append((start, end - 1, value, number))
            while place < len(above) and above[place][1] < start - 1:
                place += 1
            for first, _, other, run in above[place:]:
                if first > end:
                    break
                if other == value and (one := leader(run)) != (two := leader(number)):
                    leaders[one] = two
                    found[value] -= 1
        above = runs
    return found[1:]
