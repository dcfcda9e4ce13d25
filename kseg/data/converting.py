"""Writing a data set of any layout as the plain one: images, PNGs of ids, and a YAML file.

Where objects are told apart, a PNG of 16 bits beside each label file has their ids.
"""

import os
import shutil
import tempfile
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import yaml
from PIL import Image

from kseg.classes import IGNORE_CLASS
from kseg.data.checking import look_at_all
from kseg.data.dataset import Data
from kseg.data.layouts.found import common_folder
from kseg.data.lists import Pair
from kseg.data.opening import header
from kseg.data.yaml_file import NAME

_IGNORED_COLOR = (224, 224, 192)  # as in Pascal VOC; black is often a class


def convert(data: Data, out: str | Path, *, shown: bool = False) -> Path:
    """Writes a data set as images, palette PNGs of ids, and a YAML file.

    Images keep their files, but those that an EXIF tag turns are written as they are seen.

    Args:
        data: The data set.
        out: The folder to write; it must not exist, or be empty. It is written whole or not at
            all.
        shown: Whether progress is shown.

    Returns:
        The YAML file.

    Raises:
        ValueError: If the folder holds something, or a file of the data set cannot be used.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; name a new folder.")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        for split, pairs in data.pairs.items():
            _write_split(data, split, pairs, made, shown)
        (made / NAME).write_text(_description(data), encoding="utf-8")
        made.chmod(0o777 & ~_umask())
        if out.exists():
            out.rmdir()
        os.rename(made, out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return out / NAME


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_split(data: Data, split: str, pairs: tuple[Pair, ...], made: Path, shown: bool) -> None:
    images, labels, ids = (made / kind / split for kind in ("images", "labels", "instances"))
    for folder in (images, labels, *([ids] if data.things else [])):
        folder.mkdir(parents=True)
    repeated, pairs = len(pairs), tuple(dict.fromkeys(pairs))
    if repeated > len(pairs):
        warnings.warn(
            f"{data.source}: in {split}, {repeated - len(pairs)} of {repeated} images are those of "
            "earlier lines, with the same labels, so they are written once.",
            stacklevel=3,
        )
    stems = _stems(pairs)

    def write(data: Data, pair: Pair) -> None:
        image, label_map = data.read(pair)
        if header(pair.image).tag == 1:
            shutil.copyfile(pair.image, images / f"{stems[pair]}{pair.image.suffix}")
        else:
            picture = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(picture).save(images / f"{stems[pair]}.png")
        _write_labels(data, label_map, labels / f"{stems[pair]}.png")
        if data.things:
            numbers = data.read_instances(pair)[2].astype("uint16")
            Image.fromarray(numbers).save(ids / f"{stems[pair]}.png", optimize=True)

    look_at_all(data, pairs, write, label=f"writing {split}" if shown else None)


def _write_labels(data: Data, label_map: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(label_map)
    palette = data.classes.palette()
    taken = _IGNORED_COLOR in data.classes.colors
    palette[3 * IGNORE_CLASS :] = (1, 1, 1) if taken else _IGNORED_COLOR
    picture.putpalette(palette)
    picture.save(path, optimize=True)


def _stems(pairs: tuple[Pair, ...]) -> dict[Pair, str]:
    """Returns a stem for each pair: that of its image, with its folders where stems come twice."""
    plain = [pair.image.stem for pair in pairs]
    if len({stem.casefold() for stem in plain}) == len(plain):
        return dict(zip(pairs, plain, strict=True))
    root = common_folder([pair.image for pair in pairs])
    parts = [PurePosixPath(*pair.image.relative_to(root).parts) for pair in pairs]
    long = ["_".join(part.with_suffix("").parts) for part in parts]
    if len({stem.casefold() for stem in long}) < len(long):
        long = [f"{stem}_{index}" for index, stem in enumerate(long)]
    return dict(zip(pairs, long, strict=True))


def _description(data: Data) -> str:
    content: dict = {
        split: {"images": f"images/{split}", "labels": f"labels/{split}"} for split in data.pairs
    }
    for split in data.pairs if data.things else ():
        content[split]["instances"] = f"instances/{split}"
    content["names"] = list(data.classes.names)
    content["colors"] = [list(color) for color in data.classes.colors]
    if data.channels != 3:
        content["channels"] = data.channels
    if data.bits is not None:
        content["bits"] = data.bits
    if data.things:
        content["instances"] = [data.classes.names[thing] for thing in data.things]
    if len(set(data.classes.colors)) < len(data.classes.colors):
        del content["colors"]
    head = f"# Made from {' '.join(str(data.source).split())}; 255 in label files is ignored.\n"
    return head + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, default_flow_style=None
    )
