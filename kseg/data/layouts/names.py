"""Class names, ids and colours from the labels themselves, and from names that a file gives."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from kseg.data.label_files import read_ids
from kseg.data.labels import nearly_two
from kseg.data.layouts.name_files import Color, Known
from kseg.data.opening import open_image

_LOOKED_AT = 300  # label files, spread over the data set
_MOST = 64  # more colours or ids in one data set are shades, not classes
_FEW_OBJECTS = 4
_VOID = ("void", "unlabeled", "unlabelled", "ignore", "ignored", "undefined")


@dataclass(frozen=True)
class Ids:
    """What label files hold.

    Attributes:
        counts: Id, or colour (red, green, blue), to its pixels.
        palette: Id to colour where the files have a palette.
        is_color: Whether the files are RGB.
        are_objects: Whether the ids number the objects of each image rather than classes.
        folder: Where the files are.
    """

    counts: Counter
    palette: dict[int, Color]
    is_color: bool
    are_objects: bool = False
    folder: Path = Path()


def look_at(files: list[Path]) -> Ids:
    """Counts the ids or colours of label files, of some where there are many.

    Files that cannot be read are left out; they are named when everything is checked.

    Raises:
        ValueError: If no file can be read, or there are too many ids or colours to be classes.
    """
    picks = np.unique(np.linspace(0, len(files) - 1, min(len(files), _LOOKED_AT)).astype(int))
    ids: Counter = Counter()
    colors: Counter = Counter()
    palette: dict[int, Color] = {}
    tops: list[int] = []
    error: ValueError | None = None
    for file in (files[index] for index in picks):
        try:
            image = open_image(file).image
            found = _ids_or_colors(file, image)
        except ValueError as raised:
            error = raised
            continue
        if any(isinstance(value, tuple) for value in found):
            colors.update(found)
            continue
        palette = palette or _palette(image)
        ids.update(found)
        objects = sorted(value for value in found if value)
        tops.append(len(objects) if objects == list(range(1, len(objects) + 1)) else -1)
    if error is not None and not ids and not colors:
        raise error
    if colors:  # a gray file among coloured ones has colours too
        colors.update({(value, value, value): count for value, count in ids.items()})
        if len(colors) > _MOST:
            raise ValueError(
                f"{files[0].parent}: the label files have {len(colors)} colours together, too many "
                "for classes; were they saved in a lossy format?"
            )
        return Ids(colors, palette, True, folder=files[0].parent)
    # Classes leave gaps in some files; objects are numbered without, as many as an image has.
    numbered = bool(tops) and min(tops) >= 0 and max(tops) > _FEW_OBJECTS and len(set(tops)) > 2
    if len(ids) > _MOST and not numbered:
        raise ValueError(
            f"{files[0].parent}: the label files hold {len(ids)} ids together, too many for "
            "classes; are their edges smooth, or do they number objects? Write names by hand, such "
            "as `names: {0: background, 1-65535: object}`."
        )
    return Ids(ids, palette, False, numbered, files[0].parent)


def _ids_or_colors(file: Path, image: Image.Image) -> dict[Any, int]:
    if image.mode not in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        values, counts = np.unique(read_ids(file, {}).ids, return_counts=True)
        return dict(zip(map(int, values), counts.tolist(), strict=True))
    if image.format in ("JPEG", "MPO", "GIF"):
        raise ValueError(
            f"{file}: it is a {image.format} file, which changes colours where classes meet; label "
            "files must be lossless, such as PNG."
        )
    found = _colors_of(file, image)
    # Gray stored as RGB is ids, or 0 and 255, three times.
    if all(red == green == blue for red, green, blue in found):
        return {color[0]: count for color, count in found.items()}
    return dict(found)


def _palette(image: Image.Image) -> dict[int, Color]:
    flat = (image.getpalette("RGB") or []) if image.mode == "P" else []
    colors = np.reshape(flat[: 256 * 3], (-1, 3)).tolist()
    return {index: (red, green, blue) for index, (red, green, blue) in enumerate(colors)}


def _colors_of(file: Path, image: Image.Image) -> dict[Color, int]:
    found: Any = image.convert("RGB").getcolors(maxcolors=4 * _MOST)
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

    Raises:
        ValueError: If they hold 0, 255 and few pixels of others, so that 255 may be a class.
    """
    said = None if ids.is_color else nearly_two(ids.counts)
    if said and (known is None or len(known.names) <= 2):
        raise ValueError(
            f"{ids.folder}: the label files {said}; store 0 and 255 alone if 255 is a class, or "
            "write a YAML file with `ignore: 255` if it is not to be scored (docs/your_data.md)."
        )
    content, notes = _classes_of(ids, known)
    return content, [*notes, *(known.notes if known else ())]


