"""A corpus of label files, images and lists as people have them, each made here.

For each case the values that must come out, or the sentence. docs/your_data.md has the table of
it, written by scripts/data_cases.py.
"""

import io
import re
import struct
import unicodedata
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from kseg.data import check_data, load_data

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
    files: dict = field(default_factory=dict)


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


def modes():
    """Label files that hold the same ids in different ways."""
    order = [2, 0, 1]
    shuffled = palette(np.argsort(order).astype("uint8")[IDS], COLORS[order])
    alpha = np.dstack([RGB, np.full_like(IDS, 255)])
    yield Case("gray PNG of ids", save(IDS), expect=IDS)
    yield Case("gray PNG of 2 bits", png(packed(IDS, 2), 6, 2, 0), expect=IDS)
    yield Case("gray PNG of 4 bits", png(packed(IDS, 4), 6, 4, 0), expect=IDS)
    yield Case("PNG of 16 bits", save(IDS.astype("uint16")), expect=IDS)
    yield Case(
        "palette PNG of 2 bits", png(packed(IDS, 2), 6, 2, 3, palette=COLORS.tobytes()), expect=IDS
    )
    yield Case("palette PNG, no `colors`", save(palette(IDS, COLORS)), expect=IDS)
    yield Case(
        "palette PNG in the order of `colors`", save(palette(IDS, COLORS)), COLORED, expect=IDS
    )
    yield Case("palette PNG in another order than `colors`", save(shuffled), COLORED, expect=IDS)
    yield Case("palette PNG with a gray palette beside `colors`",
               save(palette(IDS, np.arange(256).repeat(3))), COLORED, expect=IDS)  # fmt: skip
    yield Case("palette PNG with a transparent index",
               save(palette(IDS, COLORS), transparency=0), expect=IDS)  # fmt: skip
    yield Case("RGB PNG of `colors`", save(RGB), COLORED, expect=IDS)
    yield Case("RGB PNG with ids in all channels", save(np.dstack([IDS] * 3)), expect=IDS)
    yield Case("RGB PNG with ids in all channels, beside `colors`",
               save(np.dstack([IDS] * 3)), COLORED, expect=IDS)  # fmt: skip
    yield Case("RGBA PNG, opaque", save(alpha), COLORED, expect=IDS)
    yield Case("gray PNG with an opaque alpha channel",
               save(np.dstack([IDS, np.full_like(IDS, 255)])), expect=IDS)  # fmt: skip
    yield Case("two-valued PNG", save(TWO.astype(bool)), PAIR, expect=TWO)
    yield Case("TIFF of bytes", tiff(IDS), label_name="0.tif", expect=IDS)
    yield Case("TIFF of 16 bits", tiff(IDS.astype("uint16")), label_name="0.tif", expect=IDS)
    yield Case("TIFF of 32 bits", tiff(IDS.astype("int32")), label_name="0.tif", expect=IDS)
    yield Case(
        "TIFF, LZW", save(IDS, "TIFF", compression="tiff_lzw"), label_name="0.tiff", expect=IDS
    )
    yield Case("BMP of ids", save(IDS, "BMP"), label_name="0.bmp", expect=IDS)
    yield Case("BMP of `colors`", save(RGB, "BMP"), COLORED, label_name="0.bmp", expect=IDS)
    yield Case("PGM of ids", save(IDS, "PPM"), label_name="0.pgm", expect=IDS)
    yield Case(
        "PGM whose largest value is 2",
        b"P5 6 4 2\n" + IDS.tobytes(),
        label_name="0.pgm",
        expect=IDS,
    )
    yield Case("PPM of `colors`", save(RGB, "PPM"), COLORED, label_name="0.ppm", expect=IDS)
    yield Case("lossless WebP of `colors`", save(RGB, "WEBP", lossless=True), COLORED,
               label_name="0.webp", expect=IDS)  # fmt: skip
    yield Case(
        "lossless WebP of ids", save(IDS, "WEBP", lossless=True), label_name="0.webp", expect=IDS
    )
    yield Case("PNG named .jpg", save(IDS), label_name="0.jpg", expect=IDS)
    yield Case("interlaced PNG", interlaced(IDS), expect=IDS)


