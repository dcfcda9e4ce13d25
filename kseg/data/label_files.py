"""Reading one label file: first to the ids that it holds, then to classes. Bytes stay bytes."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg.classes import IGNORE_CLASS
from kseg.data.opening import Opened, open_image

_STRIP = 1 << 20  # pixels that are worked on at a time, so that large files need little memory
_UNKNOWN = 65535  # marks a colour that `colors` does not list
_LOSSY = ("JPEG", "MPO")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # Pillow's names of a TIFF's compressions
_MANY = 20


class LabelIds(NamedTuple):
    """What a label file holds.

    Attributes:
        ids: uint8 or uint16 (H, W), not yet turned.
        by: "id" where the file holds numbers, "gray" for numbers in three equal channels,
            "color" where colours were looked up in `colors`; for a palette file "index" or
            "palette" for what was taken, or "either" where both say the same.
        tag: The EXIF orientation, 1 to 8.
    """

    ids: np.ndarray
    by: str
    tag: int


def read_ids(path: str | Path, color_ids: Mapping[int, int]) -> LabelIds:
    """Reads the ids that a label file holds, whatever way it stores them.

    Args:
        path: A lossless file: gray of 1 to 16 bits, palette, RGB, or two-valued.
        color_ids: From red * 65536 + green * 256 + blue to the id; empty where the data has no
            colours. Black with id 255 counts as "nothing was drawn here".

    Raises:
        ValueError: If the file is missing, damaged, lossy, or holds what is no id; the file is
            named.
    """
    opened = open_image(path)
    try:
        ids, by = _ids(opened, color_ids)
        return LabelIds(opened.as_stored(ids), by, opened.tag)
    except MemoryError:
        raise
    except Exception as error:  # in a damaged file Pillow meets nearly anything
        raise ValueError(f"{path}: {error}.") from None


def read_label_map(
    path: str | Path, lookup: np.ndarray, color_ids: Mapping[int, int]
) -> np.ndarray:
    """Reads a label file as a label map.

    Args:
        path: As for `read_ids`.
        lookup: From the id in the file to the class; -1 where there is none.
        color_ids: As for `read_ids`.

    Returns:
        The label map, uint8 (H, W): classes, and IGNORE_CLASS where the lookup says so.

    Raises:
        ValueError: As `read_ids`, or if the file holds an id without a class.
    """
    return to_classes(path, read_ids(path, color_ids).ids, lookup)


def to_classes(path: str | Path, ids: np.ndarray, lookup: np.ndarray) -> np.ndarray:
    """Turns ids into classes.

    Raises:
        ValueError: If an id has no class; the file and the ids are named.
    """
    counts = count(ids)
    if problem := unlisted(counts, lookup):
        raise ValueError(f"{path}: {problem}.")
    classes = np.zeros(max(len(counts), len(lookup)), "uint8")
    classes[: len(lookup)] = np.maximum(lookup, 0)
    found = np.empty(ids.shape, "uint8")
    for rows in _strips(ids.shape):
        found[rows] = classes[ids[rows]]
    return found


def unlisted(counts: np.ndarray, lookup: np.ndarray) -> str | None:
    """Says which ids have no class, in half a sentence; None where all have one."""
    (present,) = counts.nonzero()
    known = present[present < len(lookup)]
    missing = [*known[lookup[known] < 0].tolist(), *present[present >= len(lookup)].tolist()]
    if not missing:
        return None
    listed = ", ".join(f"{i} ({counts[i]} pixels)" for i in missing[:5])
    if len(missing) > 5:
        listed += f" and {len(missing) - 5} more"
    if len(missing) > _MANY:
        return (
            f"it holds {len(missing)} ids that names does not list: {listed}; it looks as if it "
            "numbers objects, or was resized smoothly or stored as JPEG in between"
        )
    return f"it holds ids that names does not list: {listed}; add them to names or to ignore"


def count(ids: np.ndarray) -> np.ndarray:
    """Returns the pixels of each id, int64 (256,) or (65536,)."""
    length = 256 if ids.dtype == np.uint8 else 65536
    counts = np.zeros(length, "int64")
    for rows in _strips(ids.shape):
        counts += np.bincount(ids[rows].ravel(), minlength=length)
    return counts


def default_lookup(num_classes: int, length: int = 256) -> np.ndarray:
    """Returns the lookup in which ids are classes and 255 is ignored."""
    lookup = np.full(length, -1)
    lookup[:num_classes] = np.arange(num_classes)
    lookup[IGNORE_CLASS] = IGNORE_CLASS
    return lookup


def _strips(shape) -> Iterator[slice]:
    step = max(1, _STRIP // max(1, shape[1]))
    return (slice(first, first + step) for first in range(0, shape[0], step))


def _ids(opened: Opened, color_ids: Mapping[int, int]) -> tuple[np.ndarray, str]:
    image = opened.image
    if kind := _lossy_kind(opened):
        raise ValueError(
            f"it is a {kind} file, which changes ids where classes meet; label files must be "
            "lossless, such as PNG"
        )
    if opened.pages > 1:
        raise ValueError(f"it has {opened.pages} pages; a label file must have one")
    if image.format == "GIF":
        return _black_and_white(image), "id"
    if image.mode in ("RGBA", "LA", "RGBX"):
        image = _without_alpha(image)
    elif "transparency" in image.info and image.mode in ("L", "RGB"):  # a PNG's tRNS
        _without_alpha(image.convert("RGBA"))
    if image.mode == "RGB":
        if opened.depth() == 16:
            raise ValueError("its colours have 16 bits; store 8 bits a channel, or ids")
        return _ids_of_rgb(np.asarray(image), color_ids)
    if image.mode == "P":
        return _ids_of_palette(image, color_ids)
    if image.mode in ("1", "L", "I") or image.mode.startswith("I;16"):
        return _ids_of_gray(opened, image), "id"
    raise ValueError(f"its mode {image.mode} is none that holds class ids (L, P, 1, I, RGB)")


def _lossy_kind(opened: Opened) -> str | None:
    """Names the lossy format that a file has; None where every id comes back as it was written."""
    kind = opened.image.format or ""
    if kind == "WEBP":
        return "lossy WebP" if _is_lossy(opened.content) else None
    if kind == "TIFF":
        packed = str(opened.image.info.get("compression"))
        return f"TIFF ({packed})" if packed in _LOSSY_TIFF else None
    return {"MPO": "JPEG"}.get(kind, kind) if kind in _LOSSY else None


def _is_lossy(content: bytes) -> bool:
    """Whether a WebP file is lossy: an animation, or without a chunk of lossless pixels."""
    return b"VP8L" not in (content[12:16], content[_after(content) : _after(content) + 4])


def _after(content: bytes) -> int:
    """Returns where the first chunk of pixels begins in a WebP file with an extended header."""
    place = 12
    while content[place : place + 4] in (b"VP8X", b"ICCP", b"ALPH"):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return place


def _black_and_white(image) -> np.ndarray:
    """Returns a mask of 0 and 255 of a GIF file, whose indices mean nothing without its colours."""
    rgb = np.asarray(image.convert("RGB"))
    if not (np.isin(rgb, (0, 255)).all() and (rgb == rgb[..., :1]).all()):
        raise ValueError(
            "it is a GIF file, which changes ids, as programs number its colours anew; only masks "
            "of black and white can be GIF files. Others must be lossless, such as PNG"
        )
    return np.ascontiguousarray(rgb[..., 0])


def _without_alpha(image):
    low, high = image.getchannel(image.getbands()[-1]).getextrema()
    if low != high or high == 0:
        raise ValueError(
            "it has transparent pixels, whose class nobody can say; store it without transparency"
        )
    return image.convert("L" if image.mode == "LA" else "RGB")


def _ids_of_gray(opened: Opened, image) -> np.ndarray:
    """Returns the numbers of a gray file as it stores them; `image` is without alpha."""
    numbers, depth, kind = np.asarray(image), opened.depth(), opened.image.format
    if kind == "TIFF" and getattr(opened.image, "tag_v2", {}).get(262) == 0:
        raise ValueError("it is a TIFF in which 0 is white; store it with 0 as black, or as PNG")
    if kind == "PPM":
        if image.mode == "1":
            raise ValueError("it is a PBM file, in which 1 is black; store it as PNG")
        numbers = _unstretched(numbers, opened.ppm_maximum(), 255 if image.mode == "L" else 65535)
    elif image.mode == "L" and depth in (2, 4):  # stretched to 0..255 by Pillow
        numbers = numbers // (255 // ((1 << depth) - 1))
    if image.mode == "1":
        return numbers.astype("uint8")
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high > 65535:
        wrong = low if low < 0 else high
        raise ValueError(f"it holds the id {wrong}; ids must be from 0 to 65535")
    return numbers.astype("uint8" if high < 256 else "uint16", copy=False)


def _unstretched(numbers, maximum: int, stretched: int):
    """Undoes what Pillow does to a PGM file whose largest value is not that of its type."""
    if maximum == stretched:
        return numbers
    table = np.rint(np.arange(stretched + 1) * maximum / stretched)
    return table.astype("uint8" if maximum < 256 else "uint16")[numbers]


def _ids_of_rgb(rgb: np.ndarray, color_ids: Mapping[int, int]) -> tuple[np.ndarray, str]:
    unknown: dict[int, int] = {}
    table = _table(tuple(color_ids.items()))
    wide = any(value > 255 for value in color_ids.values())
    ids = np.empty(rgb.shape[:2], "uint16" if wide else "uint8")
    for rows in _strips(ids.shape):
        packed = rgb[rows].astype("uint32") @ np.array([65536, 256, 1], "uint32")
        found = table[packed]
        ids[rows] = found
        missing, counts = np.unique(packed[found == _UNKNOWN], return_counts=True)
        for value, number in zip(missing.tolist(), counts.tolist(), strict=True):
            unknown[value] = unknown.get(value, 0) + number
        if len(unknown) > 10000:
            break
    if not unknown:
        return ids, "color"
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return np.ascontiguousarray(rgb[..., 0]), "gray"
    raise ValueError(_unknown_colors(unknown, color_ids))


@functools.lru_cache(maxsize=2)
def _table(color_ids: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Returns the id of each of the 2**24 colours."""
    table = np.full(1 << 24, _UNKNOWN, "uint16")
    for color, class_id in color_ids:
        table[color] = class_id
    return table


