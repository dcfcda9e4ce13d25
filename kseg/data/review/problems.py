"""What is wrong or odd about a data set: file, reason, and what to do."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kseg.classes import IGNORE_CLASS
from kseg.data.dataset import Data
from kseg.data.duplicates import alike
from kseg.data.review.borders import misfits
from kseg.data.review.sights import Sight

_LISTED = 5  # numbers of objects
_FEW = 0.2  # a share of images that is an exception, not the rule
_DARK = 16  # images of fluorescence go down to 30


@dataclass(frozen=True)
class Problem:
    """One thing to look at.

    Attributes:
        file: The file, split or data set that it is about.
        reason: What is wrong.
        advice: What to do.
        stops: Whether nothing can be trained before it is mended.
    """

    file: str
    reason: str
    advice: str = ""
    stops: bool = False


def problem_of(text: str, file: str, *, stops: bool = False) -> Problem:
    """Makes a problem of a sentence such as `file: reason; what to do`."""
    head, colon, rest = text.partition(": ")
    if colon and ("/" in head or "\\" in head):
        unread = " cannot be read"
        if head.endswith(unread):
            head, rest = head.removesuffix(unread), f"it cannot be read: {rest}"
        file, text = head, rest
    reason, semicolon, advice = text.rstrip(".").rpartition("; ")
    return Problem(file, reason if semicolon else advice, advice if semicolon else "", stops)


def of_images(data: Data, seen: dict[str, list[Sight]]) -> Iterator[Problem]:
    """Yields what can be said of single images and of images that share something."""
    good = [sight for sights in seen.values() for sight in sights if sight.problem is None]
    for finder in (
        _flat,
        _gray,
        _turned,
        _remarked,
        _palettes,
        _blank,
        _reused,
        _unfitting,
        _of_objects,
    ):
        yield from finder(data, good)
    yield from _across(seen)


def _flat(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    for sight in good:
        if sight.brightest == sight.darkest:
            yield Problem(
                str(sight.pair.image), "all its pixels are equal", "replace it or drop it"
            )
        elif sight.brightest < _DARK:
            yield Problem(
                str(sight.pair.image),
                f"it is nearly black: its brightest number is {sight.brightest} of 255",
                "make it brighter, or give `bits` if its numbers have 16 bits",
            )


def _gray(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    gray = [sight for sight in good if sight.gray or sight.details.gray]
    if data.channels != 3 or not gray or len(gray) > _FEW * len(good):
        return
    yield Problem(
        str(gray[0].pair.image),
        f"it is gray, and most images have colours ({_images(len(gray))} of {len(good)} so)",
        "make sure that the network will see gray images too, or drop them",
    )


def _turned(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    turned = [sight for sight in good if sight.tag != 1]
    if turned:
        yield Problem(
            str(turned[0].pair.image),
            f"its EXIF tag ({turned[0].tag}) turns it ({_images(len(turned))} so)",
            "kseg turns it with its labels; other programs may not, so store it as it is seen",
        )


def _remarked(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    first: dict[str, list[Sight]] = defaultdict(list)
    for sight in good:
        for remark in sight.remarks:
            first[remark].append(sight)
    for remark, sights in first.items():
        reason, _, advice = remark.partition("; ")
        yield Problem(str(sights[0].pair.image), f"{reason} ({_images(len(sights))} so)", advice)


def _palettes(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    votes: dict[int, Counter] = defaultdict(Counter)
    for sight in good:
        for index, color in sight.palette:
            votes[index][color] += 1
    usual = {index: colors.most_common(1)[0][0] for index, colors in votes.items()}
    odd = [s for s in good if any(usual[index] != color for index, color in s.palette)]
    for sight in odd if len(odd) <= _FEW * len(good) else ():
        how = "its colours" if sight.by == "palette" else "its indices"
        yield Problem(
            str(sight.pair.label_file),
            f"its palette has other colours than those of the other label files; {how} are read",
            "look at its classes below, and write it again with the palette of the others",
        )


def _blank(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    """Says which few label files are of one class alone, or of ignored pixels."""
    ignored, alone = [], []
    for sight in good:
        classes = {int(data.lookup[value]) for value in sight.ids}
        if classes == {IGNORE_CLASS}:
            ignored.append(sight)
        elif len(classes - {IGNORE_CLASS}) == 1:
            alone.append((sight, data.classes.names[(classes - {IGNORE_CLASS}).pop()]))
    for sight in ignored:
        yield Problem(
            str(sight.pair.label_file), "all its pixels are ignored", "label it, or drop the image"
        )
    # Of three images, one of one class may be a slip; of two it may as well be what is usual.
    for sight, name in alone if len(alone) <= max(len(good) > 2, _FEW / 2 * len(good)) else ():
        yield Problem(
            str(sight.pair.label_file),
            f"all of it is {name!r}, as in few other label files",
            "look whether something is not labelled",
        )


def _reused(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    by_labels: dict[bytes, list[Sight]] = defaultdict(list)
    for sight in good:
        if len(sight.ids) > 1:
            by_labels[sight.labels].append(sight)
    for same in by_labels.values():
        if len({sight.content for sight in same}) > 1:
            one, other = same[0], next(s for s in same if s.content != same[0].content)
            shared = other.pair.label_file == one.pair.label_file  # or one file of all shapes
            file, first = (
                (pair.image if shared else pair.label_file) for pair in (other.pair, one.pair)
            )
            yield Problem(
                str(file),
                f"its labels are just those of {first}, and the images differ",
                "one of them has the labels of another image: find the right ones",
            )


def _unfitting(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    if len({sight.content for sight in good}) < 2:
        return
    edges = np.array([sight.edges for sight in good])
    borders = np.array([sight.borders for sight in good])
    for index, other in misfits(edges, borders).items():
        yield Problem(
            str(good[index].pair.label_file),
            f"its borders do not follow the edges of {good[index].pair.image.name}, but those of "
            f"{good[other].pair.image.name}",
            "look whether it belongs to that image",
        )


def _of_objects(data: Data, good: Sequence[Sight]) -> Iterator[Problem]:
    seen = [(sight, sight.objects) for sight in good if sight.objects is not None]
    names = ", ".join(data.classes.names[thing] for thing in data.things)
    kinds = (
        (
            [(s, o) for s, o in seen if o.overlap],
            lambda o: f"objects overlap: {o.overlap} pixels are of several, and count for the last",
            "give each pixel to one object, or put the one in front last",
        ),
        (
            [(s, o) for s, o in seen if o.unnamed],
            lambda o: f"no pixel of {_numbered(o.unnamed)} is of a class in instances ({names})",
            "give the pixels their class, or take the object out",
        ),
        (
            [(s, o) for s, o in seen if o.parted],
            lambda o: f"{_numbered(o.parted)} (counted in their order) lies in several pieces",
            "if the pieces are objects of their own, number them so",
        ),
        (
            [(s, o) for s, o in seen if o.ignored],
            lambda o: f"{o.ignored} pixels of {names} are of no object, so they are ignored",
            "nothing, if they are of crowds; else number the objects",
        ),
    )
    for having, reason, advice in kinds:
        if having:
            sight, objects = having[0]
            file = sight.pair.instance_file or sight.pair.label_file
            yield Problem(str(file), f"{reason(objects)} ({_images(len(having))} so)", advice)
    if seen and not any(objects.total for _, objects in seen):
        yield Problem(str(data.source), f"no image has an object of {names}", stops=True)


def _across(seen: dict[str, list[Sight]]) -> Iterator[Problem]:
    """Yields copies, and images of several splits that look alike."""
    sights = [(split, s) for split, found in seen.items() for s in found if s.problem is None]
    by_content: dict[bytes, list[tuple[str, Sight]]] = defaultdict(list)
    for split, sight in sights:
        by_content[sight.content].append((split, sight))
    for same in by_content.values():
        for split, sight in same[1:]:
            (first, one), advice = same[0], "keep one of them"
            if first != split:
                advice = f"keep one of them: scores on {split} look better than they are"
            yield Problem(
                str(sight.pair.image), f"it is the same image as {one.pair.image} ({first})", advice
            )
    if len(seen) < 2 or not sights:
        return
    near: dict[tuple[str, str], list[tuple[Sight, Sight]]] = defaultdict(list)
    for i, j in alike(np.array([sight.look for _, sight in sights])):
        (first, one), (second, other) = sights[i], sights[j]
        if first != second and one.content != other.content:
            near[first, second].append((one, other))
    for (first, second), pairs in near.items():
        one, other = pairs[0]
        count = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
        yield Problem(
            str(other.pair.image),
            f"it looks like {one.pair.image}: {count} of images of {first} and {second} look "
            "alike, as frames of one video do",
            f"put whole videos into one split, or scores on {second} look better than they are",
        )


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _numbered(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:_LISTED]))
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"object{'s' * (len(numbers) > 1)} {listed}{more}"