def interlaced(ids):
    """Returns a PNG whose rows come in Adam7's seven passes."""
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    data = b"".join(
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in ids[y::dy, x::dx] if row.size
    )
    content = bytearray(png([bytes(6)] * 4, 6, 8, 0))
    header = struct.pack(">IIBBBBB", 6, 4, 8, 0, 0, 0, 1)
    made = bytes(content[:8])
    for kind, part in ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
        made += (
            struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        )
    return made


def numbers():
    """What the numbers mean."""
    yield Case("0 and 255, two names", save(TWO * 255), PAIR, expect=TWO,
               said="hold 0 and 255, so 255 is 'red' (`names: {0: ground, 255: red}`)")  # fmt: skip
    yield Case("0 and 255 in all channels, two names", save(np.dstack([TWO * 255] * 3)), PAIR, expect=TWO,
               said="so 255 is 'red'")  # fmt: skip
    yield Case("0 and 255 with `names: {0: ground, 255: red}`", save(TWO * 255),
               "names: {0: ground, 255: red}\n", expect=TWO)  # fmt: skip
    yield Case("0 and 255, two names, `ignore: 255`", save(TWO * 255), PAIR + "ignore: 255\n",
               refused="'ground' is the only class that occurs, and 255 is ignored")  # fmt: skip
    yield Case("0 and 255, three names", save(TWO * 255),
               refused="'ground' is the only class that occurs, and 255 is ignored; if it is a class")  # fmt: skip
    yield Case("0, 128 and 255, three names", save(np.array([0, 128, 255], "uint8")[IDS]),
               refused="write `names: {0: ground, 128: red, 255: blue}`")  # fmt: skip
    yield Case("0, 128 and 255, two names", save(np.array([0, 128, 255], "uint8")[IDS]), PAIR,
               refused="write `names: {0: ground, 128: red}` and `ignore: 255`")  # fmt: skip
    yield Case("0 and 128, two names", save(TWO * 128), PAIR,
               refused="write `names: {0: ground, 128: red}`")  # fmt: skip
    yield Case("ids that begin with 1", save(IDS + 1),
               refused="write `names: {1: ground, 2: red, 3: blue}`")  # fmt: skip
    yield Case("an id without a name", save(four(9)), refused="write `ignore: [9]`")
    yield Case("ids 0 to 3 with 0 for nothing, three names", save(four(3)),
               refused="write `names: {1: ground, 2: red, 3: blue}` and `ignore: 0`")  # fmt: skip
    yield Case("gray values of gray `colors`", save(np.array([0, 128, 255], "uint8")[IDS]),
               NAMES + "colors: [[0, 0, 0], [128, 128, 128], [255, 255, 255]]\n", expect=IDS,
               said="hold the gray values of colors")  # fmt: skip
    yield Case("black and white of `colors`", save(TWO * 255),
               PAIR + "colors: [[0, 0, 0], [255, 255, 255]]\n", expect=TWO,
               said="gray values of colors")  # fmt: skip
    yield Case("ids with gaps", save(np.array([3, 7, 9], "uint8")[IDS]),
               "names: {9: blue, 3: ground, 7: red}\n", expect=IDS)  # fmt: skip
    yield Case("ids above 255, named", save(np.array([0, 1000, 2000], "uint16")[IDS]),
               "names: {0: ground, 1000: red, 2000: blue}\n", expect=IDS)  # fmt: skip
    yield Case("ids above 255, not named", save(np.array([0, 1, 2000], "uint16")[IDS]),
               refused="2000 (7 pixels)")  # fmt: skip
    yield Case("numbers of objects as one class, `1-65535: red`",
               save((np.arange(24).reshape(4, 6) * 20).astype("uint16")),
               "names: {0: ground, 1-65535: red}\n", expect=np.minimum(np.arange(24).reshape(4, 6), 1))  # fmt: skip
    yield Case("numbers of objects", save(np.arange(0, 240, 10, dtype="uint8").reshape(4, 6)),
               refused="as if it numbers objects, or was resized smoothly")  # fmt: skip
    yield Case("several ignored ids", save(np.array([0, 1, 9], "uint8")[IDS]), PAIR + "ignore: [9, 11]\n",
               expect=np.array([0, 1, 255])[IDS])  # fmt: skip
    yield Case("`merge: {thing: [red, blue]}`", save(IDS), NAMES + "merge: {thing: [red, blue]}\n",
               expect=TWO)  # fmt: skip
    yield Case("a class that does not occur", save(TWO), expect=TWO,
               said="in train, 'blue' does not occur")  # fmt: skip
    yield Case("a class under 0.1 %", save(rare()), PAIR, image=save(np.zeros((40, 60), "uint8")),
               expect=rare(), said="under 0.1 % of the pixels are 'red' (0.042 %)")  # fmt: skip
    yield Case("more than half the pixels ignored", save(mostly_ignored()), PAIR, expect=mostly_ignored(),
               said="92 % of the pixels are ignored")  # fmt: skip
    yield Case("all pixels ignored", save(np.full((4, 6), 255, "uint8")), PAIR,
               refused="all pixels of the split 'train' are ignored")  # fmt: skip
    yield Case(
        "one class alone", save(IDS * 0), PAIR, refused="'ground' is the only class that occurs"
    )


