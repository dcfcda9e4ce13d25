"""Opening an image file with Pillow: named formats only, whole files only, within limits."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kseg.safe_files import read_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
ORIENTATION = 0x0112  # the tag of EXIF and TIFF, 1 to 8
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
TAKEN = "PNG, JPEG, WebP, BMP, TIFF, GIF and PPM"
MAX_PIXELS = 178_000_000
# Pillow warns from 89 megapixels on; here MAX_PIXELS is the limit, and it is an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_SMALLER = "make it smaller, or cut it into parts"
_MAX_BYTES = 1 << 30
_MAX_PAGES = 1000

# What other files begin with, and what is said of them.
_OTHERS = (
    (rb"(?s).{4}ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", "a HEIC image, as phones write"),
    (rb"(?s).{4}ftypavi[fs]", "an AVIF image"),
    (rb"(?s).{4}ftyp", "a video"),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"\x00\x00\x00\x0cJXL |\xff\x0a", "a JPEG XL image"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "an EPS or PostScript drawing"),
    (rb"%PDF", "a PDF document"),
    (rb"DDS ", "a DDS texture"),
    (rb"BLP[012]", "a BLP texture"),
    (rb"8BPS", "a Photoshop file"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x89HDF", "an HDF5 file"),
    (rb"(?i)\s*(<!doctype html|<html)", "a web page (a download that failed?)"),
    (rb"(?i)\s*(<\?xml|<svg)", "XML or an SVG drawing"),
    (rb"version https://git-lfs", "a Git LFS pointer, whose image was not fetched (git lfs pull)"),
    (rb"\s*[{\[]", "JSON"),
)
# Of each pass of an interlaced PNG: its first column and row, and the steps to the next ones.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


class Opened(NamedTuple):
    """An image file that has been read.

    Attributes:
        image: The first page, its pixels loaded.
        content: The bytes of the file.
        pages: Pages of the first one's size, or frames of an animation.
        turned: The EXIF orientation by which Pillow has turned the pixels already, as it does with
            TIFFs; 1 where it has not.
    """

    image: Image.Image
    content: bytes
    pages: int
    turned: int = 1

    @property
    def tag(self) -> int:
        """The EXIF orientation, 1 to 8; 1 where there is none.

        Raises:
            ValueError: If the EXIF data is damaged.
        """
        if self.turned != 1:
            return self.turned
        try:
            found = self.image.getexif().get(ORIENTATION, 1)
        except Exception as error:  # damaged EXIF data raises nearly anything
            raise ValueError(f"its EXIF data cannot be read ({error})") from None
        return found if found in range(1, 9) else 1

    def as_stored(self, pixels: np.ndarray) -> np.ndarray:
        """Turns an array (H, W, ...) of the image back to how the file stores it."""
        return turn(pixels, {6: 8, 8: 6}.get(self.turned, self.turned))

    def depth(self) -> int:
        """Returns the bits of a sample as the file says it; Pillow often changes them."""
        if self.image.format == "PNG":
            return self.content[24]
        if self.image.format == "TIFF":
            bits = getattr(self.image, "tag_v2", {}).get(258, 8)
            return bits[0] if isinstance(bits, tuple) else bits
        return 8

    def negative(self) -> bool:
        """Says whether 0 is white, which Pillow heeds in TIFFs of up to 8 bits alone."""
        return self.image.format == "TIFF" and getattr(self.image, "tag_v2", {}).get(262) == 0

    def ppm_maximum(self) -> int:
        """Returns the largest value that a PPM or PGM file declares."""
        head = re.sub(rb"#[^\n]*", b"", self.content[:4096]).split(maxsplit=4)
        return int(head[3]) if head[0] in (b"P2", b"P3", b"P5", b"P6") else 1


def turn(pixels: np.ndarray, tag: int) -> np.ndarray:
    """Turns an array (H, W, ...) as an EXIF orientation says; 1 leaves it as it is."""
    if tag == 1:
        return pixels
    if tag >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, right = tag in (3, 4, 7, 8), tag in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if down else 1, :: -1 if right else 1])


def open_image(path: str | Path, content: bytes | None = None) -> Opened:
    """Reads an image file whole.

    Args:
        path: A file of one of FORMATS, whatever its ending.
        content: What it holds, where it was read before.

    Raises:
        ValueError: If the file is missing, of another format, damaged, cut short or larger than
            MAX_PIXELS; the file is named.
    """
    if content is None:
        content = read_bytes(path, limit=_MAX_BYTES)
    try:
        return decode(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from None


class Header(NamedTuple):
    """What an image file says before its pixels.

    Attributes:
        size: (height, width) as stored; (0, 0) if the file cannot be read.
        tag: The EXIF orientation, 1 to 8.
        deep: Whether its numbers have 16 bits.
    """

    size: tuple[int, int] = (0, 0)
    tag: int = 1
    deep: bool = False


def header(path: str | Path) -> Header:
    """Returns what an image file says before its pixels."""
    try:
        with Image.open(io.BytesIO(read_bytes(path, limit=_MAX_BYTES)), formats=FORMATS) as image:
            tag = image.getexif().get(ORIENTATION, 1)
            size = (image.height, image.width)
            if image.format == "TIFF" and tag >= 5:  # Pillow gives the size as it is shown
                size = size[::-1]
            return Header(size, tag if tag in range(1, 9) else 1, image.mode.startswith("I"))
    except Exception:  # the file is named where it is read
        return Header()


def decode(content: bytes) -> Opened:
    """Reads an image from the bytes of its file.

    Raises:
        ValueError: As `open_image`, without the file's name and a full stop.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise ValueError(f"it has over {MAX_PIXELS:,} pixels; {_SMALLER}") from None
    except Exception as error:  # whatever Pillow meets in a damaged file
        raise ValueError(_unknown(content, error)) from None
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ValueError(f"it has {size} pixels, over {MAX_PIXELS:,}; {_SMALLER}")
    try:
        pages = _pages(image)
        tag = image.getexif().get(ORIENTATION, 1) if image.format == "TIFF" else 1
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"it cannot be read as an image ({error or type(error).__name__})"
        ) from None
    if image.format == "PNG":
        _check_rows(content)
    is_turned = tag in range(2, 9) and ORIENTATION not in getattr(image, "tag_v2", {})
    return Opened(image, content, pages, tag if is_turned else 1)


