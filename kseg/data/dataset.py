"""A data set described by a YAML file, and its splits as Keras data sets."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import yaml

from kseg.data.files import default_lookup, read_image, read_label_map
from kseg.data.transforms import Augmentation, augment, fit_inside, resize_image, stack
from kseg.label_map import IGNORE_CLASS, LabelMap

_KEYS = ("path", "train", "val", "test", "names", "ignore", "colors")
_SPLITS = ("train", "val", "test")
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class Pair(NamedTuple):
    """A photo and its label map."""

    image: Path
    label_map: Path


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        source: The YAML file.
        label_map: Names and colours of the classes.
        pairs: Split name to its photos with label maps.
        lookup: 256 numbers, from the id in a label map file to the class; -1 where there is none.
        color_ids: For RGB label maps, from packed colour to the id.
    """

    source: Path
    label_map: LabelMap
    pairs: dict[str, tuple[Pair, ...]]
    lookup: np.ndarray = field(repr=False, compare=False)
    color_ids: dict[int, int] = field(default_factory=dict, repr=False)

    def split(
        self,
        name: str,
        *,
        size: tuple[int, int] | None = None,
        batch_size: int = 8,
        seed: int | None = None,
        augment: Augmentation | None = None,
    ) -> "Split":
        """Returns a split as a Keras data set of (images, label maps).

        Args:
            name: "train", "val" or "test".
            size: (height, width) that photos are fitted into, aspect kept; None keeps their own.
            batch_size: Photos in a batch.
            seed: Of the order and of augmentation; None keeps the order of the files.
            augment: How photos are varied; None leaves them as they are.

        Returns:
            Batches of images float32 (N, H, W, 3), 0..255, and label maps int32 (N, H, W).

        Raises:
            ValueError: If there is no such split.
        """
        return Split(self, self.files(name), size, batch_size, seed, augment)

    def files(self, split: str) -> tuple[Pair, ...]:
        """Returns the photos and label maps of a split.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in self.pairs:
            raise ValueError(
                f"{self.source} has no split {split!r}; it has {', '.join(self.pairs)}."
            )
        return self.pairs[split]

    def images(self, split: str, count: int) -> list[np.ndarray]:
        """Returns photos spread evenly over a split, for calibration.

        Args:
            split: "train", "val" or "test".
            count: How many at most.

        Returns:
            Photos, uint8 (H, W, 3).
        """
        pairs = self.files(split)
        picks = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
        return [np.asarray(read_image(pairs[index].image)) for index in picks]

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Returns a photo, uint8 (H, W, 3), and its label map, uint8 (H, W), at their own size.

        Raises:
            ValueError: If a file cannot be read; it is named.
        """
        image, label_map = self._open(pair)
        return np.asarray(image), np.asarray(label_map)

    def _open(self, pair):
        path = pair.image
        try:
            image, path = read_image(path), pair.label_map
            label_map = read_label_map(path, self.lookup, self.color_ids)
            if image.size != label_map.size:
                raise ValueError(
                    f"it is {label_map.width} x {label_map.height} pixels and its photo "
                    f"{pair.image.name} is {image.width} x {image.height}; they must be equal"
                )
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None
        return image, label_map