def four(more):
    ids = IDS.copy()
    ids[0, 0] = more
    return ids


def rare():
    ids = np.zeros((40, 60), "uint8")
    ids[3, 4] = 1
    return ids


def mostly_ignored():
    ids = np.full((4, 6), 255, "uint8")
    ids[0, :2] = 0, 1
    return ids


def colors():
    """Label files of colours that are not plain."""
    black = np.where((IDS == 2)[..., None], 0, RGB).astype("uint8")
    few = RGB.copy()
    few[0, 0] = 0
    two = PAIR + "colors: [[10, 20, 30], [200, 0, 0]]\n"
    wild = RGB.copy()
    wild[0, 0] = 1, 2, 3
    smooth = np.random.default_rng(1).integers(1, 256, (8, 8, 3)).astype("uint8")
    order = palette(np.array([1, 0, 2], "uint8")[IDS], [COLORS[1], COLORS[0], (7, 7, 7)])
    yield Case("black is much and not among `colors`", save(black), two,
               refused="black, which is not among colors; add [0, 0, 0] to colors")  # fmt: skip
    yield Case("black is little and not among `colors`", save(few), COLORED,
               expect=np.where(few.any(-1), IDS, 255), said="4.2 % of the pixels are black")  # fmt: skip
    yield Case("black in `ignore: [[0, 0, 0]]`", save(black), two + "ignore: [[0, 0, 0]]\n",
               expect=np.where(IDS == 2, 255, IDS))  # fmt: skip
    yield Case("a colour without a name", save(wild), COLORED, refused="does not list: (1, 2, 3)")
    yield Case("colours smoothed by resizing or JPEG", save(smooth), COLORED,
               image=save(smooth), refused="it was resized smoothly or stored as JPEG")  # fmt: skip
    yield Case(
        "RGB without `colors`", save(RGB), refused="the data file has no colors; write `colors: ["
    )
    yield Case("a palette of another order with a colour without a name", save(order), COLORED,
               refused="not (7, 7, 7) of index 2")  # fmt: skip
    yield Case("transparent label pixels", save(np.dstack([RGB, IDS * 100])), COLORED,
               refused="it has transparent pixels")  # fmt: skip
    yield Case("RGB PNG of 16 bits as label file", png([r.astype(">u2").tobytes() for r in RGB], 6, 16, 2),
               COLORED, refused="its colours have 16 bits")  # fmt: skip


