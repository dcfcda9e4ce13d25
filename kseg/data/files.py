"""Reading one image as an array of bytes with as many channels as the network takes."""

import functools
import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from kseg.data.opening import ORIENTATION, Opened, open_image, turn
from kseg.safe_files import read_bytes

_DEPTHS = (8, 10, 12, 14, 16)
_LARGEST_TIFF = 1 << 30
_PART = 1 << 24  # pixels
_POSITIVE = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)


class Decoded(NamedTuple):
    """An image as its file stores it.

    Attributes:
        pixels: uint8 (H, W, channels), not yet turned.
        tag: The EXIF orientation, 1 to 8, that says how to turn it.
        remarks: What of the file was left out or guessed, in half sentences.
        bits: The bits that 16-bit numbers use; None for an image of 8 bits.
    """

    pixels: np.ndarray
    tag: int
    remarks: tuple[str, ...]
    bits: int | None


def read_image(path: str | Path, channels: int = 3, bits: int | None = None) -> np.ndarray:
    """Reads an image, turned as its EXIF tag says; warns of what is left out.

    Args:
        path: A PNG, JPEG, WebP, BMP, TIFF, GIF or PPM file.
        channels: 1 for gray, 3 for RGB, 4 for a fourth channel (near infrared, say), or the
            number of pages or samples of a TIFF.
        bits: How many bits the numbers of a 16-bit file use; None takes the fewest of 8, 10, 12,
            14 and 16 that hold its largest number.

    Returns:
        The image, uint8 (H, W, channels), 0..255.

    Raises:
        ValueError: If the file is missing, of another format, damaged or too large, or has not
            these channels.
    """
    decoded = decode_image(path, channels, bits)
    for remark in decoded.remarks:
        warnings.warn(f"{path}: {remark}.", stacklevel=2)
    return turn(decoded.pixels, decoded.tag)


def decode_image(
    path: str | Path, channels: int = 3, bits: int | None = None, content: bytes | None = None
) -> Decoded:
    """Reads an image as its file stores it, without turning it and without a warning.

    Arguments and errors as `read_image`; content is what the file holds, where it was read before.
    """
    try:
        if channels not in (1, 3, 4):
            planes = _tiff_planes(content or read_bytes(path, limit=_LARGEST_TIFF), channels)
            if planes is not None:
                return _from_planes(*planes, bits)
        opened = open_image(path, content)
    except _Wrong as error:
        raise ValueError(f"{path}: {error}.") from None
    try:
        return _decoded(opened, channels, bits)
    except MemoryError:
        raise
    except Exception as error:  # in a damaged file Pillow meets nearly anything
        raise ValueError(f"{path}: {error}.") from None


class _Wrong(ValueError):
    """What is wrong with a file, still without the file's name."""


def _decoded(opened: Opened, channels: int, bits: int | None) -> Decoded:
    image, tag, remarks = opened.image, opened.tag, []
    if 1 < opened.pages == channels and image.format == "TIFF":  # others have frames
        return _from_pages(opened, channels, bits, tag)
    if opened.pages > 1:
        more = f"; to take them as channels, write `channels: {opened.pages}`"
        remarks.append(
            f"it has {opened.pages} pages, and all but the first are left out"
            + (more if image.format == "TIFF" else "")
        )
    if _is_deep(opened):
        if channels not in (1, 3):
            raise ValueError(f"it has 1 channel, and the data has `channels: {channels}`")
        if image.format == "PPM" and opened.ppm_maximum() < 65535:
            bits = 16  # the file says which number is white, and Pillow stretches it to 65535
        gray, depth = _to_bytes(np.asarray(image).astype("uint16", copy=False), bits, remarks)
        gray = opened.as_stored(255 - gray if opened.negative() else gray)
        return Decoded(np.repeat(gray[..., None], channels, -1), tag, tuple(remarks), depth)
    # What 1.0 or 2**31 is to look like, nobody can say.
    if image.mode in ("F", "I"):
        raise ValueError(f"its numbers (mode {image.mode}) have no fixed range; store 8 or 16 bits")
    if opened.depth() == 16:
        deep, used, tag = _deep_colors(opened, bits, remarks)
        pixels = _fitted(deep, channels)
        return Decoded(pixels, tag, tuple(remarks), used)
    pixels = opened.as_stored(_channels_of(image, channels, remarks))
    return Decoded(pixels, tag, tuple(remarks), None)