class Split(keras.utils.PyDataset):
    """Batches of one split; a batch is a function of the seed and its number alone.

    Numbers run on past the end into the next epoch, which has an order and variations of its own,
    so training that is interrupted and resumed sees what it would have seen. Every batch is full:
    the last of an epoch is filled from the epoch's beginning.
    """

    def __init__(
        self,
        data: Data,
        pairs: Sequence[Pair],
        size: tuple[int, int] | None,
        batch_size: int,
        seed: int | None,
        augmentation: Augmentation | None,
    ):
        """See `Data.split`."""
        super().__init__()
        self.data, self.pairs, self.size = data, pairs, size
        self.batch_size, self.seed, self.augmentation = batch_size, seed, augmentation

    def __len__(self) -> int:
        """Returns the batches of an epoch."""
        return -(-len(self.pairs) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns batch `index`, counted from the start of the first epoch."""
        epoch, batch = divmod(index, len(self))
        order = np.arange(len(self.pairs))
        if self.seed is not None:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        first = batch * self.batch_size
        if self.augmentation is None:
            picks = order[first : first + self.batch_size]
        else:
            picks = order.take(range(first, first + self.batch_size), mode="wrap")
        return stack([self._pair(pick, index, slot) for slot, pick in enumerate(picks)])

    def _pair(self, pick, index, slot):
        image, label_map = self.data._open(self.pairs[pick])
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed or 0, index, slot))
            return augment(image, label_map, self.augmentation, self.size, rng)
        size = fit_inside((image.height, image.width), self.size)
        label_map = label_map.resize(size[::-1], 0)  # nearest
        return np.asarray(resize_image(image, size)), np.asarray(label_map)


def load_data(path: str | Path) -> Data:
    """Reads the description of a data set; the photos themselves are read when they are used.

    Args:
        path: A YAML file with `path` (a folder, relative to the file; the file's own by default),
            `train`, `val`, `test` (each a text file of `image label` lines relative to `path`, or
            `{images: folder, labels: folder}` matched by stem; `val` may be a fraction of
            train), `names` (a list, or id: name), `ignore` (an id or a list of them), `colors`
            (one [red, green, blue] for each name).

    Returns:
        The data set.

    Raises:
        ValueError: If the file, a folder or a label map is missing, or a key is wrong.
    """
    source = Path(path)
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None
    try:
        return _data(source, content)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _data(source: Path, content: Any) -> Data:
    if not isinstance(content, dict):
        raise ValueError("a data file has lines such as `train: train.txt`.")
    unknown = set(map(str, content)) - set(_KEYS)
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}; keys are {', '.join(_KEYS)}.")
    for key in ("train", "names"):
        if key not in content:
            raise ValueError(f"the key {key!r} is missing.")
    ids, names = _names(content["names"])
    colors = content.get("colors") or ()
    if not isinstance(colors, list | tuple) or not all(isinstance(c, list) for c in colors):
        raise ValueError("colors must be a list of [red, green, blue], one for each name.")
    label_map = LabelMap(names, tuple(tuple(color) for color in colors))
    lookup = default_lookup(0)
    lookup[ids] = np.arange(len(ids))
    lookup[_ignored(content.get("ignore"), ids)] = IGNORE_CLASS
    packed = [red << 16 | green << 8 | blue for red, green, blue in label_map.colors]
    color_ids = {0: IGNORE_CLASS, **dict(zip(packed, ids, strict=True))} if colors else {}
    root = source.parent / str(content.get("path", "."))
    if not root.is_dir():
        raise ValueError(f"path names the folder {root}, which does not exist.")
    pairs = {
        name: _pairs(root, name, content[name])
        for name in _SPLITS
        if name in content and not isinstance(content[name], float)
    }
    if isinstance(content.get("val"), float):
        pairs["train"], pairs["val"] = _part(pairs["train"], content["val"])
    return Data(source, label_map, pairs, lookup, color_ids)


def _names(names: Any) -> tuple[list[int], tuple[str, ...]]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(
        type(key) is int and 0 <= key <= 255 for key in names
    ):
        raise ValueError("names must be a list, or id: name with ids from 0 to 255.")
    ids = sorted(names)
    return ids, tuple(str(names[key]) for key in ids)


def _ignored(ignore: Any, ids: list[int]) -> list[int]:
    ignored = [] if ignore is None else ignore if isinstance(ignore, list) else [ignore]
    for value in ignored:
        if type(value) is not int or not 0 <= value <= 255 or value in ids:
            raise ValueError(
                f"ignore must be ids from 0 to 255 that names does not list; got {value!r}."
            )
    return ignored


def _pairs(root: Path, name: str, entry: Any) -> tuple[Pair, ...]:
    if isinstance(entry, str):
        pairs = _listed(root, name, root / entry)
    elif isinstance(entry, dict) and set(entry) == {"images", "labels"}:
        pairs = _matched(root / str(entry["images"]), root / str(entry["labels"]))
    else:
        raise ValueError(
            f"{name} must be a list file or {{images: folder, labels: folder}}; got {entry!r}."
        )
    if not pairs:
        raise ValueError(f"the split {name!r} is empty.")
    return tuple(pairs)


def _listed(root: Path, name: str, path: Path) -> list[Pair]:
    if not path.is_file():
        raise ValueError(f"{name} names the list {path}, which does not exist.")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            # Two paths; with a tab between them they may hold spaces.
            parts = line.strip().split("\t" if "\t" in line else None)
            if len(parts) != 2:
                raise ValueError(f"{path}, line {number} must be `image label`; got {line!r}.")
            pairs.append(Pair(root / parts[0], root / parts[1]))
    return pairs


def _matched(images: Path, labels: Path) -> list[Pair]:
    found = []
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"the folder {folder} does not exist.")
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in _IMAGE_ENDINGS)
        stems = {file.stem: file for file in files}
        if len(stems) < len(files):
            raise ValueError(f"{folder} has two files with one stem; stems match photo to label.")
        found.append(stems)
    photos, label_maps = found
    alone = sorted(photos.keys() ^ label_maps.keys())
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise ValueError(
            f"photos in {images} and label maps in {labels} must have the same stems; only one "
            f"folder has {', '.join(alone[:5])}{more}."
        )
    return [Pair(photos[stem], label_maps[stem]) for stem in sorted(photos)]


def _part(pairs: tuple[Pair, ...], fraction: float) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Takes a fraction for validation.

    Photos are chosen by the hash of their names, so most stay where they are when more are added.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val as a fraction must be between 0 and 1; got {fraction}.")
    order = sorted(pairs, key=lambda pair: hashlib.sha256(pair.image.name.encode()).digest())
    count = max(1, round(len(order) * fraction))
    if count >= len(order):
        raise ValueError(f"val takes {count} of {len(order)} photos and leaves none to train on.")
    chosen = set(order[:count])
    rest = tuple(pair for pair in pairs if pair not in chosen)
    return rest, tuple(pair for pair in pairs if pair in chosen)
