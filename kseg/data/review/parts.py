"""Finding images that are a part of another image, cut out and perhaps enlarged."""

import numpy as np

_SIDE = 64  # of the small images that are compared
_BITS = 16  # a hash has 16 x 16 bits, as those of `kseg.data.duplicates`
_SCALES = np.linspace(0.5, 0.97, 16)  # sides of a part in sides of the whole
_STEP = 1.3  # places of 64 from one part to the next
_DETAILED = 40  # of 256 bits, that are set in an image with something in it
# Bits that may differ; those of two frames of a drive, a second apart, differ in 46.
_DIFFER = 44
# How alike the parts have to be then, as a correlation. Of CamVid, nuclei and drawn shapes 95 % of
# parts have over 0.91, and no two images that have nothing to do with each other over 0.73.
_ALIKE = 0.88


def parts_of_others(small: np.ndarray, splits: np.ndarray) -> list[tuple[int, int]]:
    """Returns which images are a part of an image of another split.

    A part has the whole's shape, and at least half of its sides.

    Args:
        small: All images, gray and shrunk, uint8 (N, 64, 64).
        splits: A number for the split of each, (N,).

    Returns:
        Pairs of the indices of a part and of its whole, one for each part.
    """
    cuts = [_cut(scale) for scale in _SCALES]
    images = np.concatenate([_cells(image, *_cut(1.0)) for image in small])
    hashes = _hashes(images)
    able = np.bitwise_count(hashes).sum(1) > _DETAILED
    found: dict[int, tuple[float, int]] = {}
    for whole, image in enumerate(small):
        parts = np.concatenate([_cells(image, *cut) for cut in cuts])
        words = np.ascontiguousarray(_hashes(parts).T)
        for other in np.flatnonzero((splits != splits[whole]) & able).tolist():
            each = zip(words, hashes[other], strict=True)
            differ = sum(np.bitwise_count(word ^ own).astype("uint16") for word, own in each)
            nearest = int(np.argmin(differ))
            if differ[nearest] > _DIFFER:
                continue
            score = float(np.corrcoef(parts[nearest].ravel(), images[other].ravel())[0, 1])
            if score >= max(_ALIKE, found.get(other, (0.0, 0))[0]):
                found[other] = (score, whole)
    return [(part, whole) for part, (_, whole) in sorted(found.items())]


def _cut(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns what takes the means of an image's rows and columns for all parts of a scale.

    Returns:
        float32 (parts along an axis, cells, 64), for rows and for columns.
    """
    length = scale * _SIDE
    starts = np.linspace(0, _SIDE - length, 1 + int(np.ceil((_SIDE - length) / _STEP)))
    pixels = np.arange(_SIDE)
    axes = []
    for cells in (_BITS, _BITS + 1):
        first = (starts[:, None] + length / cells * np.arange(cells))[..., None]
        last = first + length / cells
        shared = np.clip(np.minimum(last, pixels + 1) - np.maximum(first, pixels), 0, None)
        axes.append((shared * cells / length).astype("float32"))
    return axes[0], axes[1]


def _cells(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns each part of an image, shrunk to 16 x 17 numbers, float32 (parts, 16, 17)."""
    down, right = rows.reshape(-1, _SIDE), columns.reshape(-1, _SIDE)
    means = down @ image.astype("float32") @ right.T
    means = means.reshape(len(rows), _BITS, len(columns), _BITS + 1)
    return means.transpose(0, 2, 1, 3).reshape(-1, _BITS, _BITS + 1)


def _hashes(cells: np.ndarray) -> np.ndarray:
    """Returns the hash of each part, uint64 (parts, 4)."""
    bits = np.diff(cells, axis=-1) > 1
    return np.packbits(bits.reshape(-1, _BITS * _BITS), axis=-1).view("uint64")