def _channels_of(image, channels: int, remarks: list[str]) -> np.ndarray:
    """Returns the bytes of an image with 8 bits a sample."""
    fourth = None
    if image.has_transparency_data:
        fourth = image.convert("RGBA").getchannel("A")
    elif image.mode == "RGBX":
        fourth = image.getchannel("X")
    if channels in (1, 3):
        if fourth is not None and len(set(fourth.getextrema())) > 1:
            remarks.append(
                "its fourth channel (transparency, or near infrared) is left out; to use it, "
                "write `channels: 4`"
            )
        if image.mode == "P" and fourth is not None:
            image = image.convert("RGBA")  # or Pillow warns
        mode = "RGB" if channels == 3 else "L"
        pixels = _array_of(image if image.mode == mode else image.convert(mode))
        return pixels.reshape(*pixels.shape[:2], channels)
    if channels == 4 and fourth is not None:
        return np.asarray(image if image.mode == "RGBX" else image.convert("RGBA"))
    return _fitted(np.asarray(image).reshape(image.height, image.width, -1), channels)


def _array_of(image) -> np.ndarray:
    """Returns the bytes of an image, in parts: Pillow would hold a large one three times."""
    if image.width * image.height <= _PART:
        return np.asarray(image)
    pixels = np.empty((image.height, image.width, len(image.getbands())), "uint8")
    height = max(1, _PART // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        part = np.asarray(image.crop((0, top, image.width, bottom)))
        pixels[top:bottom] = part.reshape(pixels[top:bottom].shape)
    return pixels


def _fitted(pixels: np.ndarray, channels: int) -> np.ndarray:
    have = pixels.shape[-1]
    if have != channels and (channels, have) == (3, 4):
        return pixels[..., :3]
    if have != channels:
        count = "1 channel" if have == 1 else f"{have} channels"
        raise ValueError(f"it has {count}, and the data has `channels: {channels}`")
    return pixels


def _is_deep(opened: Opened) -> bool:
    """Whether an image is gray with 16 bits; a 16-bit PGM or PNG may have mode I."""
    image = opened.image
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def _deep_colors(opened: Opened, bits, remarks) -> tuple[np.ndarray, int | None, int]:
    """Returns the bytes of a colour image with 16 bits a sample, which Pillow cuts to 8.

    The bits that they use come with them, and how they are to be turned.
    """
    if opened.image.format == "TIFF":
        try:
            with tifffile.TiffFile(io.BytesIO(opened.content)) as file:
                first: Any = file.pages[0]
                if first.photometric not in _POSITIVE:
                    raise _Wrong(f"they are {first.photometric.name}, not RGB")
                pixels, used = _to_bytes(_samples_last(first), bits, remarks)
                return pixels, used, _orientation(file)
        except Exception as error:  # tifffile lacks some compressions
            raise ValueError(f"its 16-bit colours cannot be read ({error})") from None
    pixels = np.asarray(opened.image)
    if bits not in (None, 16):
        raise ValueError(
            f"its colours have 16 bits, of which the last {bits} are read from TIFF only; store "
            "TIFF, or 8 bits a channel"
        )
    if bits is None and pixels[..., :3].max() < 64:
        raise ValueError(
            "its colours have 16 bits of which fewer are used; store 8 bits a channel, or TIFF"
        )
    return pixels, 16, opened.tag


def _samples_last(page: Any) -> np.ndarray:
    """Returns a page's pixels, (H, W) or (H, W, samples); files may store plane after plane."""
    pixels = page.asarray()
    return np.moveaxis(pixels, page.axes.index("S"), -1) if "S" in page.axes else pixels


def _orientation(file: tifffile.TiffFile) -> int:
    """Returns the EXIF orientation of a TIFF whose pixels tifffile reads, unturned; 1 to 8."""
    first: Any = file.pages[0]
    found = first.tags.valueof(ORIENTATION, default=1)
    return found if found in range(1, 9) else 1


def _to_bytes(values: np.ndarray, bits: int | None, remarks: list[str]) -> tuple[np.ndarray, int]:
    """Scales 16-bit numbers to 0..255 by the bits that they use."""
    largest = int(values.max(initial=0))
    if bits is None:
        bits = next(depth for depth in _DEPTHS if largest < 1 << depth)
        if bits < 16:
            remarks.append(
                f"it has 16 bits and its largest number is {largest}, so it is read as one of "
                f"{bits} bits; if that is wrong, write `bits: 16`"
            )
    elif largest >= 1 << bits:
        raise ValueError(
            f"it holds the number {largest}, over the {bits} bits of the data or of the model's "
            f"training; store it with {bits} bits, or write `bits: 16` for the data"
        )
    return _scale(bits)[values], bits


@functools.lru_cache(maxsize=len(_DEPTHS))
def _scale(bits: int) -> np.ndarray:
    numbers = np.arange(65536, dtype="uint32") * 255 // ((1 << bits) - 1)
    return np.minimum(numbers, 255).astype("uint8")


def _from_pages(opened: Opened, channels: int, bits: int | None, tag: int) -> Decoded:
    pages: list[np.ndarray] = []
    remarks = ["its 3 pages are taken as red, green and blue"] if channels == 3 else []
    for page in range(channels):
        opened.image.seek(page)
        pages.append(np.asarray(opened.image))
    if any(page.ndim != 2 for page in pages) or opened.image.mode == "P":
        raise ValueError("its pages have colours; pages as channels must be gray")
    pixels = opened.as_stored(np.stack(pages, -1))
    if pixels.dtype == np.uint16:
        pixels, used = _to_bytes(pixels, bits, remarks)
        pixels = 255 - pixels if opened.negative() else pixels
        return Decoded(pixels, tag, tuple(remarks), used)
    if pixels.dtype != np.uint8:
        raise ValueError(f"its numbers ({pixels.dtype}) have no fixed range; store 8 or 16 bits")
    return Decoded(pixels, tag, tuple(remarks), None)


def _tiff_planes(content: bytes, channels: int) -> tuple[np.ndarray, int] | None:
    """Returns a TIFF whose samples are the channels, (H, W, channels), and its orientation.

    None for other files.
    """
    if content[:4] not in (b"II*\x00", b"MM\x00*"):
        return None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            first: Any = file.pages[0]
            if first.samplesperpixel in (1, 2, 3, 4) and first.samplesperpixel != channels:
                return None
            size = first.imagewidth * first.imagelength * first.samplesperpixel
            if size * 2 > _LARGEST_TIFF:
                raise _Wrong(f"it has {size:,} numbers, over {_LARGEST_TIFF // 2:,}")
            if first.photometric not in _POSITIVE:
                raise _Wrong(f"its samples are {first.photometric.name}; store them as MINISBLACK")
            planes = _samples_last(first)
            tag = _orientation(file)
    except _Wrong:
        raise
    except Exception as error:  # tifffile lacks some compressions
        raise _Wrong(f"it cannot be read as a TIFF ({error})") from None
    if planes.ndim != 3 or planes.shape[-1] != channels:
        found = planes.shape[-1] if planes.ndim == 3 else 1
        raise _Wrong(f"it has {found} channels, and the data has `channels: {channels}`")
    return planes, tag


def _from_planes(planes: np.ndarray, tag: int, bits: int | None) -> Decoded:
    remarks: list[str] = []
    if planes.dtype == np.uint8:
        return Decoded(planes, tag, (), None)
    if planes.dtype != np.uint16:
        raise _Wrong(f"its numbers ({planes.dtype}) have no fixed range; store 8 or 16 bits")
    try:
        pixels, used = _to_bytes(planes, bits, remarks)
    except ValueError as error:
        raise _Wrong(str(error)) from None
    return Decoded(pixels, tag, tuple(remarks), used)
