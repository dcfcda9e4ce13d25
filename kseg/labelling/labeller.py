"""A model that goes to other processes and labels batches there."""

import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import keras
import numpy as np
from PIL import Image

from kseg.classes import Classes
from kseg.data.files import decode_image, read_image, turn
from kseg.data.transforms import fit_inside
from kseg.inference import predict, predict_together
from kseg.labelling.stores import source_columns
from kseg.seeing import Segmenter, format_of, input_size, working_size
from kseg.web_images import read_from_web

MOST_PIXELS = 1 << 22  # of an image that a network without a working size sees
_PIXELS_AT_ONCE = 1 << 17  # in one call of a network; more are slower on a CPU (docs/scale.md)
_NO_MAP = np.zeros((0, 0), "uint8")  # of what could not be labelled
_NOT_SENT = ("_opened", "_process", "_lock")
_Opened = tuple[Any, Classes | None, tuple[int, int] | None]


@dataclass(frozen=True)
class Labelled:
    """What came of an image.

    Attributes:
        labels: The label map, uint8 (H, W); None for an image that could not be labelled.
        error: A sentence that says why it could not; None for the others.
    """

    labels: np.ndarray | None
    error: str | None


class Labeller:
    """Labels batches of images; an engine such as Ray, Spark or Beam sends it to its workers.

    It can be pickled at any time. The model is loaded when the first batch comes, once in each
    process, and stays there.

    Example:
        `ray.data.read_images(folder).map_batches(kseg.Labeller("runs/street"), batch_size=32)`
    """

    def __init__(
        self,
        model: str | Path | Segmenter,
        *,
        column: str = "image",
        png: bool = False,
        size: tuple[int, int] | None = None,
        native: bool = False,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        opened_with: Mapping[str, Any] | None = None,
    ):
        """Makes the labeller, without loading anything.

        Args:
            model: A run folder, a .tflite or .keras file, the name of a trained model, or what
                `kseg.predict` takes; that must be picklable, as a keras.Model is.
            column: Where a batch is a dict, the key of its images.
            png: Whether the label maps of a dict are the bytes of gray PNG files, in place of
                arrays. Rows of bytes can be stored anywhere, whatever the sizes of the images.
            size: As for `kseg.predict`, like the three that follow.
            native: Whether images are labelled at their own size in tiles.
            flip: Whether the mirror image is looked at too.
            scales: How many times as large as the working size the model sees the image.
            opened_with: Options of `kseg predict` that say how a file is opened: `network`,
                `delegate`, `normalization`, `output`, `signature` and `kernels`.

        Raises:
            ValueError: If size is given with native, or `opened_with` with a model that is open.
        """
        if native and size is not None:
            raise ValueError("native labels an image at its own size; leave size out.")
        if callable(model) and opened_with:
            raise ValueError(f"opened_with is for what is to be opened; {model} is open already.")
        self.model = model if callable(model) else str(model)
        self.column, self.png, self.size = column, png, size
        self.native, self.flip, self.scales = native, flip, tuple(scales)
        self.opened_with = dict(opened_with or {})
        self._bits: int | None = None
        if callable(model):  # a pickled keras.Model forgets them
            self.size, self._bits = size or working_size(model), format_of(model)[1]
        self._forget()

    def _forget(self) -> None:
        self._opened: _Opened | None = None
        self._process = 0
        self._lock = threading.Lock()  # a .tflite file has one process, which does one at a time

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _NOT_SENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    @overload
    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]: ...

    @overload
    def __call__(self, batch: Sequence[Any] | np.ndarray) -> list[Labelled]: ...

    def __call__(self, batch):
        """Labels the images of a batch.

        An image that cannot be read or labelled stops nothing.

        Args:
            batch: Images: arrays (H, W, channels), 0..255, the bytes of image files, or their
                paths or https addresses. Or a dict that has them under `column`, beside others.

        Returns:
            Of a sequence, a `Labelled` for each image. Of a dict, the same dict with two keys
            more; columns of their names get "source_" before them. "labels" are the label maps: an
            array uint8 (N, H, W) where all have one size, else an array of N arrays, or of bytes
            for `png`; what could not be labelled has a map without pixels, or no bytes. "error"
            are sentences, empty for what was labelled.

        Raises:
            ValueError: If there is no such model, or a dict has no such column.
        """
        if not isinstance(batch, Mapping):
            return list(self.label_all(batch))
        if self.column not in batch:
            raise ValueError(
                f"The batch has no column {self.column!r}; it has {', '.join(map(str, batch))}. "
                "Name the one with the images: kseg.Labeller(model, column=...)."
            )
        done = list(self.label_all(batch[self.column]))
        maps = [_NO_MAP if row.labels is None else row.labels for row in done]
        labels = [png_of(row.labels) for row in done] if self.png else maps
        errors = np.array([row.error or "" for row in done], object)
        made = {"labels": _column(labels), "error": errors}
        return {**source_columns(batch, made), **made}

    def label(self, image: Any, name: str = "the image") -> Labelled:
        """Labels one image.

        Args:
            image: As in a batch.
            name: What an error calls it.
        """
        (found,) = self.label_all([image], name)
        return found

    def label_all(self, images: Iterable[Any], name: str = "the image") -> Iterator[Labelled]:
        """Labels images in turn; a network sees small ones of one shape together.

        Args:
            images: As in a batch; an exception in place of one that could not be had. No more of
                them are taken at a time than are seen together.
            name: What an error calls an image.

        Yields:
            What came of each.
        """
        model, _, _ = self.opened()
        waiting: list[np.ndarray] = []
        for image in images:
            found = self._tried(self.read, image, name)
            if waiting and (isinstance(found, str) or found.shape != waiting[0].shape):
                yield from self._together(model, waiting)
                waiting = []
            if isinstance(found, str):
                yield Labelled(None, found)
                continue
            waiting.append(found)
            if len(waiting) >= self._at_once(model, waiting[0].shape):
                yield from self._together(model, waiting)
                waiting = []
        yield from self._together(model, waiting)

    def read(self, image: Any, name: str = "the image") -> np.ndarray:
        """Returns an image of a batch as an array, with the channels that the model takes.

        Raises:
            ValueError: If it cannot be read.
        """
        if isinstance(image, Exception):
            raise image
        channels, bits = format_of(self.opened()[0])
        form = channels, bits or self._bits
        if isinstance(image, Mapping):  # as Hugging Face's data sets hold images
            image = image.get("bytes") or image.get("path")
        if isinstance(image, bytes | bytearray | memoryview):
            decoded = decode_image(name, *form, content=bytes(image))
            return turn(decoded.pixels, decoded.tag)
        if isinstance(image, str | Path):
            if str(image).lower().startswith(("https://", "http://")):
                return read_from_web(str(image), *form)
            return read_image(image, *form)
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f"{name} must be an array, the bytes of an image file or its path; got "
                f"{type(image).__name__}."
            )
        return image

    def opened(self) -> _Opened:
        """Returns (model, its classes or None, working size or None), loaded when first asked for.

        Raises:
            ValueError: If there is no such model.
        """
        with self._lock:
            if self._opened is None or self._process != os.getpid():  # a fork shares no model
                self._opened, self._process = self._open(), os.getpid()
            return self._opened

    def _open(self) -> _Opened:
        if not isinstance(self.model, str):
            return self.model, None, None
        from kseg.cli.loading import find_model

        return find_model(self.model, **self.opened_with)

    def _together(self, model: Segmenter, images: list[np.ndarray]) -> list[Labelled]:
        if not images:
            return []
        with self._lock:
            found = self._tried(self._labels, model, images)
        if not isinstance(found, str):
            return [Labelled(labels, None) for labels in found]
        if len(images) == 1:
            return [Labelled(None, found)]
        return [row for image in images for row in self._together(model, [image])]

    def _labels(self, model: Segmenter, images: list[np.ndarray]) -> list[np.ndarray]:
        options: dict[str, Any] = {"flip": self.flip, "scales": self.scales}
        if self.native:
            return [predict(model, image, native=True, **options) for image in images]
        return predict_together(model, images, self._size(model, images[0].shape), **options)

    def _size(self, model: Segmenter, shape: tuple[int, ...]) -> tuple[int, int] | None:
        size = self.size or (self._opened[2] if self._opened else None)
        return size_seen(model, size, (shape[0], shape[1]))

    def _at_once(self, model: Segmenter, shape: tuple[int, ...]) -> int:
        if self.native or not isinstance(model, keras.Model):  # a .tflite file takes one image
            return 1
        fitted = fit_inside((shape[0], shape[1]), self._size(model, shape))
        height, width = input_size(model) or fitted
        return max(1, int(_PIXELS_AT_ONCE / (height * width * max(self.scales, default=1) ** 2)))

    def _tried(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what an action gives, or the sentence that says what is wrong with an image."""
        try:
            return action(*arguments)
        except (ValueError, OSError) as error:
            if hasattr(error, "exit_code"):  # of the model or the machine, not of this image
                raise
            return str(error)


def size_seen(
    model: Segmenter, size: tuple[int, int] | None, own: tuple[int, int]
) -> tuple[int, int] | None:
    """Returns the size that an image is fitted into, None for its own.

    Args:
        model: As for `kseg.predict`.
        size: The working size; None takes the model's. Where neither has one and the model takes
            any size, an image of over 4 megapixels is made smaller.
        own: (height, width) of the image.
    """
    size = size or working_size(model)
    if size is None and input_size(model) is None and own[0] * own[1] > MOST_PIXELS:
        shrink = (MOST_PIXELS / (own[0] * own[1])) ** 0.5
        return int(own[0] * shrink), int(own[1] * shrink)
    return size


def png_of(labels: np.ndarray | None) -> bytes:
    """Returns a label map as a gray PNG file; no bytes for None."""
    if labels is None:
        return b""
    content = io.BytesIO()
    Image.fromarray(labels).save(content, "PNG")
    return content.getvalue()


def _column(values: list[Any]) -> np.ndarray:
    """Returns rows as an array; rows of different sizes as an array of arrays."""
    if values and not isinstance(values[0], bytes) and len({v.shape for v in values}) == 1:
        return np.stack(values)
    column = np.empty(len(values), object)
    for index, value in enumerate(values):
        column[index] = value
    return column
