"""A data set, and its splits as Keras data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kseg.classes import Classes
from kseg.data.files import read_image, read_label_map
from kseg.data.transforms import Augmentation, augment, fit_inside, resize_image, stack


class Pair(NamedTuple):
    """An image and its label file."""

    image: Path
    label_file: Path


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        source: The YAML file.
        classes: Their names and colours.
        pairs: Split name to its images with label maps.
        lookup: 256 numbers, from the id in a label map file to the class; -1 where there is none.
        color_ids: For RGB label maps, from packed colour to the id.
    """

    source: Path
    classes: Classes
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
            size: (height, width) that images are fitted into, aspect kept; None keeps their own.
            batch_size: Images in a batch.
            seed: Of the order and of augmentation; None keeps the order of the files.
            augment: How images are varied; None leaves them as they are.

        Returns:
            Batches of images float32 (N, H, W, 3), 0..255, and label maps int32 (N, H, W).

        Raises:
            ValueError: If there is no such split.
        """
        return Split(self, self.files(name), size, batch_size, seed, augment)

    def files(self, split: str) -> tuple[Pair, ...]:
        """Returns the images and label maps of a split.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in self.pairs:
            raise ValueError(
                f"{self.source} has no split {split!r}; it has {', '.join(self.pairs)}."
            )
        return self.pairs[split]

    def images(self, split: str, count: int) -> list[np.ndarray]:
        """Returns images spread evenly over a split, for calibration.

        Args:
            split: "train", "val" or "test".
            count: How many at most.

        Returns:
            Images, uint8 (H, W, 3).
        """
        pairs = self.files(split)
        picks = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
        return [np.asarray(read_image(pairs[index].image)) for index in picks]

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, uint8 (H, W, 3), and its label map, uint8 (H, W), at their own size.

        Raises:
            ValueError: If a file cannot be read; it is named.
        """
        image, label_map = self._open(pair)
        return np.asarray(image), np.asarray(label_map)

    def _open(self, pair):
        image = read_image(pair.image)
        label_map = read_label_map(pair.label_file, self.lookup, self.color_ids)
        if image.size != label_map.size:
            raise ValueError(
                f"{pair.label_file}: it is {label_map.width} x {label_map.height} pixels and its "
                f"image {pair.image.name} is {image.width} x {image.height}; they must be equal."
            )
        return image, label_map


class Split(keras.utils.PyDataset):
    """Batches of one split; a batch is a function of the seed and its number alone.

    Numbers run on past the end into the next epoch, which has an order and variations of its own,
    so training that is interrupted and resumed sees what it would have seen. With augmentation
    every batch is full: the last of an epoch is filled from the epoch's beginning.
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
        return stack(
            [self._pair(pick, index, slot) for slot, pick in enumerate(self._picks(index))]
        )

    def files(self, index: int) -> list[Pair]:
        """Returns the images and label files of batch `index`."""
        return [self.pairs[pick] for pick in self._picks(index)]

    def _picks(self, index):
        epoch, batch = divmod(index, len(self))
        order = np.arange(len(self.pairs))
        if self.seed is not None:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        first = batch * self.batch_size
        if self.augmentation is None:
            return order[first : first + self.batch_size]
        return order.take(range(first, first + self.batch_size), mode="wrap")

    def _pair(self, pick, index, slot):
        image, label_map = self.data._open(self.pairs[pick])
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed or 0, index, slot))
            return augment(image, label_map, self.augmentation, self.size, rng)
        size = fit_inside((image.height, image.width), self.size)
        label_map = label_map.resize(size[::-1], 0)  # nearest
        return np.asarray(resize_image(image, size)), np.asarray(label_map)
