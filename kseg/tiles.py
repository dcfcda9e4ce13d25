"""Labelling an image of any size in overlapping tiles, in memory that does not grow with it.

Where two tiles overlap, their logits are blended: near its edge a tile knows nothing of what lies
beyond, so a quarter of the overlap on either side counts for nothing, and between them the weights
go from one tile to the other in a straight line. Only the rows that the next tiles reach into are
kept as logits; all above them are labels already.
"""

from collections.abc import Callable

import numpy as np

from kseg.strips import as_wide, label_map

_STRIDE = 32  # tiles begin at multiples of the coarsest stride, so that all grids are one


def label_tiles(
    logits_of: Callable[[slice, slice], np.ndarray], size: tuple[int, int], tile: tuple[int, int]
) -> np.ndarray:
    """Labels an image tile by tile.

    Args:
        logits_of: Gives the logits float32 (h, w, num_classes) of the part of the image in (rows,
            columns).
        size: (H, W) of the image.
        tile: (height, width) of a tile; those at the bottom and right may be smaller.

    Returns:
        The label map, uint8 (H, W).
    """
    labels = np.empty(size, "uint8")
    rows, columns = (_spans(*sides) for sides in zip(size, tile, strict=True))
    below: np.ndarray | None = None  # logits of the rows that the last row of tiles had too
    for row, next_top in rows:
        beside: np.ndarray | None = None
        kept = np.empty(0)
        for column, next_left in columns:
            logits = np.array(logits_of(row, column), "float32")
            if beside is not None:
                beside, logits = as_wide(beside, logits)
                _blend(beside.swapaxes(0, 1), logits.swapaxes(0, 1))
            done = next_left - column.start
            beside, logits = logits[:, done:], logits[:, :done]
            place = slice(column.start, next_left)
            if below is not None:
                below, logits = as_wide(below, logits)
                _blend(below[:, place], logits)
            labels[row.start : next_top, place] = label_map(logits[: next_top - row.start])
            if next_top < row.stop:
                if not kept.size:
                    kept = np.zeros((row.stop - next_top, size[1], logits.shape[-1]), "float32")
                kept, logits = as_wide(kept, logits)
                kept[:, place] = logits[next_top - row.start :]
        below = kept if kept.size else None
    return labels


def _spans(size: int, tile: int) -> list[tuple[slice, int]]:
    """Returns, for the tiles along an axis, their places and where the next one begins.

    Each overlaps the next by a quarter of its length or a little more.
    """
    step = tile * 3 // 4
    step = max(1, step // _STRIDE * _STRIDE or step)
    starts = range(0, max(1, size - (tile - step)), step)
    ends = [*starts[1:], size]
    return [
        (slice(start, min(start + tile, size)), end)
        for start, end in zip(starts, ends, strict=True)
    ]


def _blend(old: np.ndarray, new: np.ndarray) -> None:
    """Mixes the logits that a tile shares with the one before into the beginning of the tile."""
    length = len(old)
    weight = np.clip((np.arange(length) + 0.5 - length / 4) / max(length / 2, 1), 0, 1)
    weight = weight.astype("float32")[:, None, None]
    new[:length] = old + (new[:length] - old) * weight