def _classes_of(ids: Ids, known: Known | None) -> tuple[dict[str, Any], list[str]]:
    values = sorted(ids.counts)
    if ids.is_color:
        return _by_color(ids, known)
    plain = [value for value in values if value != 255]
    drawn = {ids.palette[value] for value in plain if value in ids.palette}
    if known and known.colors and drawn and drawn <= set(known.colors):
        return _by_color(Ids(Counter(drawn), {}, True), known)
    if known and (gray := _gray_names(known)) and set(values) <= set(gray):
        return {"names": gray}, [f"Names and gray values of {known.source.name}."]
    if len(values) == 2 and values[0] == 0:
        names = list(known.names) if known and len(known.names) == 2 else ["background", "object"]
        if values[1] > 1:  # no id, so the order of the names says nothing
            names.sort(key=lambda name: name.lower() != "background")
        said = f"Two values in the label files, 0 and {values[1]}: {names[0]}, {names[1]}."
        return {"names": dict(zip(values, names, strict=True))}, [said]
    fits = known is not None and (not plain or max(plain) < len(known.names))
    if ids.are_objects and not fits:
        said = (
            f"The label files number the objects of each image, up to {values[-1]}: all of them "
            "are one class, 'object'. If the numbers are classes, list them in names."
        )
        content = {"names": {0: "background", "1-65535": "object"}, "instances": ["object"]}
        return content, [said]
    content, notes = _by_id(ids, plain, known if fits else None)
    if 255 in values:
        content["ignore"] = [*content.get("ignore", []), 255]
        notes.append("The id 255 is ignored, as is usual.")
    count = len(content["names"])
    if len(ids.palette) >= count and isinstance(content["names"], list):
        colors = [list(ids.palette[index]) for index in range(count)]
        if len({tuple(color) for color in colors}) == count:
            content["colors"] = colors
    return content, notes


def _gray_names(known: Known) -> dict[int, str]:
    """Returns the name of each gray value, where all colours of the names are gray."""
    if len(known.colors) != len(known.names):
        return {}
    named = zip(known.colors, known.names, strict=True)
    gray = {color[0]: name for color, name in named if len(set(color)) == 1}
    whole = len(gray) == len(known.names) and {n.lower() for n in known.names}.isdisjoint(_VOID)
    return dict(sorted(gray.items())) if whole else {}


def _by_id(ids: Ids, plain: list[int], known: Known | None) -> tuple[dict[str, Any], list[str]]:
    if known is not None:
        void = [index for index, name in enumerate(known.names) if name.lower() in _VOID]
        names = {index: name for index, name in enumerate(known.names) if index not in void}
        dense = list(names) == list(range(len(names)))
        content: dict[str, Any] = {"names": list(names.values()) if dense else names}
        notes = [f"Names of {known.source.name}: {len(names)} classes."]
        if void:
            content["ignore"] = void
            notes.append(f"The id {void[0]} is {known.names[void[0]]!r}, so it is ignored.")
        return content, notes
    top = max(plain, default=1)
    dense = len(plain) > top // 2
    chosen = list(range(top + 1)) if dense else plain
    made = [f"class {value}" for value in chosen]
    shown = ", ".join(map(str, plain[:12])) + (" ..." if len(plain) > 12 else "")
    note = (
        f"No file of names fits the ids {shown}; put the real names in the place of 'class N'. "
        "If the ids number objects, write `names: {0: background, 1-65535: object}`."
    )
    return {"names": made if dense else dict(zip(chosen, made, strict=True))}, [note]


def _by_color(ids: Ids, known: Known | None) -> tuple[dict[str, Any], list[str]]:
    given = dict(zip(known.colors, known.names, strict=True)) if known and known.colors else {}
    if given and set(ids.counts) <= {*given, (0, 0, 0)}:
        void = [color for color, name in given.items() if name.lower() in _VOID]
        kept = {color: name for color, name in given.items() if color not in void}
        content: dict[str, Any] = {
            "names": list(kept.values()),
            "colors": [list(color) for color in kept],
        }
        source = known.source.name if known else ""
        notes = [f"Names and colours of {source}: {len(kept)} classes."]
        if void:
            content["ignore"] = [list(color) for color in void]
            notes.append(f"{given[void[0]]!r} is ignored.")
        return content, notes
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