def _unknown_colors(unknown: dict[int, int], color_ids: Mapping[int, int]) -> str:
    most = sorted(unknown, key=lambda color: -unknown[color])
    listed = ", ".join(f"({v >> 16}, {v >> 8 & 255}, {v & 255})" for v in most[:5])
    if not color_ids:
        colors = ", ".join(f"[{v >> 16}, {v >> 8 & 255}, {v & 255}]" for v in most[:5])
        return (
            f"it is an RGB file, and the data file has no colors; write `colors: [{colors}]` with "
            "the colours in the order of names"
        )
    why = "add them to colors, or store ids"
    if len(unknown) > _MANY:
        listed += f" and {len(unknown) - 5} more"
        why = "it looks as if it was resized smoothly or stored as JPEG; make it again as PNG"
    return f"it is an RGB file with colours that colors does not list: {listed}; {why}"


def _ids_of_palette(image, color_ids: Mapping[int, int]) -> tuple[np.ndarray, str]:
    """Takes the colours of a palette where they are those of `colors`, else its indices."""
    indices = np.asarray(image)
    flat = image.getpalette("RGB") or []
    packed = [r << 16 | g << 8 | b for r, g, b in zip(*[iter(flat)] * 3, strict=False)]
    used = [i for i in np.flatnonzero(count(indices)).tolist() if i < len(packed)]
    named = {c: i for c, i in color_ids.items() if (c, i) != (0, IGNORE_CLASS)}
    by_color = {i: named[packed[i]] for i in used if packed[i] in named}
    if all(index == class_id for index, class_id in by_color.items()):
        return indices, "either" if by_color else "index"
    table = np.arange(256, dtype="uint16")
    for index in used:
        if packed[index] not in color_ids and index != IGNORE_CLASS:
            red, green, blue = packed[index] >> 16, packed[index] >> 8 & 255, packed[index] & 255
            raise ValueError(
                "some of its palette's colours are among colors, with another order, but not "
                f"({red}, {green}, {blue}) of index {index}; add it to colors, or store ids"
            )
        table[index] = color_ids.get(packed[index], IGNORE_CLASS)
    wide = int(table[used].max()) > 255
    return table.astype("uint16" if wide else "uint8")[indices], "palette"
