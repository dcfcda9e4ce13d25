"""Images of many kinds, and files that are none."""

import numpy as np

from corpus.base import (
    COLORS,
    GRAY,
    IDS,
    NAMES,
    PICTURE,
    RGB,
    TWO,
    Case,
    cut_in_half,
    palette,
    save,
    scaled,
    tiff,
    turned,
    wide_png,
)


def images():
    """Images of many kinds."""
    deep = GRAY.astype("uint16")
    gray3, twelve = np.dstack([GRAY] * 3), np.dstack([scaled(GRAY)] * 3)
    alpha, five = np.dstack([PICTURE, GRAY]), np.dstack([PICTURE, PICTURE[..., :2]])
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
    yield Case(
        "palette image with a transparent colour",
        image=save(palette(IDS, COLORS), transparency=bytes([0, 128])),
        picture=RGB,
        said="its fourth channel (transparency, or near infrared) is left out",
    )
    yield Case("two-valued image", image=save(TWO.astype(bool)), picture=np.dstack([TWO * 255] * 3))
    yield Case("opaque alpha channel", image=save(opaque), picture=PICTURE)
    yield Case(
        "fourth channel, RGB network",
        image=save(alpha),
        picture=PICTURE,
        said="its fourth channel (transparency, or near infrared) is left out",
    )
    yield Case(
        "fourth channel, `channels: 4`",
        yaml=NAMES + "channels: 4\n",
        image=save(alpha),
        picture=alpha,
    )
    yield Case(
        "RGB image, `channels: 4`",
        yaml=NAMES + "channels: 4\n",
        image=save(PICTURE),
        refused="it has 3 channels, and the data has `channels: 4`",
    )
    yield Case(
        "16 bits, all used", image=save(full), picture=np.dstack([full // 257] * 3).astype("uint8")
    )
    for bits in (10, 12, 14):
        top = (1 << bits) - 1
        values = (deep * (top // 255)).astype("uint16")
        values[0, 0] = top
        seen = (values.astype("uint32") * 255 // top).astype("uint8")
        yield Case(
            f"16 bits, {bits} used",
            image=save(values),
            picture=np.dstack([seen] * 3),
            said=f"16-bit images use {bits} bits, so white is {top} (`bits: {bits}`)",
        )
    yield Case(
        "16 bits, 12 used, `bits: 12`",
        yaml=NAMES + "bits: 12\n",
        image=save(deep * 16),
        picture=twelve,
    )
    yield Case(
        "numbers above `bits: 10`",
        yaml=NAMES + "bits: 10\n",
        image=save(full),
        refused="it holds the number 65535",
    )
    yield Case(
        "PGM whose largest value is 4095",
        image=b"P5 6 4 4095\n" + (deep * 16).astype(">u2").tobytes(),
        image_name="0.pgm",
        picture=twelve,
    )
    yield Case(
        "RGB TIFF of 16 bits, 12 used",
        image=tiff(PICTURE.astype("uint16") * 16),
        image_name="0.tif",
        picture=scaled(PICTURE),
        said="16-bit images use 12 bits",
    )
    yield Case("RGB PNG of 16 bits", image=wide_png(PICTURE, 257), picture=PICTURE)
    yield Case(
        "RGB PNG of 16 bits, 12 used",
        image=wide_png(PICTURE, 16),
        refused="its colours have 16 bits of which fewer are used",
    )
    yield Case(
        "five channels, `channels: 5`",
        yaml=NAMES + "channels: 5\n",
        image=tiff(five, photometric="minisblack", planarconfig="contig"),
        image_name="0.tif",
        picture=five,
    )
    yield Case(
        "five channels, RGB network",
        image=tiff(five, photometric="minisblack", planarconfig="contig"),
        image_name="0.tif",
        refused="needs its number of channels in the data file",
    )
    pages = np.moveaxis(five, -1, 0)
    yield Case(
        "five pages, `channels: 5`",
        yaml=NAMES + "channels: 5\n",
        image=tiff(pages, photometric="minisblack"),
        image_name="0.tif",
        picture=np.moveaxis(pages, 0, -1),
    )
    yield Case(
        "five pages, RGB network",
        image=tiff(pages, photometric="minisblack"),
        image_name="0.tif",
        picture=gray3,
        said="it has 5 pages, and all but the first are left out",
    )
    yield Case(
        "floats as image",
        image=tiff(GRAY.astype("float32")),
        image_name="0.tif",
        refused="its numbers (mode F) have no fixed range",
    )


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
    yield Case(
        "JPEG cut off",
        image=cut_in_half(save(np.tile(PICTURE, (9, 9, 1)), "JPEG")),
        image_name="0.jpg",
        refused="cannot be read as an image",
    )
    yield Case(
        "damaged EXIF data",
        image=save(PICTURE, exif=b"Exif\0\0no TIFF header"),
        refused="its EXIF data cannot be read",
    )


def turns():
    """EXIF tags of images and label files."""
    upright, tall = np.rot90(PICTURE, -1), np.rot90(IDS, -1)
    yield Case(
        "turned by 90 degrees, label file drawn as shown",
        save(tall),
        image=turned(PICTURE, 6),
        expect=tall,
        picture=upright,
    )
    yield Case(
        "turned by 90 degrees, label file drawn on stored pixels",
        save(IDS),
        image=turned(PICTURE, 6),
        expect=tall,
        picture=upright,
    )
    yield Case(
        "turned by 180 degrees, label file without the tag",
        save(IDS),
        image=turned(PICTURE, 3),
        refused="nothing says whether 0.png is turned likewise",
    )
    yield Case(
        "turned by 180 degrees, and the label file likewise",
        turned(IDS, 3),
        image=turned(PICTURE, 3),
        expect=IDS[::-1, ::-1],
        picture=PICTURE[::-1, ::-1],
    )
    yield Case(
        "mirrored, label file without the tag",
        save(IDS),
        image=turned(PICTURE, 2),
        refused="its EXIF tag (2) turns or mirrors it",
    )
    yield Case(
        "label file turned, its image not",
        turned(np.rot90(IDS), 6),
        image=save(PICTURE),
        expect=IDS,
        picture=PICTURE,
    )