def refusals():
    """Label files that cannot be right."""
    many = save(IDS, "TIFF", save_all=True, append_images=[Image.fromarray(IDS)] * 2)
    jpeg2000 = save(np.tile(IDS, (8, 8)), "JPEG2000", irreversible=True)
    yield Case(
        "JPEG label file",
        save(IDS, "JPEG"),
        label_name="0.jpg",
        refused="it is a JPEG file, which changes ids",
    )
    yield Case(
        "JPEG label file named .png",
        save(IDS, "JPEG"),
        refused="it is a JPEG file, which changes ids",
    )
    yield Case(
        "lossy WebP label file",
        save(RGB, "WEBP"),
        label_name="0.webp",
        refused="it is a lossy WebP file",
    )
    yield Case("GIF label file", save(IDS, "GIF"), label_name="0.gif", refused="it is a GIF file")
    yield Case(
        "JPEG 2000 label file",
        jpeg2000,
        label_name="0.jp2",
        refused="it is a JPEG 2000 image; convert it",
    )
    yield Case(
        "label file of three pages",
        many,
        label_name="0.tif",
        refused="it has 3 pages; a label file must have one",
    )
    yield Case(
        "PNG cut off", cut_in_half(save(np.tile(IDS, (9, 9)))), refused="cannot be read as an image"
    )
    yield Case("PNG whose pixels end early", png([row.tobytes() for row in IDS], 6, 8, 0, cut=2),
               refused="it ends early: 50 % of its pixels are there")  # fmt: skip
    yield Case(
        "floats in a TIFF",
        tiff(IDS.astype("float32")),
        label_name="0.tif",
        refused="its mode F is none",
    )
    yield Case("CMYK label file", save(Image.fromarray(RGB).convert("CMYK"), "TIFF"), label_name="0.tif",
               refused="its mode CMYK is none")  # fmt: skip
    yield Case(
        "negative ids",
        tiff(IDS.astype("int32") - 1),
        label_name="0.tif",
        refused="it holds the id -1",
    )
    yield Case("TIFF with 0 as white", tiff(IDS, photometric="miniswhite"), label_name="0.tif",
               refused="a TIFF in which 0 is white")  # fmt: skip
    yield Case(
        "PBM label file",
        save(TWO.astype(bool), "PPM"),
        PAIR,
        label_name="0.pbm",
        refused="it is a PBM file",
    )
    yield Case(
        "label file of another size",
        save(IDS[:, :4]),
        refused="it is 4 x 4 pixels and its image 0.png is 6 x 4",
    )
    yield Case("empty label file", b"", refused="the file is empty")
    yield Case("text as label file", b"none", refused="cannot be read as an image")
    yield Case("JSON as label file", b'{"shapes": []}', refused="it is JSON")


