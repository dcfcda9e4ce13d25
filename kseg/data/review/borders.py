"""Finding labels that belong to another image: their outlines do not follow its edges."""

import numpy as np
from PIL import Image

_SIDE = 64
_FINE = 4 * _SIDE
_COMPARED = 2000
_FEWEST = 12
# At most so far above how labels fit images that are not theirs, in deviations, is how they fit
# their own image; at least so far the other one, and by so many times better.
_LIMITS = ((0.5, 2.5, 2.0), (1.5, 2.0, 1.5))


def outlines(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where an image has edges and where its labels have borders.

    Args:
        image: The image, uint8 (H, W, channels).
        labels: The label map, uint8 (H, W).

    Returns:
        Both float16 (4096,), of 64 x 64 places, with mean 0 and length 1; zeros where there is
        no edge or no border.
    """
    gray = Image.fromarray(image.mean(-1).astype("uint8"))
    values = np.asarray(gray.resize((_FINE // 2, _FINE // 2), Image.Resampling.BOX), "float32")
    down, right = np.abs(np.diff(values, axis=0)), np.abs(np.diff(values, axis=1))
    edges = np.zeros_like(values)
    edges[1:] += down
    edges[:, 1:] += right
    small = Image.fromarray(labels).resize((_FINE, _FINE), Image.Resampling.NEAREST)
    ids = np.asarray(small)
    borders = np.zeros(ids.shape, "float32")
    borders[1:] += ids[1:] != ids[:-1]
    borders[:, 1:] += ids[:, 1:] != ids[:, :-1]
    return _normal(_pooled(np.sqrt(edges), 2)), _normal(_pooled(borders, 4))


def misfits(edges: np.ndarray, borders: np.ndarray) -> dict[int, int]:
    """Returns the images whose labels are rather those of another image.

    Each label map is laid over the other images too. Labels that are at the wrong image fit it no
    better than any other image, and fit one of the others by far best: the one they were made for.

    Args:
        edges: Of each image, as `outlines` returns them, (N, 4096).
        borders: Of its labels.

    Returns:
        From the index of the labels to that of the image that they fit. Of over 2,000 images the
        first 2,000 are looked at.
    """
    edges, borders = (part[:_COMPARED].astype("float32") for part in (edges, borders))
    if len(edges) < _FEWEST:
        return {}
    fits = borders @ edges.T
    own = np.diag(fits).copy()
    by_labels = (fits - fits.mean(1, keepdims=True)) / (fits.std(1, keepdims=True) + 1e-6)
    by_image = (fits - fits.mean(0)) / (fits.std(0) + 1e-6)
    both = np.minimum(by_labels, by_image)
    best, here, there = both.argmax(1), np.diag(both), both.max(1)
    mutual = (both.argmax(0)[best] == np.arange(len(best))) & (best != np.arange(len(best)))
    ratio = fits.max(1) / np.maximum(own, 1e-6)
    strict, loose = (
        mutual & (here < low) & (there > far) & (ratio > more) for low, far, more in _LIMITS
    )
    # Two that each fit the other's image bear each other out.
    exchanged = loose & loose[best] & (best[best] == np.arange(len(best)))
    return {int(i): int(best[i]) for i in np.flatnonzero(strict | exchanged)}


def _pooled(values: np.ndarray, step: int) -> np.ndarray:
    return values.reshape(_SIDE, step, _SIDE, step).mean((1, 3)).ravel()


def _normal(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    length = np.linalg.norm(centred)
    return (centred / length if length > 1e-6 else np.zeros_like(centred)).astype("float16")
