"""Reading one image or one label map with Pillow."""

import functools
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kseg.classes import IGNORE_CLASS

MAX_PIXELS = 50_000_000
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_LOSSY = ("JPEG", "WEBP", "GIF")


def _naming_the_file(read):
    """Puts the file's name before what a reader says is wrong with it."""

    @functools.wraps(read)
    def reader(path, *arguments):
        try:
            return read(path, *arguments)
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None

    return reader


@_naming_the_file
def read_image(path: Path) -> Image.Image:
    """Reads an image, turned as its EXIF tag says.

    Args:
        path: Any image file that Pillow reads.

    Returns:
        The image, RGB.

    Raises:
        ValueError: If the file is missing, no image, damaged, or larger than MAX_PIXELS.
    """
    opened = _open(path)
    try:
        image = ImageOps.exif_transpose(opened)
    except Exception as error:  # damaged EXIF data raises nearly anything
        raise ValueError(f"its EXIF data cannot be read ({error})") from None
    # What 1.0 or 2**31 is to look like, nobody can say; a 16-bit PGM has mode I too.
    if image.mode == "F" or (image.mode == "I" and opened.format not in ("PPM", "PNG")):
        raise ValueError(f"its numbers (mode {image.mode}) have no fixed range; store 8 or 16 bits")
    if image.mode in ("I;16", "I;16B", "I"):  # Pillow would cut 16 bits at 255
        image = Image.fromarray((np.asarray(image).astype("uint32") // 257).astype("uint8"))
    return image.convert("RGB")


@_naming_the_file
def read_label_map(path: Path, lookup: np.ndarray, colors: dict[int, int]) -> Image.Image:
    """Reads a label map as ids, whatever mode the file has.

    Args:
        path: A PNG (or another lossless file): grey or palette (the ids are the grey values or
            the palette's indices), 16-bit with ids under 256, two-valued, or RGB.
        lookup: 256 numbers, from the id in the file to the class, -1 where there is none.
        colors: For RGB files, from red * 65536 + green * 256 + blue to the id in the file.

    Returns:
        The label map, one byte a pixel: class ids, and IGNORE_CLASS where the lookup says so.

    Raises:
        ValueError: If the file is missing, damaged or lossy, or holds an id without a class.
    """
    image = _open(path)
    if image.format in _LOSSY:
        raise ValueError(
            f"it is a {image.format} file, which changes ids where classes meet; label maps must "
            "be lossless, such as PNG"
        )
    if image.mode in ("L", "P", "1", "I", "I;16", "I;16B"):
        ids = np.asarray(image).astype("int64")
    elif image.mode in ("RGB", "RGBA"):
        ids = _ids_of_colors(np.asarray(image.convert("RGB")), colors)
    else:
        raise ValueError(f"its mode {image.mode} is none that holds class ids (L, P, 1, I, RGB)")
    outside = ids[(ids < 0) | (ids > 255)]
    if outside.size:
        raise ValueError(f"it holds the id {outside[0]}; ids must be from 0 to 255")
    classes = lookup[ids]
    if (classes < 0).any():
        values, counts = np.unique(ids[classes < 0], return_counts=True)
        found = ", ".join(f"{v} ({n} pixels)" for v, n in zip(values, counts, strict=True))
        raise ValueError(
            f"it holds ids that names does not list: {found}; add them to names or to ignore"
        )
    return Image.fromarray(classes.astype("uint8"))


def _ids_of_colors(rgb: np.ndarray, colors: dict[int, int]) -> np.ndarray:
    packed = (rgb.astype("int64") * (65536, 256, 1)).sum(-1)
    values, inverse = np.unique(packed, return_inverse=True)
    unknown = [value for value in values.tolist() if value not in colors]
    if unknown:
        found = ", ".join(f"({v >> 16}, {v >> 8 & 255}, {v & 255})" for v in unknown[:5])
        raise ValueError(
            f"it is an RGB file with colours that colors does not list: {found}; add them to "
            "colors, or store ids"
        )
    return np.array([colors[value] for value in values.tolist()])[inverse].reshape(packed.shape)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"it has {image.width} x {image.height} pixels, over {MAX_PIXELS:,}"
                )
            image.load()
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it cannot be read as an image ({error})") from None
    return image


def default_lookup(num_classes: int) -> np.ndarray:
    """Returns the lookup in which ids are classes and 255 is ignored."""
    lookup = np.full(256, -1)
    lookup[:num_classes] = np.arange(num_classes)
    lookup[IGNORE_CLASS] = IGNORE_CLASS
    return lookup
