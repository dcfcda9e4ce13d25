"""A data set, and its splits as Keras data sets."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kseg.classes import Classes
from kseg.data.augmentation import Augmentation
from kseg.data.batches import Split
from kseg.data.files import Decoded, decode_image, turn
from kseg.data.label_files import LabelIds, read_ids, to_classes
from kseg.data.lists import Pair
from kseg.data.object_ids import Numbers, Told, read_masks, told_apart
from kseg.data.opening import header, open_image


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
        things: The classes whose objects are told apart; () where none are.
        object_ids: Which ids in label files number objects, bool (65536,); empty without things.
    """

    source: Path
    classes: Classes
    pairs: dict[str, tuple[Pair, ...]]
    lookup: np.ndarray = field(repr=False, compare=False)
    color_ids: dict[int, int] = field(default_factory=dict, repr=False)
    name_ids: dict[str, int] = field(default_factory=dict, repr=False)
    channels: int = 3
    bits: int | None = None
    things: tuple[int, ...] = ()
    object_ids: np.ndarray = field(
        default_factory=lambda: np.zeros(0, bool), repr=False, compare=False
    )
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
        instances: bool = False,
    ) -> "Split":
        """Returns a split as a Keras data set of (images, label maps).

        Args:
            name: "train", "val" or "test".
            size: (height, width) that images are fitted into, aspect kept; None keeps their own.
            batch_size: Images in a batch.
            seed: Sets the order and the augmentation; None keeps the order of the files.
            augment: How images are varied; None leaves them as they are.
            instances: Whether objects are told apart; then the targets of
                `kseg.data.targets.targets_of` stand in place of the label maps.

        Returns:
            Batches of images float32 (N, H, W, channels), 0..255, and label maps int32 (N, H, W).

        Raises:
            ValueError: If there is no such split, or no objects that could be told apart.
        """
        things = self.told_things() if instances else ()
        return Split(self, self.files(name), size, batch_size, seed, augment, things)

    def told_things(self) -> tuple[int, ...]:
        """Returns the classes whose objects are told apart.

        Raises:
            ValueError: If there are none.
        """
        if not self.things:
            raise ValueError(
                f"{self.source} does not tell objects apart; name the classes that it is for in "
                "the YAML file, such as `instances: [car]`."
            )
        return self.things

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
        if self.things and pair.drawing is None and pair.label_file.is_dir():
            return read_masks(pair.label_file)[0]
        if pair.drawing is None:
            return read_ids(pair.label_file, self.color_ids)
        return LabelIds(pair.drawing.draw(self._drawn_size(pair), self.name_ids), "shape", 1)

    def _drawn_size(self, pair: Pair) -> tuple[int, int]:
        head = header(pair.image)
        # Shapes without a size of their own lie over the image as it is shown.
        stored = pair.drawing is not None and pair.drawing.size == head.size
        size = head.size if stored else turned_size(head.size, head.tag)
        if 0 in size:
            open_image(pair.image)  # says what it is
            raise ValueError(f"{pair.image}: it cannot be read as an image.")
        return size

    def numbers(self, pair: Pair, labels: LabelIds) -> Numbers:
        """Returns which object each pixel is of.

        Args:
            pair: The image and its labels.
            labels: Its labels, as `ids` returns them.

        Raises:
            ValueError: If a file of ids or masks cannot be read; it is named.
        """
        if pair.drawing is not None:
            names = {n for n, i in self.name_ids.items() if self.lookup[i] in self.things}
            numbers, overlap = pair.drawing.number(self._drawn_size(pair), names)
            return Numbers(numbers, 1, overlap)
        file = pair.instance_file or pair.label_file
        if file.is_dir():
            masks, overlap = read_masks(file)
            return Numbers(masks.ids.astype("int32"), masks.tag, overlap)
        if pair.instance_file is None:
            numbers = np.where(self.object_ids[labels.ids], labels.ids, 0)
            return Numbers(numbers.astype("int32"), labels.tag)
        found = read_ids(file, {})
        return Numbers(found.ids.astype("int32"), found.tag)

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

    def read_instances(self, pair: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns an image, its label map and the ids of its objects.

        A pixel of a thing that is of no object, such as one of a crowd, is ignored.

        Returns:
            The image, uint8 (H, W, channels), the label map, uint8 (H, W), and ids, int32 (H, W):
            0 for no object, 1 to n. All have the image's own size, and are turned as the image's
            EXIF tag says.

        Raises:
            ValueError: As `read`, or if objects are not told apart.
        """
        self.told_things()
        image = decode_image(pair.image, self.channels, self.bits)
        told, _ = self.tell_apart(pair, image, self.ids(pair))
        return turn(image.pixels, image.tag), told.label_map, told.ids

    def tell_apart(self, pair: Pair, image: Decoded, labels: LabelIds) -> tuple[Told, Numbers]:
        """Returns the objects of an image that was read, and what its files say of them.

        Args:
            pair: The image and its labels.
            image: The image, as `decode_image` returns it.
            labels: Its labels, as `ids` returns them.

        Raises:
            ValueError: As `read_instances`.
        """
        numbers = self.numbers(pair, labels)
        label_map = to_classes(pair.label_file, labels.ids, self.lookup)
        label_map = turn(label_map, matching_turn(pair, image, labels))
        if pair.instance_file is not None:
            own = LabelIds(numbers.numbers, "id", numbers.tag)
            number_turn = matching_turn(pair._replace(label_file=pair.instance_file), image, own)
        else:
            number_turn = matching_turn(pair, image, labels)
        return told_apart(label_map, turn(numbers.numbers, number_turn), self.things), numbers


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