def _unknown(content: bytes, error: Exception) -> str:
    if not content:
        return "it cannot be read as an image: the file is empty"
    for start, kind in _OTHERS:
        if re.match(start, content):
            return f"it is {kind}; convert it to one of the formats that are read: {TAKEN}"
    if content[:4] in (b"II*\x00", b"MM\x00*"):
        return (
            "it cannot be read as an image: a TIFF of this kind needs its number of channels in "
            "the data file, as in `channels: 5`"
        )
    why = "" if type(error).__name__ == "UnidentifiedImageError" else f" ({error})"
    return f"it cannot be read as an image{why}; the formats that are read are {TAKEN}"


def _pages(image: Image.Image) -> int:
    """Returns how many pages there are; a phone's depth map or a thumbnail is none."""
    count = getattr(image, "n_frames", 1)
    if image.format == "MPO" or count == 1:
        return 1
    if image.format != "TIFF":
        return count
    size, found = image.size, 0
    for page in range(min(count, _MAX_PAGES)):
        image.seek(page)
        reduced = int(getattr(image, "tag_v2", {}).get(254, 0)) & 1
        found += image.size == size and not reduced
    image.seek(0)
    return max(1, found)


def _check_rows(content: bytes) -> None:
    """Refuses a PNG with fewer rows than it declares; Pillow would make them black."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", content[16:29])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    expected = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * bits + 7) // 8)
    inflate, found, place = zlib.decompressobj(), 0, 8
    while place + 8 <= len(content) and found < expected:
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        data = content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        while data and found < expected:
            try:
                found += len(inflate.decompress(data, 1 << 20))
            except zlib.error as error:
                raise ValueError(f"it cannot be read as an image ({error})") from None
            data = inflate.unconsumed_tail
        place += 12 + length
    if found < expected:
        raise ValueError(
            f"it ends early: {100 * found // expected} % of its pixels are there; "
            "fetch or write it again"
        )
