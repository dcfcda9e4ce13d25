"""Reading every file of a data set once, before time is spent on training."""

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kseg.classes import IGNORE_CLASS
from kseg.data.dataset import Data, Pair

_LISTED_AT_MOST = 20


@dataclass(frozen=True)
class DataReport:
    """What a data set holds.

    Attributes:
        pixels: Split name to the pixels of each class, int64 (num_classes,).
        ignored: Split name to the ignored pixels.
        fingerprint: sha256 over names and contents; equal data has an equal fingerprint.
    """

    pixels: dict[str, np.ndarray]
    ignored: dict[str, int]
    fingerprint: str


def check_data(data: Data, splits: Sequence[str] = ("train", "val")) -> DataReport:
    """Reads all images and label maps of some splits.

    Args:
        data: The data set.
        splits: Names of splits.

    Returns:
        What they hold.

    Raises:
        ValueError: If a split is missing or any file cannot be used; all such files are named.
    """
    digest = hashlib.sha256(repr(data.classes).encode() + data.lookup.tobytes())
    pixels: dict[str, np.ndarray] = {}
    ignored: dict[str, int] = {}
    problems: list[str] = []
    images: dict[bytes, set[str]] = {}
    for split in splits:
        pairs = data.files(split)
        counts = np.zeros(256, "int64")
        digest.update(split.encode())
        with ThreadPoolExecutor() as pool:
            for result in pool.map(lambda pair: _look(data, pair), pairs):
                if isinstance(result, str):
                    problems.append(result)
                    continue
                histogram, image, content = result
                counts += histogram
                digest.update(content)
                images.setdefault(image, set()).add(split)
        pixels[split] = counts[: data.classes.num_classes]
        ignored[split] = int(counts[IGNORE_CLASS])
        if not problems and not pixels[split].any():
            raise ValueError(f"{data.source}: all pixels of the split {split!r} are ignored.")
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:_LISTED_AT_MOST])
        more = len(problems) - _LISTED_AT_MOST
        listed += f"\n  and {more} more" if more > 0 else ""
        files = "1 file" if len(problems) == 1 else f"{len(problems)} files"
        raise ValueError(f"{data.source}: {files} cannot be used:\n{listed}")
    shared = sum(len(where) > 1 for where in images.values())
    if shared:
        warnings.warn(
            f"{data.source}: {shared} images are in more than one of the splits "
            f"{', '.join(splits)}, so scores will look better than they are.",
            stacklevel=2,
        )
    return DataReport(pixels, ignored, digest.hexdigest())


def _look(data: Data, pair: Pair) -> tuple[np.ndarray, bytes, bytes] | str:
    try:
        _, label_map = data.read(pair)
        image = hashlib.sha256(pair.image.read_bytes()).digest()
        content = image + hashlib.sha256(pair.label_file.read_bytes()).digest()
    except (ValueError, OSError) as error:
        return str(error)
    return np.bincount(label_map.ravel(), minlength=256), image, content
