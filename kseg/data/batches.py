"""A split as Keras takes it: batches of images and of what is to be learnt from them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kseg.data.augmentation import Augmentation, augment
from kseg.data.lists import Pair
from kseg.data.targets import targets_of
from kseg.data.transforms import fit_inside, picked, resize, stack

if TYPE_CHECKING:
    from kseg.data.dataset import Data


class Split(keras.utils.PyDataset):
    """Batches of one split; a batch is a function of the seed and its number alone.

    Numbers run on past the end into the next epoch, which has an order and variations of its own,
    so training that is interrupted and resumed sees what it would have seen. With augmentation
    every batch is full: the last of an epoch is filled from the epoch's beginning.
    """

    def __init__(
        self,
        data: "Data",
        pairs: Sequence[Pair],
        size: tuple[int, int] | None,
        batch_size: int,
        seed: int | None,
        augmentation: Augmentation | None,
        things: tuple[int, ...] = (),
    ):
        """See `Data.split`."""
        super().__init__()
        self.data, self.pairs, self.size = data, pairs, size
        self.batch_size, self.seed, self.augmentation = batch_size, seed, augmentation
        self.things = things

    def __len__(self) -> int:
        """Returns the batches of an epoch."""
        return -(-len(self.pairs) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        """Returns batch `index`, counted from the start of the first epoch."""
        return self.part(index, slice(None))

    def part(self, index: int, which: slice) -> tuple[np.ndarray, Any]:
        """Returns some images of batch `index`, as they are in the whole of it."""
        picks = list(enumerate(self._picks(index)))[which]
        images, labels = stack([self._pair(pick, index, slot) for slot, pick in picks])
        return images, targets_of(labels, self.things) if self.things else labels

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
        if self.things:
            image, label_map, ids = self.data.read_instances(self.pairs[pick])
            labels = np.stack([label_map.astype("int32"), ids], -1)
        else:
            image, labels = self.data.read(self.pairs[pick])
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed or 0, index, slot))
            return augment(image, labels, self.augmentation, self.size, rng)
        size = fit_inside(labels.shape[:2], self.size)
        return resize(image, size), picked(labels, size)
