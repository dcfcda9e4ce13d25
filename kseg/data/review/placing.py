"""Finding labels that lie wrong on their own image: turned or shifted."""

import numpy as np

from kseg.data.review.details import TURNS

_SIDE = 64
_COMPARED = 300
_FEWEST = 12
_FARTHEST = 8  # places of 64
# Deviations above how labels fit images that are not theirs: at most so far as they lie, at least
# so far turned, and by so many times better.
_LIMITS = (1.0, 3.5, 2.0)
_GAIN = 1.25
_AGREED = 0.75
# Of one label map: how far it may be shifted, in places of 64, and how close to its place is no
# shift; how many deviations above all shifts it may fit as it lies and must fit shifted, how many
# times better than as it lies, and than anywhere else.
_REACH, _NEAR = 14, 2
_OWN, _SHIFTED, _BETTER, _CLEARER = 1.5, 3.5, 1.5, 1.25
_CHUNK = 256


def turned_labels(edges: np.ndarray, borders: np.ndarray) -> dict[int, str]:
    """Returns the labels that fit their image only when they are turned.

    Args:
        edges: Of each image, as `kseg.data.review.borders.outlines` returns them, (N, 4096).
        borders: Of its labels.

    Returns:
        From the index of the labels to how they have to be turned, of the keys of `TURNS`.
    """
    edges, borders = (part.astype("float32") for part in (edges, borders))
    if len(edges) < _FEWEST:
        return {}
    fits = borders @ edges[:_COMPARED].T
    mean, deviation = fits.mean(1), fits.std(1) + 1e-6
    places = borders.reshape(-1, _SIDE, _SIDE)
    turned = np.stack(
        [
            ((np.stack([way(place) for place in places]).reshape(edges.shape)) * edges).sum(1)
            for way in TURNS.values()
        ],
        1,
    )
    own = (borders * edges).sum(1)
    here, there = (own - mean) / deviation, (turned.max(1) - mean) / deviation
    low, far, more = _LIMITS
    second = np.sort(turned, 1)[:, -2]
    best = turned.max(1)
    right = (here < low) & (there > far) & (best > more * np.maximum(own, 1e-6))
    right &= best > 1.5 * second
    ways = list(TURNS)
    return {int(i): ways[int(turned[i].argmax())] for i in np.flatnonzero(right)}


def shift_of_all(edges: np.ndarray, borders: np.ndarray) -> tuple[float, float] | None:
    """Returns by how much all labels have to be moved to fit their images, if they have to.

    Args:
        edges: As for `turned_labels`.
        borders: Likewise.

    Returns:
        (down, right) as shares of the sides; None where they lie right, or too few say so.
    """
    if len(edges) < _FEWEST:
        return None
    picks = np.linspace(0, len(edges) - 1, min(_COMPARED, len(edges))).astype(int)
    near = np.arange(-_FARTHEST, _FARTHEST + 1)
    fits = _fits_shifted(edges[picks], borders[picks], _FARTHEST)
    mean = fits.mean(0)
    down, right = np.unravel_index(mean.argmax(), mean.shape)
    middle = slice(_FARTHEST - 1, _FARTHEST + 2)  # a place more or less is no shift
    still = fits[:, middle, middle].max((1, 2))
    agreed = np.mean(fits[:, down, right] > still)
    if mean[down, right] <= _GAIN * still.mean() or agreed < _AGREED:
        return None
    return float(near[down] / _SIDE), float(near[right] / _SIDE)


def shifted_labels(edges: np.ndarray, borders: np.ndarray) -> dict[int, tuple[float, float]]:
    """Returns the labels that fit their image only when they are moved.

    Args:
        edges: As for `turned_labels`.
        borders: Likewise.

    Returns:
        From the index of the labels to (down, right) by which they have to be moved, as shares of
        the sides.
    """
    found = {}
    for start in range(0, len(edges), _CHUNK):
        part = slice(start, start + _CHUNK)
        for index, fits in enumerate(_fits_shifted(edges[part], borders[part], _REACH), start):
            if (place := _shift_of_one(fits)) is not None:
                found[index] = (place[0] / _SIDE, place[1] / _SIDE)
    return found


def _shift_of_one(fits: np.ndarray) -> tuple[int, int] | None:
    """Returns by how many places labels have to be moved, from how they fit at each shift."""
    still = float(_around(fits, (_REACH, _REACH), 1).max())
    far = fits.copy()
    _around(far, (_REACH, _REACH), _NEAR)[:] = -1
    down, right = divmod(int(far.argmax()), far.shape[1])
    best = float(far[down, right])
    _around(far, (down, right), _NEAR)[:] = -1
    mean, deviation = float(fits.mean()), float(fits.std()) + 1e-6
    other = max(still, float(far.max()))
    if (still - mean) / deviation >= _OWN or (best - mean) / deviation <= _SHIFTED:
        return None
    if best <= max(_BETTER * still, _CLEARER * other):
        return None
    return down - _REACH, right - _REACH


def _around(values: np.ndarray, place: tuple[int, int], reach: int) -> np.ndarray:
    down, right = (slice(max(0, middle - reach), middle + reach + 1) for middle in place)
    return values[down, right]


def _fits_shifted(edges: np.ndarray, borders: np.ndarray, reach: int) -> np.ndarray:
    """Returns how labels fit their images at each shift of up to `reach` places, (N, r, r)."""
    shape, near = (-1, _SIDE, _SIDE), np.arange(-reach, reach + 1)
    places = np.fft.rfft2(borders.astype("float32").reshape(shape))
    found = np.fft.rfft2(edges.astype("float32").reshape(shape))
    return np.fft.irfft2(found * np.conj(places), s=(_SIDE, _SIDE))[:, near][:, :, near]
