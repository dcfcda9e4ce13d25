"""The images of a training: which, in what order, and how large."""

from dataclasses import replace

import keras
import numpy as np
from PIL import Image

from kseg.data import Augmentation, Data, Pair, Split
from kseg.data.opening import ORIENTATION
from kseg.data.transforms import fit_inside
from kseg.training.recipe import Recipe
from kseg.training.shrinking import Shrinking, box_of


def trained_splits(recipe: Recipe) -> tuple[str, ...]:
    """Returns the names of the splits that a recipe trains on."""
    return ("train", "val") if recipe.with_val else ("train",)


def training_split(data: Data, recipe: Recipe, *, instances: bool = False) -> Split:
    """Returns the training images as a recipe orders and varies them.

    Args:
        data: The data set.
        recipe: The recipe.
        instances: As for `Data.split`.
    """
    pairs = sum((data.files(name) for name in trained_splits(recipe)), ())
    crop = crop_of(recipe, data)
    augmentation = Augmentation(
        crop,
        recipe.scale,
        flip=recipe.flip,
        turn=recipe.turn,
        color=recipe.color,
        focus=recipe.focus,
    )
    data = replace(data, pairs={"train": pairs})
    if isinstance(data, Shrinking):
        data = replace(data, box=box_of(recipe.size, augmentation))
    return data.split(
        "train",
        size=recipe.size,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        augment=augmentation,
        instances=instances,
    )


class Stream(keras.utils.PyDataset):
    """A split without end: batch numbers run on over the epochs.

    With an end, Keras would start each epoch at number 0, and with the same variations.
    """

    def __init__(self, split: Split, start: int, workers: int, part: slice = slice(None)):
        """Makes the stream.

        Args:
            split: The images.
            start: Number of the first batch.
            workers: Threads that prepare batches.
            part: Which images of each batch.
        """
        super().__init__(workers=workers)
        self.split, self.start, self.part = split, start, part

    @property
    def num_batches(self):
        """None: there is no end."""
        return None

    def __getitem__(self, index):
        """Returns batch `index`, counted from the start."""
        if self.part == slice(None):
            return self.split[self.start + index]
        return self.split.part(self.start + index, self.part)


def largest_of(data: Data, size: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the (height, width) at which the largest image of "val" is scored."""
    found = (1, 1)
    for pair in data.pairs.get("val", ()):
        sides = fit_inside(size_of(data, pair), size)
        found = max(found, sides, key=lambda sides: sides[0] * sides[1])
    return found


def size_of(data: Data, pair: Pair) -> tuple[int, int]:
    """Returns the (height, width) of an image, of most kinds without reading its pixels."""
    try:
        with Image.open(pair.image) as header:
            # Of a TIFF, Pillow gives the size as it is shown.
            turned = header.format != "TIFF" and header.getexif().get(ORIENTATION, 1) >= 5
            return (header.width, header.height) if turned else (header.height, header.width)
    except OSError:  # a kind that only `Data.read` knows
        height, width = data.read(pair)[1].shape
        return height, width


def crop_of(recipe: Recipe, data: Data) -> tuple[int, int]:
    """Returns the (height, width) of training crops: the recipe's, or one that suits the images."""
    if recipe.crop is not None:
        return recipe.crop
    height, width = recipe.size or data.read(data.files("train")[0])[1].shape
    return height + -height % 32, width + -width % 32


def validated(data: Data, count: int | None) -> Data:
    """Returns the data set with so many of its validation images, spread evenly; None for all."""
    pairs = data.pairs.get("val", ())
    if count is None or count >= len(pairs):
        return data
    picks = np.linspace(0, len(pairs) - 1, count).round().astype(int)
    part = replace(data, pairs={**data.pairs, "val": tuple(pairs[pick] for pick in picks)})
    part.looked_at.update(data.looked_at)
    return part


def spread(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Returns images in an order in which the first few, however many, lie evenly among all."""
    bits = max(1, (len(pairs) - 1).bit_length())
    order = sorted(range(len(pairs)), key=lambda index: f"{index:0{bits}b}"[::-1])
    return tuple(pairs[index] for index in order)
