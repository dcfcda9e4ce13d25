"""Label files in many formats, and files that are none."""

import struct
import zlib

import numpy as np
from PIL import Image

from corpus.base import (
    COLORED,
    COLORS,
    IDS,
    PAIR,
    RGB,
    TWO,
    Case,
    cut_in_half,
    packed,
    palette,
    png,
    save,
    tiff,
)


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
    yield Case(
        "palette PNG with a gray palette beside `colors`",
        save(palette(IDS, np.arange(256).repeat(3))),
        COLORED,
        expect=IDS,
    )
    yield Case(
        "palette PNG with a transparent index",
        save(palette(IDS, COLORS), transparency=0),
        expect=IDS,
    )
    yield Case("RGB PNG of `colors`", save(RGB), COLORED, expect=IDS)
    yield Case("RGB PNG with ids in all channels", save(np.dstack([IDS] * 3)), expect=IDS)
    yield Case(
        "RGB PNG with ids in all channels, beside `colors`",
        save(np.dstack([IDS] * 3)),
        COLORED,
        expect=IDS,
    )
    yield Case("RGBA PNG, opaque", save(alpha), COLORED, expect=IDS)
    yield Case(
        "gray PNG with an opaque alpha channel",
        save(np.dstack([IDS, np.full_like(IDS, 255)])),
        expect=IDS,
    )
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
    yield Case(
        "lossless WebP of `colors`",
        save(RGB, "WEBP", lossless=True),
        COLORED,
        label_name="0.webp",
        expect=IDS,
    )
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
    yield Case(
        "PNG whose pixels end early",
        png([row.tobytes() for row in IDS], 6, 8, 0, cut=2),
        refused="it ends early: 50 % of its pixels are there",
    )
    yield Case(
        "floats in a TIFF",
        tiff(IDS.astype("float32")),
        label_name="0.tif",
        refused="its mode F is none",
    )
    yield Case(
        "CMYK label file",
        save(Image.fromarray(RGB).convert("CMYK"), "TIFF"),
        label_name="0.tif",
        refused="its mode CMYK is none",
    )
    yield Case(
        "negative ids",
        tiff(IDS.astype("int32") - 1),
        label_name="0.tif",
        refused="it holds the id -1",
    )
    yield Case(
        "TIFF with 0 as white",
        tiff(IDS, photometric="miniswhite"),
        label_name="0.tif",
        refused="a TIFF in which 0 is white",
    )
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
