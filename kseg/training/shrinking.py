"""Large images are made smaller once, not at every step.

A camera's image of 12 megapixels takes a third of a second to decode, and a crop at the working
size shows a twentieth of its pixels. So training reads images that were shrunk to what the largest
enlargement needs. They are kept in a file without a name, which is gone with the process however
it ends. What does not fit into it is shrunk anew each time, to the same bits: what a training sees
does not depend on what was kept.
"""

import math
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from PIL import Image

from kseg.data import Augmentation, Data, Pair, fit_inside
from kseg.data.transforms import resize

_WORTHWHILE = 3  # times the pixels that are needed; images of fewer are read as they are
_MOST = 4 << 30  # bytes on the disk, which is a few thousand images


class ScratchFile:
    """Arrays in a file without a name; threads may use it at once."""

    def __init__(self, most: int = _MOST):
        """Makes an empty store.

        Args:
            most: Bytes that it may hold; half of the free disk at most.
        """
        self.room = min(most, shutil.disk_usage(tempfile.gettempdir()).free // 2)
        self._file = tempfile.TemporaryFile(buffering=0)
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._places: dict[Hashable, list[tuple[int, tuple[int, ...]]]] = {}
        self._end = 0

    def get(self, key: Hashable) -> tuple[np.ndarray, ...] | None:
        """Returns the arrays that were kept under a key, or None."""
        places = self._places.get(key)
        if places is None:
            return None
        contents = [os.pread(self._file.fileno(), math.prod(s), at) for at, s in places]
        return tuple(
            np.frombuffer(content, "uint8").reshape(shape)
            for content, (_, shape) in zip(contents, places, strict=True)
        )

    def put(self, key: Hashable, *arrays: np.ndarray) -> None:
        """Keeps arrays, uint8, if there is room."""
        with self._lock:
            if key in self._places or sum(array.size for array in arrays) > self.room:
                return
            places = []
            try:
                for array in arrays:
                    os.pwrite(self._file.fileno(), array.tobytes(), self._end)
                    places.append((self._end, array.shape))
                    self._end += array.size
                    self.room -= array.size
            except OSError:  # the disk is full: the rest is shrunk each time
                self.room = 0
                return
            self._places[key] = places


@dataclass(frozen=True)
class Shrinking(Data):
    """A data set whose training images may be read shrunk.

    Attributes:
        store: What was shrunk.
        box: (height, width) that images are fitted into; None reads them as they are.
    """

    store: ScratchFile = field(default_factory=ScratchFile, repr=False, compare=False)
    box: tuple[int, int] | None = None

    @classmethod
    def of(cls, data: Data) -> "Shrinking":
        """Returns a data set with an empty store."""
        given: dict[str, Any] = {f.name: getattr(data, f.name) for f in fields(data) if f.init}
        made = cls(**given)
        made.looked_at.update(data.looked_at)
        return made

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Reads as `Data.read`, images much larger than the box shrunk to it.

        They are interpolated, label maps are picked from (nearest).
        """
        key = (pair.image, pair.label_file, self.box)
        if self.box is not None and (kept := self.store.get(key)) is not None:
            return kept[0], kept[1]
        image, label_map = super().read(pair)
        if self.box is None:
            return image, label_map
        size = fit_inside(label_map.shape, self.box)
        if label_map.size < _WORTHWHILE * math.prod(size):
            return image, label_map
        picked = Image.fromarray(label_map).resize(size[::-1], Image.Resampling.NEAREST)
        image, label_map = resize(image, size), np.asarray(picked)
        self.store.put(key, image, label_map)
        return image, label_map


def box_of(size: tuple[int, int] | None, augmentation: Augmentation) -> tuple[int, int] | None:
    """Returns what images must be fitted into so that no enlargement shows a coarser one."""
    if size is None:
        return None
    largest = max(1.0, augmentation.scale[1]) * (1 + augmentation.aspect)
    return math.ceil(size[0] * largest), math.ceil(size[1] * largest)
