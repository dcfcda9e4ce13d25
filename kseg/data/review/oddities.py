"""What is odd about few images of a data set beside all the others."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np

from kseg.data.dataset import Data
from kseg.data.duplicates import alike, alike_to
from kseg.data.review.details import TURNS, table_of_looks
from kseg.data.review.exchanged import exchanged_classes
from kseg.data.review.parts import parts_of_others
from kseg.data.review.placing import shift_of_all, shifted_labels, turned_labels
from kseg.data.review.problems import Problem
from kseg.data.review.sights import Sight

_FEW = 0.1  # a share of images that is an exception, not the rule
_FEW_COLORS = 10
_LEAST_TAIL = 0.12
_LEAST_SPECKS = 0.002
_SMALL = 8  # times fewer pixels than usual
_MOST_COMPARED = 5000
_MOST_CUT = 700  # images of which all parts are compared with all others
_TURNED_BITS = 24  # of 256 that may differ
_FEWEST = 12  # images that show what is usual
# How the brightness of its classes goes with what is usual, from -1 to 1: in a negative, in most
# others, and in how many of these.
_NEGATIVE, _LIKE, _MOST_LIKE = -0.5, 0.3, 0.9


def odd_ones(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    """Yields what sets few images apart from the others."""
    alone = [*_one_each(data, good)]
    yield from alone
    yield from _exchanged(data, good, {problem.file for problem in alone})
    yield from _lost(good)
    yield from _negatives(good)
    edges, borders = (np.array([getattr(s, name) for s in good]) for name in ("edges", "borders"))
    for index, way in turned_labels(edges, borders).items():
        yield Problem(
            str(good[index].pair.label_file),
            f"its borders do not follow the edges of its image, but they do when it is {way}",
            "turn it like its image",
        )
    if shift := shift_of_all(edges, borders):
        yield Problem(
            str(data.source),
            f"the labels of most images lie {_off(*shift)} than the edges they belong to",
            "look whether images or labels were cropped or padded",
        )
        return
    shifted = shifted_labels(edges, borders)
    for index, shift in shifted.items() if len(shifted) <= max(1, _FEW * len(good)) else ():
        yield Problem(
            str(good[index].pair.label_file),
            f"its borders lie {_off(*shift)} than the edges of its image",
            "move it back, or draw it again",
        )


def _off(down: float, right: float) -> str:
    """Says how labels lie that have to be moved by shares of the sides."""
    far = f"{abs(100 * down):.0f} % {'higher' if down > 0 else 'lower'}"
    return f"{far} and {abs(100 * right):.0f} % further {'left' if right > 0 else 'right'}"


def _negatives(good: Sequence[Sight]) -> Iterator[Problem]:
    """Yields images whose bright classes are dark and whose dark ones are bright."""
    if len(good) < _FEWEST:
        return
    _, numbers = table_of_looks([sight.details.looks for sight in good])
    present = ~np.isnan(numbers[..., 0])
    light, share = np.nan_to_num(numbers[..., 0]), np.nan_to_num(np.exp(numbers[..., 4]))
    usual = np.ma.median(np.ma.array(light, mask=~present), axis=0).filled(0)
    both = (share * light * usual).sum(1)
    alone = (share * light**2).sum(1) * (share * usual**2).sum(1)
    alike = both / np.sqrt(np.maximum(alone, 1e-9))
    negative = np.flatnonzero(alike < _NEGATIVE)
    if np.mean(alike > _LIKE) < _MOST_LIKE or len(negative) > max(1, _FEW / 5 * len(good)):
        return
    for index in negative.tolist():
        yield Problem(
            str(good[index].pair.image),
            "its classes are bright where those of the others are dark: is it a negative?",
            "invert its colours, if so",
        )


def _exchanged(data: Data, good: Sequence[Sight], told: set[str]) -> Iterator[Problem]:
    """Yields label files with two classes that look like each other elsewhere."""
    for index, pair in exchanged_classes([sight.details.looks for sight in good]).items():
        file = str(good[index].pair.label_file)
        first, second = (data.classes.names[number] for number in pair)
        if file not in told:
            yield Problem(
                file,
                f"what is {first!r} looks like {second!r} in the other images, and {second!r} like "
                f"{first!r}: are the two exchanged?",
                "exchange them in this file, if so",
            )


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


def cut_out(seen: dict[str, list[Sight]]) -> Iterator[Problem]:
    """Yields images of one split that are a part of an image of another."""
    sights = [(split, s) for split, found in seen.items() for s in found if s.problem is None]
    if len(seen) < 2 or len(sights) < 2:
        return
    picks = np.linspace(0, len(sights) - 1, min(_MOST_CUT, len(sights))).astype(int)
    sights = [sights[pick] for pick in picks]
    splits = np.array([list(seen).index(split) for split, _ in sights])
    found = parts_of_others(np.array([s.details.small for _, s in sights]), splits)
    found = [
        (i, j) for i, j in found if not alike(np.array([sights[i][1].look, sights[j][1].look]))
    ]
    if found:
        (_, part), (split, whole) = (sights[index] for index in found[0])
        count = "1 image is" if len(found) == 1 else f"{len(found)} images are"
        yield Problem(
            str(part.pair.image),
            f"it looks like a part of {whole.pair.image} ({split}; {count} so)",
            "cut images up after they are split (kseg takes crops of the training images itself), "
            "or scores look better than they are",
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