def images():
    """Images of many kinds."""
    deep = GRAY.astype("uint16")
    gray3 = np.dstack([GRAY] * 3)
    alpha = np.dstack([PICTURE, GRAY])
    opaque = np.dstack([PICTURE, np.full_like(GRAY, 255)])
    full = deep * 257
    full[0, 0] = 65535
    yield Case("RGB PNG", image=save(PICTURE), picture=PICTURE)
    yield Case(
        "JPEG", image=save(gray3 * 0 + 90, "JPEG"), image_name="0.jpg", picture=gray3 * 0 + 90
    )
    yield Case(
        "lossless WebP image",
        image=save(PICTURE, "WEBP", lossless=True),
        image_name="0.webp",
        picture=PICTURE,
    )
    yield Case("BMP", image=save(PICTURE, "BMP"), image_name="0.bmp", picture=PICTURE)
    yield Case("TIFF", image=tiff(PICTURE), image_name="0.tif", picture=PICTURE)
    yield Case("PPM", image=save(PICTURE, "PPM"), image_name="0.ppm", picture=PICTURE)
    yield Case("GIF", image=save(GRAY, "GIF"), image_name="0.gif", picture=gray3)
    yield Case("gray image for an RGB network", image=save(GRAY), picture=gray3)
    yield Case(
        "gray image, `channels: 1`",
        yaml=NAMES + "channels: 1\n",
        image=save(GRAY),
        picture=GRAY[..., None],
    )
    yield Case("palette image", image=save(palette(IDS, COLORS)), picture=RGB)
    yield Case("two-valued image", image=save(TWO.astype(bool)), picture=np.dstack([TWO * 255] * 3))
    yield Case("opaque alpha channel", image=save(opaque), picture=PICTURE)
    yield Case("fourth channel, RGB network", image=save(alpha), picture=PICTURE,
               said="its fourth channel (transparency, or near infrared) is left out")  # fmt: skip
    yield Case(
        "fourth channel, `channels: 4`",
        yaml=NAMES + "channels: 4\n",
        image=save(alpha),
        picture=alpha,
    )
    yield Case("RGB image, `channels: 4`", yaml=NAMES + "channels: 4\n", image=save(PICTURE),
               refused="it has 3 channels, and the data has `channels: 4`")  # fmt: skip
    yield Case(
        "16 bits, all used", image=save(full), picture=np.dstack([full // 257] * 3).astype("uint8")
    )
    for bits in (10, 12, 14):
        top = (1 << bits) - 1
        values = (deep * (top // 255)).astype("uint16")
        values[0, 0] = top
        seen = (values.astype("uint32") * 255 // top).astype("uint8")
        yield Case(f"16 bits, {bits} used", image=save(values), picture=np.dstack([seen] * 3),
                   said=f"16-bit images use {bits} bits, so white is {top} (`bits: {bits}`)")  # fmt: skip
    yield Case("16 bits, 12 used, `bits: 12`", yaml=NAMES + "bits: 12\n", image=save(deep * 16),
               picture=np.dstack([(deep.astype("uint32") * 16 * 255 // 4095)] * 3).astype("uint8"))  # fmt: skip
    yield Case(
        "numbers above `bits: 10`",
        yaml=NAMES + "bits: 10\n",
        image=save(full),
        refused="it holds the number 65535",
    )
    yield Case("PGM whose largest value is 4095", image=b"P5 6 4 4095\n" + (deep * 16).astype(">u2").tobytes(),
               image_name="0.pgm", picture=np.dstack([(deep.astype("uint32") * 16 * 255 // 4095)] * 3).astype("uint8"))  # fmt: skip
    yield Case("RGB TIFF of 16 bits, 12 used", image=tiff(PICTURE.astype("uint16") * 16), image_name="0.tif",
               picture=(PICTURE.astype("uint32") * 16 * 255 // 4095).astype("uint8"), said="read as one of 12 bits")  # fmt: skip
    yield Case("RGB PNG of 16 bits", image=png([(r.astype("uint16") * 257).astype(">u2").tobytes() for r in PICTURE], 6, 16, 2),
               picture=PICTURE)  # fmt: skip
    yield Case("RGB PNG of 16 bits, 12 used", image=png([(r.astype("uint16") * 16).astype(">u2").tobytes() for r in PICTURE], 6, 16, 2),
               refused="its colours have 16 bits of which fewer are used")  # fmt: skip
    yield Case("five channels, `channels: 5`", yaml=NAMES + "channels: 5\n",
               image=tiff(np.dstack([PICTURE, alpha[..., :2]]), photometric="minisblack", planarconfig="contig"),
               image_name="0.tif", picture=np.dstack([PICTURE, alpha[..., :2]]))  # fmt: skip
    yield Case("five channels, RGB network",
               image=tiff(np.dstack([PICTURE, alpha[..., :2]]), photometric="minisblack", planarconfig="contig"),
               image_name="0.tif", refused="needs its number of channels in the data file")  # fmt: skip
    pages = np.moveaxis(np.dstack([PICTURE, alpha[..., :2]]), -1, 0)
    yield Case("five pages, `channels: 5`", yaml=NAMES + "channels: 5\n", image=tiff(pages, photometric="minisblack"),
               image_name="0.tif", picture=np.moveaxis(pages, 0, -1))  # fmt: skip
    yield Case("five pages, RGB network", image=tiff(pages, photometric="minisblack"), image_name="0.tif",
               picture=gray3, said="it has 5 pages, and all but the first are left out")  # fmt: skip
    yield Case("floats as image", image=tiff(GRAY.astype("float32")), image_name="0.tif",
               refused="its numbers (mode F) have no fixed range")  # fmt: skip


def broken_images():
    """Files that are no image that is read."""
    starts = {
        "HEIC of a phone": (
            b"\0\0\0\x18ftypheic",
            ".heic",
            "a HEIC image, as phones write; convert it",
        ),
        "HEIC named .jpg": (b"\0\0\0\x18ftypheic", ".jpg", "a HEIC image"),
        "AVIF": (b"\0\0\0\x18ftypavif", ".avif", "an AVIF image"),
        "EPS named .jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", ".jpg", "an EPS or PostScript drawing"),
        "DDS named .png": (b"DDS |\0\0\0", ".png", "a DDS texture"),
        "BLP named .png": (b"BLP2\1\0\0\0", ".png", "a BLP texture"),
        "PDF named .png": (b"%PDF-1.7", ".png", "a PDF document"),
        "web page named .jpg": (b"<!DOCTYPE html><html>", ".jpg", "a web page"),
        "Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\n",
            ".png",
            "a Git LFS pointer",
        ),
        "NumPy array named .png": (b"\x93NUMPY\1\0", ".png", "a NumPy array"),
    }
    for title, (start, ending, said) in starts.items():
        yield Case(title, image=start + bytes(64), image_name="0" + ending, refused=f"it is {said}")
    yield Case("JPEG cut off", image=cut_in_half(save(np.tile(PICTURE, (9, 9, 1)), "JPEG")), image_name="0.jpg",
               refused="cannot be read as an image")  # fmt: skip
    yield Case("damaged EXIF data", image=save(PICTURE, exif=b"Exif\0\0no TIFF header"),
               refused="its EXIF data cannot be read")  # fmt: skip


def turns():
    """EXIF tags of images and label files."""
    upright, tall = np.rot90(PICTURE, -1), np.rot90(IDS, -1)
    yield Case("turned by 90 degrees, label file drawn as shown", save(tall), image=turned(PICTURE, 6),
               expect=tall, picture=upright)  # fmt: skip
    yield Case("turned by 90 degrees, label file drawn on stored pixels", save(IDS), image=turned(PICTURE, 6),
               expect=tall, picture=upright)  # fmt: skip
    yield Case("turned by 180 degrees, label file without the tag", save(IDS), image=turned(PICTURE, 3),
               refused="nothing says whether 0.png is turned likewise")  # fmt: skip
    yield Case("turned by 180 degrees, and the label file likewise", turned(IDS, 3), image=turned(PICTURE, 3),
               expect=IDS[::-1, ::-1], picture=PICTURE[::-1, ::-1])  # fmt: skip
    yield Case("mirrored, label file without the tag", save(IDS), image=turned(PICTURE, 2),
               refused="its EXIF tag (2) turns or mirrors it")  # fmt: skip
    yield Case("label file turned, its image not", turned(np.rot90(IDS), 6), image=save(PICTURE),
               expect=IDS, picture=PICTURE)  # fmt: skip


def lists():
    """List files."""
    line = "images/0.png labels/0.png\n"
    texts = {
        "list with a byte order mark": b"\xef\xbb\xbf" + line.encode(),
        "list in UTF-16": line.encode("utf-16"),
        "list with CRLF": b"images/0.png labels/0.png\r\n\r\n",
        "list with backslashes": rb"images\0.png labels\0.png",
        "list with commas": b"images/0.png,labels/0.png\n",
        "list with comma and space": b"images/0.png, labels/0.png\n",
        "list with quotes": b'"images/0.png" "labels/0.png"\n',
        "list with a tab": b"images/0.png\tlabels/0.png\n",
        "list with a comment": b"# image label\n" + line.encode(),
    }
    for title, text in texts.items():
        yield Case(title, lists=text, expect=IDS, picture=PICTURE)
    yield Case("list with spaces in names", lists=b"images/my image.png labels/0.png", image_name="my image.png",
               expect=IDS)  # fmt: skip
    yield Case(
        "list with commas in names",
        lists=b"images/a,b.png labels/0.png",
        image_name="a,b.png",
        expect=IDS,
    )
    yield Case("list with accents as NFC, files as NFD", lists="images/é.png labels/0.png".encode(),
               image_name=unicodedata.normalize("NFD", "é.png"), expect=IDS)  # fmt: skip
    yield Case("list with accents as NFD, files as NFC",
               lists=unicodedata.normalize("NFD", "images/é.png labels/0.png").encode(),
               image_name=unicodedata.normalize("NFC", "é.png"), expect=IDS)  # fmt: skip
    yield Case("names that are not UTF-8", lists=b"images/caf\xe9.png labels/0.png", image_name="caf\udce9.png",
               expect=IDS)  # fmt: skip
    yield Case("list that is another file", lists=b"root:x:0:0:root:/root:/bin/sh\n",
               refused="line 1 must be `image label`, two image files")  # fmt: skip
    yield Case("list that is an image", lists=save(IDS), refused="is no list of images")
    yield Case(
        "list with three paths", lists=b"a.png b.png c.png", refused="line 1 must be `image label`"
    )


def yamls():
    """The YAML file."""
    yield Case("`names: [no, yes]`", save(TWO), "names: [no, yes]\n", expect=TWO)
    yield Case("`names: [1, 2.0, on]`", yaml="names: [1, 2.0, on]\n", expect=IDS)
    yield Case("`names: {ground: 0, red: 1}`", yaml="names: {ground: 0, red: 1}\n",
               refused="write `names: {0: ground, 1: red}`")  # fmt: skip
    yield Case("a misspelt key", yaml=NAMES + "color: []\n", refused="Did you mean 'colors'?")
    yield Case(
        "a key that comes twice", yaml=NAMES + NAMES, refused="has the key 'names' a second time"
    )
    yield Case("an alias", yaml="names: &a [ground, red]\nignore: *a\n", refused="has an alias (*)")
    yield Case("a tag", yaml=NAMES + "ignore: !!python/name:os.system\n", refused="has a tag (!)")
    yield Case("nested 20,000 deep", yaml=NAMES + "ignore: " + "[" * 20000, refused="is not YAML: ")
    yield Case("nested 30 deep", yaml=NAMES + "ignore: " + "[" * 30 + "]" * 30 + "\n",
               refused="nested deeper than 20 levels")  # fmt: skip


MAKERS = {
    "Label files": (modes, numbers, colors, refusals),
    "Images": (images, broken_images, turns),
    "Lists and the data file": (lists, yamls),
}
CASES = [case for makers in MAKERS.values() for make in makers for case in make()]


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_case(case, tmp_path):
    path = written(case, tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if case.refused is not None:
            with pytest.raises(ValueError) as error:
                check_data(load_data(path), ["train"])
            assert case.refused in str(error.value)
            assert "root:x" not in str(error.value)
            return
        data = load_data(path)
        check_data(data, ["train"])
        (pair,) = data.files("train")
        image, label_map = data.read(pair)
    texts = [str(one.message) for one in said]
    if case.said is None:
        assert not texts
    else:
        assert any(case.said in text for text in texts), texts
    if case.expect is not None:
        np.testing.assert_array_equal(label_map, case.expect)
        assert label_map.dtype == np.uint8
    if case.picture is not None:
        np.testing.assert_array_equal(image, case.picture)


def table() -> str:
    """Returns the corpus as tables of Markdown."""
    parts = []
    for heading, makers in MAKERS.items():
        rows = [f"### {heading}\n", "| case | what comes of it |", "|---|---|"]
        for case in (case for make in makers for case in make()):
            outcome = "read"
            if case.said:
                outcome = f"read, and said: “{case.said}”"
            elif case.refused:
                outcome = f"refused: “{case.refused}”"
            rows.append(f"| {case.title} | {outcome} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def test_there_are_enough_cases_with_names_of_their_own():
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles) >= 90


def test_the_table_in_the_docs_is_that_of_the_corpus():
    docs = Path(__file__).parents[2] / "docs/your_data.md"
    assert re.sub(r"\s+", " ", table()) in re.sub(r"\s+", " ", docs.read_text(encoding="utf-8"))
