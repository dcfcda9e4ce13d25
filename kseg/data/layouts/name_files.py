"""Files that give the names of classes, and their colours: `classes.txt`, `class_dict.csv`."""

import re
from dataclasses import dataclass
from pathlib import Path

from kseg.data.layouts.found import Folder
from kseg.safe_files import read_text

# SegNet's version of CamVid has no file of names.
CAMVID = "sky building pole road pavement tree sign fence car pedestrian bicyclist void".split()
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
    """Returns what the first file of names says, or the names of CamVid beside trainannot."""
    by_name = {file.name.lower(): file for file in reversed(folder.files)}
    for name in (*_COLORED, *_LISTS):
        if name in by_name:
            found = _parse(by_name[name])
            if found is not None:
                return found
    camvid = next((f.parent for f in folder.files if f.parent.name == "trainannot"), None)
    return Known(camvid, tuple(CAMVID)) if camvid else None


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
