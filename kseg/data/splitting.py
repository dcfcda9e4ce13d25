"""Taking a part of the training images for validation, look-alikes kept together."""

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from kseg.data.duplicates import alike, groups, looks
from kseg.data.files import decode_image
from kseg.data.lists import Pair
from kseg.data.opening import FORMATS

# Looking at an image costs some milliseconds; beyond this many, names alone decide.
_LOOKED_AT = 2000
_WORKERS = 8
_SIDE = 64  # as small as JPEG's own shrinking goes without loss here


def part_of(
    pairs: Sequence[Pair], fraction: float, channels: int = 3
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Takes a fraction of the training images for validation.

    Images are chosen by the hash of their names, so most stay where they are when more are added.
    Copies and frames of one video, which look alike, go to one side; a long video is cut into
    pieces by its names. Of over 2,000 images none is looked at.

    Raises:
        ValueError: If none would be left to train on.
    """
    count = max(1, round(len(pairs) * fraction))
    if count >= len(pairs):
        raise ValueError(f"val takes {count} of {len(pairs)} images and leaves none to train on.")
    together: list[list[int]] = _together(pairs, max(1, count // 2), channels)
    chosen: set[int] = set()
    for group in sorted(together, key=lambda group: _hash(pairs[group[0]])):
        if len(chosen) + len(group) <= count:
            chosen.update(group)
    if not chosen:
        chosen = set(sorted(together, key=len)[0])
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for index, pair in enumerate(pairs):
        sides[index in chosen].append(pair)
    return tuple(sides[0]), tuple(sides[1])


def _hash(pair: Pair) -> bytes:
    return hashlib.sha256(os.fsencode(pair.image.name)).digest()


def _together(pairs: Sequence[Pair], longest: int, channels: int) -> list[list[int]]:
    """Returns the indices of pairs in groups that look alike, none longer than some length."""
    if len(pairs) > _LOOKED_AT:
        return [[index] for index in range(len(pairs))]
    with ThreadPoolExecutor(_WORKERS) as pool:
        hashes = list(pool.map(lambda pair: look_of(pair.image, channels), pairs))
    found: dict[int, list[int]] = defaultdict(list)
    for index, first in enumerate(groups(len(pairs), alike(np.array(hashes)))):
        found[first].append(index)
    pieces = []
    for group in found.values():
        group.sort(key=lambda index: (pairs[index].image.name, index))
        pieces += [group[start : start + longest] for start in range(0, len(group), longest)]
    return pieces


def look_of(path: Path, channels: int = 3) -> np.ndarray:
    """Returns the perceptual hash of an image file; of one that cannot be read, zeros.

    Args:
        path: The file.
        channels: Channels of the images, as the data has them.
    """
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return np.zeros(4, "uint64")
    return _look_of(path, channels, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2 * _LOOKED_AT)
def _look_of(path: Path, channels: int, changed: int, size: int) -> np.ndarray:
    try:
        if channels in (1, 3, 4):
            with Image.open(path, formats=FORMATS) as image:
                if not _is_deep(image):
                    image.draft("RGB", (_SIDE, _SIDE))  # JPEG is shrunk while it is read
                    return looks(image)
        decoded = decode_image(path, channels)
        gray = decoded.pixels.mean(-1)
        if decoded.bits is not None:  # of 16 bits, few images use all
            gray = (gray - gray.min()) * (255 / max(1.0, np.ptp(gray)))
        return looks(Image.fromarray(gray.astype("uint8")))
    except Exception:  # the file is named when everything is checked
        return np.zeros(4, "uint64")


def _is_deep(image: Image.Image) -> bool:
    """Returns whether an image has over 8 bits, of which Pillow's gray keeps the wrong ones."""
    bits = getattr(image, "tag_v2", {}).get(258, 8)  # of a TIFF
    return image.mode[0] in "IF" or max(bits if isinstance(bits, tuple) else (bits,)) > 8
