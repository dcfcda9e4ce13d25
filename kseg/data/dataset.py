"""A data set, and its splits as Keras data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from kseg.classes import Classes
from kseg.data.files import Decoded, decode_image, turn
from kseg.data.label_files import LabelIds, read_ids, to_classes
from kseg.data.lists import Pair
from kseg.data.opening import header
from kseg.data.transforms import Augmentation, augment, fit_inside, resize, stack


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        source: The YAML file, or the folder where there is none.
        classes: The names and colours of the classes.
        pairs: Split name to its images with label files.
        lookup: 256 or 65536 numbers, from the id in a label file to the class; -1 where there is
            none.
        color_ids: For label files of colours, from packed colour to the id.
        name_ids: For labels that are shapes, from the name of a class to the id.
        channels: Channels of the images.
        bits: How many bits 16-bit images use; None decides it image by image.
    """

    source: Path
    classes: Classes
    pairs: dict[str, tuple[Pair, ...]]
    lookup: np.ndarray = field(repr=False, compare=False)
    color_ids: dict[int, int] = field(default_factory=dict, repr=False)
    name_ids: dict[str, int] = field(default_factory=dict, repr=False)
    channels: int = 3
    bits: int | None = None
    # The splits whose labels were looked at, so that each warning comes once.
    looked_at: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

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
            seed: Sets the order and the augmentation; None keeps the order of the files.
            augment: How images are varied; None leaves them as they are.

        Returns:
            Batches of images float32 (N, H, W, channels), 0..255, and label maps int32 (N, H, W).

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
            Images, uint8 (H, W, channels).
        """
        pairs = self.files(split)
        picks = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
        decoded = (decode_image(pairs[pick].image, self.channels, self.bits) for pick in picks)
        return [turn(image.pixels, image.tag) for image in decoded]

    def ids(self, pair: Pair) -> LabelIds:
        """Returns the ids of an image's labels, read from its label file or drawn.

        Raises:
            ValueError: If they cannot be read or drawn; the file is named.
        """
        if pair.drawing is None:
            return read_ids(pair.label_file, self.color_ids)
        head = header(pair.image)
        # Shapes without a size of their own lie over the image as it is shown.
        stored = pair.drawing.size == head.size
        size = head.size if stored else turned_size(head.size, head.tag)
        if 0 in size:
            raise ValueError(f"{pair.image}: it cannot be read as an image.")
        return LabelIds(pair.drawing.draw(size, self.name_ids), "shape", 1)

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, uint8 (H, W, channels), and its label map, uint8 (H, W).

        Both have the image's own size, and are turned as the image's EXIF tag says.

        Raises:
            ValueError: If a file cannot be read, or they do not match; the file is named.
        """
        image = decode_image(pair.image, self.channels, self.bits)
        labels = self.ids(pair)
        label_turn = matching_turn(pair, image, labels)
        label_map = to_classes(pair.label_file, labels.ids, self.lookup)
        return turn(image.pixels, image.tag), turn(label_map, label_turn)


def matching_turn(pair: Pair, image: Decoded, labels: LabelIds) -> int:
    """Returns the EXIF orientation by which a label file is turned to match its image.

    Raises:
        ValueError: If their sizes differ, or if nothing says whether the label file is turned.
    """
    size = turned_size(image.pixels.shape, image.tag)
    # A label file was drawn either over the image as it is shown, or over its pixels as stored.
    ways = {image.tag} if labels.tag == image.tag else {1, labels.tag, image.tag}
    if labels.tag not in (1, image.tag):
        ways = {1, labels.tag}
    fitting = [way for way in sorted(ways) if turned_size(labels.ids.shape, way) == size]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        tagged = pair.image if image.tag != 1 else pair.label_file
        tag = image.tag if image.tag != 1 else labels.tag
        raise ValueError(
            f"{tagged}: its EXIF tag ({tag}) turns or mirrors it, and nothing says whether "
            f"{(pair.label_file if tagged == pair.image else pair.image).name} is turned likewise; "
            "save both as they are to be seen, without the tag."
        )
    height, width = labels.ids.shape
    raise ValueError(
        f"{pair.label_file}: it is {width} x {height} pixels and its image {pair.image.name} is "
        f"{size[1]} x {size[0]}; they must be equal."
    )


def turned_size(shape: tuple[int, ...], tag: int) -> tuple[int, int]:
    """Returns the (height, width) that an array has after it is turned."""
    return (shape[1], shape[0]) if tag >= 5 else (shape[0], shape[1])


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
        return self.part(index, slice(None))

    def part(self, index: int, which: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns some images of batch `index`, as they are in the whole of it."""
        picks = list(enumerate(self._picks(index)))[which]
        return stack([self._pair(pick, index, slot) for slot, pick in picks])

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
        image, label_map = self.data.read(self.pairs[pick])
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed or 0, index, slot))
            return augment(image, label_map, self.augmentation, self.size, rng)
        size = fit_inside(label_map.shape, self.size)
        picked = Image.fromarray(label_map).resize(size[::-1], Image.Resampling.NEAREST)
        return resize(image, size), np.asarray(picked)
