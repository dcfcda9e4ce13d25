"""Files that give the names of classes, and their colours: `classes.txt`, `class_dict.csv`."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from kseg.data.layouts.found import Folder, split_named
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
_NAMES = (*_COLORED, *_LISTS)
# Others, such as image_labels.txt, may be lists of files.
_AFTER_WORDS = (*_COLORED, "classes.txt", "class_names.txt", "obj.names", "categories.txt")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Known:
    """Names that a file beside the labels gives.

    Attributes:
        source: The file.
        names: The classes in its order.
        colors: The colour of each; empty where it gives none.
        notes: What is to be said of the file, a sentence each.
    """

    source: Path
    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()
    notes: tuple[str, ...] = ()


def known_names(folder: Folder) -> Known | None:
    """Returns what the first file of names says, or the names of CamVid beside trainannot.

    A file may have words before such a name, as in street_classes.txt.

    Raises:
        ValueError: If the first file of just such a name cannot be read.
    """
    found: list[Known] = []
    for file in _name_files(folder):
        try:
            known = _parse(file)
        except ValueError:
            if not found and file.name.lower() in _NAMES:
                raise
            continue
        found += [known] if known is not None else []
    if found:
        first, *others = found
        other = next(
            (o for o in others if (o.names, o.colors) != (first.names, first.colors)), None
        )
        said = f"Files of names differ: {folder.relative(first.source)}, which is taken, and "
        more = (f"{said}{folder.relative(other.source)}.",) if other else ()
        return replace(first, notes=(*first.notes, *more))
    camvid = next((f.parent for f in folder.files if f.parent.name == "trainannot"), None)
    return Known(camvid, tuple(CAMVID)) if camvid else None


def _name_files(folder: Folder) -> list[Path]:
    """Returns the files of names: those of just these names first, and of these in their order."""
    end = re.compile(rf".*[_\- .]({'|'.join(map(re.escape, _AFTER_WORDS))})")
    found = []
    for file in folder.files:
        name = file.name.lower()
        if name in _NAMES:
            found.append((False, _NAMES.index(name), file))
        elif (match := end.fullmatch(name)) and split_named([name]) is None:
            found.append((True, _NAMES.index(match[1]), file))
    return [file for _, _, file in sorted(found)]


def _parse(file: Path) -> Known | None:
    lines = [line.strip() for line in read_text(file, limit=_TEXT).splitlines()]
    comments = [line for line in lines if line.startswith("#")]
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
    said = f"Lines of {file.name} that begin with # are no names: {', '.join(comments[:3])}."
    return Known(file, tuple(names), tuple(colors), (said,) if comments and not colors else ())


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
