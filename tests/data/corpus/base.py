"""What every case is made of."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image

IDS = np.array(
    [[0, 1, 2, 1, 0, 0], [2, 2, 0, 0, 1, 1], [1, 0, 1, 2, 2, 0], [0, 0, 0, 1, 2, 2]], "uint8"
)
TWO = np.minimum(IDS, 1)
COLORS = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 255]], "uint8")
RGB = COLORS[IDS]
NAMES = "names: [ground, red, blue]\n"
PAIR = "names: [ground, red]\n"
COLORED = NAMES + "colors: [[10, 20, 30], [200, 0, 0], [0, 0, 255]]\n"
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype("uint8")
GRAY = PICTURE[..., 0]
HEADER = "train: {images: images, labels: labels}\n"


@dataclass
class Case:
    """One data set: what it is called, its files, and what must come of it."""

    title: str
    label: bytes | None = None
    yaml: str = NAMES
    image: bytes | None = None
    expect: np.ndarray | None = None
    refused: str | None = None
    said: str | None = None
    label_name: str = "0.png"
    image_name: str = "0.png"
    lists: bytes | None = None
    picture: np.ndarray | None = None


def save(image, kind="PNG", **options):
    """Returns the bytes of an image file."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(rows, width, depth, color, *, palette=b"", cut=None):
    """Returns a PNG written by hand, with the bytes of its rows."""
    data = b"".join(b"\0" + row for row in rows[:cut])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, 0))]
    chunks += [(b"PLTE", palette)] if palette else []
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        made += struct.pack(">I", len(content)) + kind + content
        made += struct.pack(">I", zlib.crc32(kind + content))
    return made


def tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def palette(ids, colors):
    image = Image.fromarray(ids)
    image.putpalette(np.asarray(colors, "uint8").ravel().tolist())
    return image


def packed(ids, depth):
    """Returns rows of ids with few bits each, as low-depth PNGs store them."""
    bits = ((ids[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(len(ids), -1)
    return [np.packbits(row).tobytes() for row in bits.astype("uint8")]


def turned(array, tag, kind="PNG", **options):
    exif = Image.Exif()
    exif[0x0112] = tag
    return save(array, kind, exif=exif, **options)


def cut_in_half(content):
    return content[: len(content) // 2]


def wide_png(rgb, factor):
    """Returns an RGB PNG of 16 bits with numbers `factor` times those of an image."""
    rows = [(row.astype("uint16") * factor).astype(">u2").tobytes() for row in rgb]
    return png(rows, rgb.shape[1], 16, 2)


def scaled(bytes_):
    """Returns how an image looks whose numbers are 16 times these bytes, in 12 bits."""
    return (bytes_.astype("uint32") * 16 * 255 // 4095).astype("uint8")


def written(case, folder):
    for name in ("images", "labels"):
        (folder / name).mkdir()
    image = save(PICTURE) if case.image is None else case.image
    (folder / "images" / case.image_name).write_bytes(image)
    (folder / "labels" / case.label_name).write_bytes(
        save(IDS) if case.label is None else case.label
    )
    head = HEADER
    if case.lists is not None:
        (folder / "list.txt").write_bytes(case.lists)
        head = "train: list.txt\n"
    (folder / "data.yaml").write_text(head + case.yaml)
    return folder / "data.yaml"
