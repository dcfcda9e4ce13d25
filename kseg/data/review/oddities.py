"""What is odd about few images of a data set beside all the others."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np

from kseg.data.dataset import Data
from kseg.data.duplicates import alike_to
from kseg.data.review.details import TURNS
from kseg.data.review.placing import shift_of_all, turned_labels
from kseg.data.review.problems import Problem
from kseg.data.review.sights import Sight

_FEW = 0.1  # a share of images that is an exception, not the rule
_FEW_COLORS = 10
_LEAST_TAIL = 0.12
_LEAST_SPECKS = 0.002
_SMALL = 8  # times fewer pixels than usual
_MOST_COMPARED = 5000
_TURNED_BITS = 24  # of 256 that may differ


def odd_ones(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    """Yields what sets few images apart from the others."""
    yield from _one_each(data, good)
    yield from _lost(good)
    edges, borders = (np.array([getattr(s, name) for s in good]) for name in ("edges", "borders"))
    for index, way in turned_labels(edges, borders).items():
        yield Problem(
            str(good[index].pair.label_file),
            f"its borders do not follow the edges of its image, but they do when it is {way}",
            "turn it like its image",
        )
    if shift := shift_of_all(edges, borders):
        down, right = shift
        yield Problem(
            str(data.source),
            f"the labels of most images lie {_percent(down, 'higher', 'lower')} and "
            f"{_percent(right, 'further left', 'further right')} than the edges they belong to",
            "look whether images or labels were cropped or padded",
        )


def _percent(share: float, before: str, after: str) -> str:
    return f"{abs(100 * share):.0f} % {before if share > 0 else after}"


def _one_each(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    """Yields images with a number far from the usual, where few have one."""
    kinds: list[tuple[Callable[[Sight], float], Callable[[float, float], bool], str, str, str]] = [
        (
            lambda s: s.details.colors,
            lambda own, usual: own <= _FEW_COLORS and usual > 8 * _FEW_COLORS,
            "image",
            "it has {own:.0f} colours, as label files have",
            "put the image in the place of this picture of labels",
        ),
        (
            lambda s: s.details.tail,
            lambda own, usual: own >= _LEAST_TAIL and usual < _LEAST_TAIL / 4,
            "image",
            "the lowest {percent:.0f} % of it are of one colour, as if it was not fetched whole",
            "fetch or write it again",
        ),
        (
            lambda s: s.size[0] * s.size[1],
            lambda own, usual: own * _SMALL < usual,
            "image",
            "it has {own:.0f} pixels, and most images have {usual:.0f}: is it a thumbnail?",
            "take the image at its full size, or drop it",
        ),
        (
            lambda s: s.details.specks,
            lambda own, usual: own >= _LEAST_SPECKS and own > 10 * usual,
            "label_file",
            "{percent:.1f} % of its pixels are alone among other classes, as after a lossy format",
            "draw or export it again",
        ),
    ]
    if data.classes.num_classes == 2:
        kinds.append(
            (
                lambda s: s.details.rim,
                lambda own, usual: (own > 0.95 and usual < 0.3) or (own < 0.05 and usual > 0.7),
                "label_file",
                "its rim is of the other class than that of most: are the classes exchanged?",
                "exchange the two classes in this file, if so",
            )
        )
    for number, differs, about, reason, do in kinds:
        values = np.array([number(sight) for sight in good])
        usual = float(np.median(values)) if len(values) else 0.0
        odd = [i for i, own in enumerate(values) if differs(float(own), usual)]
        for index in odd if len(odd) <= max(1, _FEW * len(good)) else ():
            own = float(values[index])
            text = reason.format(own=own, usual=usual, percent=100 * own)
            yield Problem(str(getattr(good[index].pair, about)), text, do)


def _lost(good: Sequence[Sight]) -> Iterator[Problem]:
    by_file: dict[str, list[Sight]] = defaultdict(list)
    for sight in good:
        if sight.details.lost:
            by_file[str(sight.pair.label_file)].append(sight)
    for file, sights in by_file.items():
        first, count = sights[0], sum(len(sight.details.lost) for sight in sights)
        more = "" if count == 1 else f", and {count - 1} more do"
        yield Problem(
            file,
            f"a shape of {first.pair.image.name} ({first.details.lost[0]!r}) lies outside the "
            f"image or has no area{more}",
            "draw it again, or delete it",
        )


def turned_copies(seen: dict[str, list[Sight]]) -> Iterator[Problem]:
    """Yields images of one split that are images of another, mirrored or turned."""
    sights = [(split, s) for split, found in seen.items() for s in found if s.problem is None]
    if len(seen) < 2 or not 1 < len(sights) <= _MOST_COMPARED:
        return
    looks = np.array([sight.look for _, sight in sights])
    turned = np.array([sight.details.turned for _, sight in sights])
    near = defaultdict(list)
    for way, name in enumerate(TURNS):
        for i, j in alike_to(looks, turned[:, way], _TURNED_BITS):
            if i < j and sights[i][0] != sights[j][0]:
                near[sights[i][0], sights[j][0]].append((i, j, name))
    for (first, second), found in near.items():
        i, j, name = found[0]
        count = len({b for _, b, _ in found})
        yield Problem(
            str(sights[j][1].pair.image),
            f"it looks like {sights[i][1].pair.image}, {name}: {count} of {second} are images of "
            f"{first} so",
            "split first and vary afterwards (kseg varies the training images itself), or scores "
            f"on {second} look better than they are",
        )


def names_alike(data: Data, holders: dict[str, np.ndarray]) -> Iterator[Problem]:
    """Yields classes in few images whose names are nearly those of others: slips of typing."""
    images = np.sum([*holders.values()], axis=0)
    names = data.classes.names
    for i, rare in enumerate(names):
        for j, usual in enumerate(names):
            if i == j or not 0 < images[i] <= max(1, images[j] // 10):
                continue
            one, other = (" ".join(name.casefold().split()) for name in (rare, usual))
            numbered = re.sub(r"\d+", "", one) == re.sub(r"\d+", "", other) and one != other
            close = SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.85
            if close and not numbered:
                yield Problem(
                    str(data.source),
                    f"the class {rare!r} is in {images[i]} images, and {usual!r} in {images[j]}: "
                    "is it a slip of typing?",
                    f"mend the name, or write `merge: {{{usual}: [{usual}, {rare}]}}`",
                )
