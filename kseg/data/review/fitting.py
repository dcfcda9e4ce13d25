"""Finding labels that belong to another image: their outlines do not follow its edges."""

import numpy as np
from PIL import Image

_SIDE = 64
_FINE = 4 * _SIDE
_COMPARED = 400  # images that each label map is laid over
_FEWEST = 12
_USUAL = 2.5  # by how many deviations labels fit their own image better than others, usually
_LOW = 1.0


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


def misfits(edges: np.ndarray, borders: np.ndarray) -> list[int]:
    """Returns the images whose labels fit no better than the labels of other images.

    Each label map is laid over other images too. Where labels usually fit their own image by far
    best, those that do not stand out; where they usually do not, nothing can be said.

    Args:
        edges: Of each image, as `outlines` returns them, (N, 4096).
        borders: Of its labels.

    Returns:
        Indices, ascending.
    """
    count = len(edges)
    if count < _FEWEST:
        return []
    others = np.unique(np.linspace(0, count - 1, min(count, _COMPARED)).astype(int))
    edges, borders = edges.astype("float32"), borders.astype("float32")
    own = np.einsum("ij,ij->i", edges, borders)
    usual = np.full(count, np.nan)
    for side, mine, theirs in ((0, edges, borders), (1, borders, edges)):
        fits = mine @ theirs[others].T
        fits[others, np.arange(len(others))] = np.nan
        deviations = (own - np.nanmean(fits, 1)) / (np.nanstd(fits, 1) + 1e-6)
        usual = deviations if side == 0 else np.maximum(usual, deviations)
    told = np.any(borders, 1) & np.any(edges, 1)
    if not told.any() or np.median(usual[told]) < _USUAL:
        return []
    return np.flatnonzero(told & (usual < _LOW)).tolist()


def _pooled(values: np.ndarray, step: int) -> np.ndarray:
    return values.reshape(_SIDE, step, _SIDE, step).mean((1, 3)).ravel()


def _normal(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    length = np.linalg.norm(centred)
    return (centred / length if length > 1e-6 else np.zeros_like(centred)).astype("float16")
