"""The YAML file that describes a data set."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kseg.classes import IGNORE_CLASS, Classes
from kseg.data.dataset import Data, Pair
from kseg.data.files import IMAGE_ENDINGS, default_lookup

_KEYS = ("path", "train", "val", "test", "names", "ignore", "colors")
_SPLITS = ("train", "val", "test")


def load_data(path: str | Path) -> Data:
    """Reads the description of a data set; the images themselves are read when they are used.

    Args:
        path: A YAML file with `path` (a folder, relative to the file; the file's own by default),
            `train`, `val`, `test` (each a text file of `image label` lines relative to `path`, or
            `{images: folder, labels: folder}` matched by stem; `val` may be a fraction of
            train), `names` (a list, or id: name), `ignore` (an id or a list of them), `colors`
            (one [red, green, blue] for each name).

    Returns:
        The data set.

    Raises:
        ValueError: If the file, a folder or a label map is missing, or a key is wrong.
    """
    source = Path(path)
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError) as error:  # a date of no calendar is a ValueError
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None
    try:
        return _data(source, content)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _data(source: Path, content: Any) -> Data:
    if not isinstance(content, dict):
        raise ValueError("a data file has lines such as `train: train.txt`.")
    unknown = set(map(str, content)) - set(_KEYS)
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}; keys are {', '.join(_KEYS)}.")
    for key in ("train", "names"):
        if key not in content:
            raise ValueError(f"the key {key!r} is missing.")
    ids, names = _names(content["names"])
    colors = content.get("colors") or ()
    if not isinstance(colors, list | tuple) or not all(isinstance(c, list) for c in colors):
        raise ValueError("colors must be a list of [red, green, blue], one for each name.")
    if isinstance(content["names"], dict) and len(colors) == len(ids):
        # Colours come in the order in which names are written, classes in that of their ids.
        colors = [color for _, color in sorted(zip(content["names"], colors, strict=True))]
    classes = Classes(names, tuple(tuple(color) for color in colors))
    lookup = default_lookup(0)
    lookup[ids] = np.arange(len(ids))
    lookup[_ignored(content.get("ignore"), ids)] = IGNORE_CLASS
    if len(set(classes.colors)) < len(classes.colors):
        raise ValueError("colors must differ; two names have the same.")
    packed = [red << 16 | green << 8 | blue for red, green, blue in classes.colors]
    color_ids = {0: IGNORE_CLASS, **dict(zip(packed, ids, strict=True))} if colors else {}
    root = source.parent / str(content.get("path", "."))
    if not root.is_dir():
        raise ValueError(f"path names the folder {root}, which does not exist.")
    pairs = {
        name: _pairs(root, name, content[name])
        for name in _SPLITS
        if name in content and not (name == "val" and isinstance(content[name], float))
    }
    if isinstance(content.get("val"), float):
        pairs["train"], pairs["val"] = _part(pairs["train"], content["val"])
    return Data(source, classes, pairs, lookup, color_ids)


def _names(names: Any) -> tuple[list[int], tuple[str, ...]]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(
        type(key) is int and 0 <= key <= 255 for key in names
    ):
        raise ValueError("names must be a list, or id: name with ids from 0 to 255.")
    ids = sorted(names)
    return ids, tuple(str(names[key]) for key in ids)


def _ignored(ignore: Any, ids: list[int]) -> list[int]:
    ignored = [] if ignore is None else ignore if isinstance(ignore, list) else [ignore]
    for value in ignored:
        if type(value) is not int or not 0 <= value <= 255 or value in ids:
            raise ValueError(
                f"ignore must be ids from 0 to 255 that names does not list; got {value!r}."
            )
    return ignored


def _pairs(root: Path, name: str, entry: Any) -> tuple[Pair, ...]:
    if isinstance(entry, str):
        pairs = _listed(root, name, root / entry)
    elif isinstance(entry, dict) and set(entry) == {"images", "labels"}:
        pairs = _matched(root / str(entry["images"]), root / str(entry["labels"]))
    else:
        raise ValueError(
            f"{name} must be a list file or {{images: folder, labels: folder}}; got {entry!r}."
        )
    if not pairs:
        raise ValueError(f"the split {name!r} is empty.")
    return tuple(pairs)


def _listed(root: Path, name: str, path: Path) -> list[Pair]:
    if not path.is_file():
        raise ValueError(f"{name} names the list {path}, which does not exist.")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            # Two paths; with a tab between them they may hold spaces.
            parts = line.strip().split("\t" if "\t" in line else None)
            if len(parts) != 2:
                raise ValueError(f"{path}, line {number} must be `image label`; got {line!r}.")
            pairs.append(Pair(root / parts[0], root / parts[1]))
    return pairs


def _matched(images: Path, labels: Path) -> list[Pair]:
    found = []
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"the folder {folder} does not exist.")
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_ENDINGS)
        stems = {file.stem: file for file in files}
        if len(stems) < len(files):
            raise ValueError(f"{folder} has two files with one stem; stems match image to label.")
        found.append(stems)
    by_image, by_label = found
    alone = sorted(by_image.keys() ^ by_label.keys())
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise ValueError(
            f"images in {images} and label files in {labels} must have the same stems; only one "
            f"folder has {', '.join(alone[:5])}{more}."
        )
    return [Pair(by_image[stem], by_label[stem]) for stem in sorted(by_image)]


def _part(pairs: tuple[Pair, ...], fraction: float) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Takes a fraction for validation.

    Images are chosen by the hash of their names, so most stay where they are when more are added.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val as a fraction must be between 0 and 1; got {fraction}.")
    order = sorted(pairs, key=lambda pair: hashlib.sha256(pair.image.name.encode()).digest())
    count = max(1, round(len(order) * fraction))
    if count >= len(order):
        raise ValueError(f"val takes {count} of {len(order)} images and leaves none to train on.")
    chosen = set(order[:count])
    rest = tuple(pair for pair in pairs if pair not in chosen)
    return rest, tuple(pair for pair in pairs if pair in chosen)
