"""Class names, ids and colours: from the files that tell them, and from the labels themselves."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from kseg.data.layouts.found import Folder
from kseg.safe_files import read_text

_LOOKED_AT = 300  # label files, spread over the data set
_MOST_COLORS = 64  # more in one data set are shades, not classes
_TEXT = 1_000_000
_LISTS = (
    "classes.txt",
    "class_names.txt",
    "labels.txt",
    "names.txt",
    "obj.names",
    "categories.txt",
)
_COLORED = ("label_colors.txt", "labelmap.txt", "class_dict.csv", "classes.csv", "colormap.txt")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Known:
    """Names that a file beside the labels gives.

    Attributes:
        source: The file.
        names: The classes in its order.
        colors: The colour of each; empty where it gives none.
    """

    source: Path
    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()


def known_names(folder: Folder) -> Known | None:
    """Returns what the first file of names says, if there is one."""
    by_name = {file.name.lower(): file for file in reversed(folder.files)}
    for name in (*_COLORED, *_LISTS):
        if name in by_name:
            found = _parse(by_name[name])
            if found is not None:
                return found
    return None


def _parse(file: Path) -> Known | None:
    lines = [line.strip() for line in read_text(file, limit=_TEXT).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    names: list[str] = []
    colors: list[Color] = []
    for line in lines:
        color, name = _color_and_name(line)
        if color is None and not colors and file.suffix != ".csv":
            names.append(line)
        elif color is not None:
            names.append(name)
            colors.append(color)
    if not names or len(set(names)) < len(names) or (colors and len(colors) < len(names)):
        return None
    return Known(file, tuple(names), tuple(colors))


def _color_and_name(line: str) -> tuple[Color | None, str]:
    """Reads `name:r,g,b::`, `r g b name` and `name,r,g,b`."""
    number = r"\s*(\d{1,3})\s*"
    patterns = (
        rf"(?P<name>[^:]+):{number},{number},{number}(:.*)?",
        rf"{number}[\s,]{number}[\s,]{number}[\s,]\s*(?P<name>\S.*)",
        rf"(?P<name>[^,]+),{number},{number},{number}(,.*)?",
    )
    for pattern in patterns:
        found = re.fullmatch(pattern, line)
        if found:
            values = [int(g) for g in found.groups() if g and re.fullmatch(r"\d{1,3}", g)][:3]
            if len(values) == 3 and max(values) <= 255:
                return (values[0], values[1], values[2]), found["name"].strip()
    return None, line


@dataclass(frozen=True)
class Ids:
    """What label files hold.

    Attributes:
        counts: Id, or colour (red, green, blue), to its pixels.
        palette: Id to colour where the files have a palette.
        is_color: Whether the files are RGB.
        looked_at: How many files were read.
    """

    counts: Counter
    palette: dict[int, Color]
    is_color: bool
    looked_at: int


def look_at(files: list[Path]) -> Ids:
    """Counts the ids or colours of label files, of some where there are many.

    Raises:
        ValueError: If a file is no image, or there are too many colours to be classes.
    """
    picks = np.unique(np.linspace(0, len(files) - 1, min(len(files), _LOOKED_AT)).astype(int))
    ids: Counter = Counter()
    colors: Counter = Counter()
    palette: dict[int, Color] = {}
    for index in picks:
        image = _open(files[index])
        if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
            found = _colors_of(files[index], image)
            # Gray stored as RGB is ids, or 0 and 255, three times.
            gray = all(red == green == blue for red, green, blue in found)
            ids.update({color[0]: count for color, count in found.items()} if gray else {})
            colors.update({} if gray else found)
            continue
        palette = palette or _palette(image)
        values, counts = np.unique(np.asarray(image), return_counts=True)
        ids.update(dict(zip(map(int, values), counts.tolist(), strict=True)))
    if colors:  # a gray file among coloured ones has colours too
        colors.update({(value, value, value): count for value, count in ids.items()})
    if len(colors) > _MOST_COLORS:
        raise ValueError(
            f"{files[0].parent}: the label files have {len(colors)} colours together, too many "
            "for classes; were they saved in a lossy format?"
        )
    return Ids(colors or ids, palette, bool(colors), len(picks))


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: it cannot be read as an image ({error}).") from None
    return image


def _palette(image: Image.Image) -> dict[int, Color]:
    flat = (image.getpalette("RGB") or []) if image.mode == "P" else []
    colors = np.reshape(flat[: 256 * 3], (-1, 3)).tolist()
    return {index: (red, green, blue) for index, (red, green, blue) in enumerate(colors)}


def _colors_of(file: Path, image: Image.Image) -> dict[Color, int]:
    found: Any = image.convert("RGB").getcolors(maxcolors=4 * _MOST_COLORS)
    if found is None:
        raise ValueError(
            f"{file}: it has too many colours for a label file; store a colour or an id for each "
            "class, in a lossless format."
        )
    return {color: count for count, color in found}


def classes_of(ids: Ids, known: Known | None) -> tuple[dict[str, Any], list[str]]:
    """Returns names, ignore and colors of the YAML file, and what is to be said of them.

    Args:
        ids: What the label files hold.
        known: Names that a file gives.
    """
    if ids.is_color:
        return _by_color(ids, known)
    values = sorted(ids.counts)
    notes: list[str] = []
    content: dict[str, Any] = {}
    if len(values) == 2 and values[0] == 0:
        names = list(known.names) if known and len(known.names) == 2 else ["background", "object"]
        content["names"] = dict(zip(values, names, strict=True))
        notes.append(f"Two values in the label files, 0 and {values[1]}: {names[0]}, {names[1]}.")
        return content, notes
    plain = [value for value in values if value != 255]
    if known is not None and (not plain or max(plain) < len(known.names)):
        content["names"] = list(known.names)
        notes.append(f"Names of {known.source.name}: {len(known.names)} classes.")
    else:
        top = max(plain, default=1)
        dense = len(plain) > top // 2
        chosen = list(range(top + 1)) if dense else plain
        names = [f"class {value}" for value in chosen]
        content["names"] = names if dense else dict(zip(chosen, names, strict=True))
        notes.append(
            f"No file of names fits the ids {', '.join(map(str, plain[:12]))}"
            f"{' ...' if len(plain) > 12 else ''}; put the real names in the place of 'class N'."
        )
    if 255 in values:
        content["ignore"] = 255
        notes.append("The id 255 is ignored, as is usual.")
    count = len(content["names"])
    if len(ids.palette) >= count and isinstance(content["names"], list):
        colors = [list(ids.palette[index]) for index in range(count)]
        if len({tuple(color) for color in colors}) == count:
            content["colors"] = colors
    return content, notes


def _by_color(ids: Ids, known: Known | None) -> tuple[dict[str, Any], list[str]]:
    given = dict(zip(known.colors, known.names, strict=True)) if known and known.colors else {}
    if given and set(ids.counts) <= {*given, (0, 0, 0)}:
        content: dict[str, Any] = {
            "names": list(given.values()),
            "colors": [list(c) for c in given],
        }
        source = known.source.name if known else ""
        return content, [f"Names and colours of {source}: {len(given)} classes."]
    # The most frequent first, but black, which is the background nearly everywhere, before all.
    order = [color for color, _ in ids.counts.most_common()]
    order.sort(key=lambda color: color != (0, 0, 0))
    names: list[str] = []
    for color in order:
        name = "background" if color == (0, 0, 0) else _color_name(color)
        again = sum(other.split(" ")[0] == name for other in names)
        names.append(f"{name} {again + 1}" if again else name)
    notes = [
        f"{len(order)} colours in the label files, the most frequent first; they are named after "
        "their colours: put the real names in their place."
    ]
    return {"names": names, "colors": [list(color) for color in order]}, notes


def _color_name(color: Color) -> str:
    """Returns the nearest colour name of CSS."""
    named = {n: ImageColor.getrgb(n) for n in ImageColor.colormap if "grey" not in n}
    return min(named, key=lambda name: math.dist(named[name][:3], color))
