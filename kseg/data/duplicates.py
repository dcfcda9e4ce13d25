"""Images that look alike: copies, and frames of one video."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

_SIDE = 16  # the hash has 16 x 16 bits
_CHUNK = 512


def looks(image: Image.Image) -> np.ndarray:
    """Returns the perceptual hash of an image.

    The image is shrunk to 17 x 16 gray pixels; a bit says whether a pixel is brighter than the
    one on its left (dHash). Scale, light and compression change few of the 256 bits.

    Args:
        image: The image, of any mode.

    Returns:
        The bits, uint64 (4,).
    """
    small = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    gray = np.asarray(small, "int16")
    # A step of one is noise where the image is flat.
    bits = np.packbits(np.diff(gray, axis=1) > 1)
    return bits.view("uint64")


def alike(hashes: np.ndarray, limit: int = 40) -> list[tuple[int, int]]:
    """Returns the pairs of images that look alike.

    Args:
        hashes: As `looks` returns them, uint64 (N, 4).
        limit: Bits of 256 that may differ; 40 are a shift by 2 % of the width. Two images that
            have nothing to do with each other
            differ in about 100.

    Returns:
        Index pairs, the lower index first. Images without any detail, such as black ones, are
        like nothing.
    """
    hashes = np.asarray(hashes, "uint64").reshape(-1, 4)
    detailed = np.bitwise_count(hashes).sum(1) > limit
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), _CHUNK):
        part = hashes[start : start + _CHUNK]
        rest = hashes[start:]
        distance = np.zeros((len(part), len(rest)), "uint16")
        for word in range(4):
            distance += np.bitwise_count(part[:, None, word] ^ rest[None, :, word])
        near = np.argwhere(distance <= limit) + start
        pairs += [(int(a), int(b)) for a, b in near if a < b and detailed[a] and detailed[b]]
    return pairs


def alike_to(hashes: np.ndarray, others: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Returns the pairs of an image of one kind and an image of another that look alike.

    Args:
        hashes: As `looks` returns them, uint64 (N, 4).
        others: Likewise, uint64 (M, 4).
        limit: Bits of 256 that may differ.

    Returns:
        Pairs of an index of hashes and one of others. Images with little detail are like nothing:
        two of a few spots on black differ in few bits.
    """
    plain, plain_others = (np.bitwise_count(part).sum(1) <= 2 * limit for part in (hashes, others))
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), _CHUNK):
        part = hashes[start : start + _CHUNK]
        distance = np.zeros((len(part), len(others)), "uint16")
        for word in range(4):
            distance += np.bitwise_count(part[:, None, word] ^ others[None, :, word])
        distance[plain[start : start + _CHUNK]] = 256
        distance[:, plain_others] = 256
        pairs += [(int(a) + start, int(b)) for a, b in np.argwhere(distance <= limit)]
    return pairs


def groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Returns a number for each of some images, the same for all that hang together.

    Args:
        count: How many images there are.
        pairs: Which two look alike.

    Returns:
        For each image the lowest index of its group.
    """
    first = list(range(count))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        first[high] = low
    return [root(index) for index in range(count)]
