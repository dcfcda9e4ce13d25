"""The keys of the YAML file that describes a data set, and what each may hold."""

import difflib
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from kseg.data.formats import FORMATS

_MAX_ID = 65535
_LABELS = ("labels", "annotations", "instances")
_NAMES = f"names must be a list, or id: name with ids from 0 to {_MAX_ID}"


class Folders(BaseModel):
    """A folder of images, and where their labels are.

    Attributes:
        images: The folder.
        labels: The folder of the label files, matched by path and stem.
        annotations: Instead of labels: a file of shapes, or a folder of such files.
        format: The format of annotations, one of `kseg.data.formats.FORMATS`; "" looks.
        instances: A folder that tells the objects of a class apart, matched likewise: files of
            ids, or folders with a mask file for each object. Alone, it stands for labels too.
        list: A list of the stems that are in the split; "" takes all.
        image_prefix: What the stems of images begin with beyond what they have in common.
        image_suffix: What they end with.
        label_prefix: What the stems of label files begin with.
        label_suffix: What they end with.
        instance_prefix: What stems of files of ids, or names of folders of masks, begin with.
        instance_suffix: What they end with.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    images: str
    labels: str = ""
    annotations: str = ""
    format: str = ""
    instances: str = ""
    list: str = ""
    image_prefix: str = ""
    image_suffix: str = ""
    label_prefix: str = ""
    label_suffix: str = ""
    instance_prefix: str = ""
    instance_suffix: str = ""


Entry = str | Folders | list[tuple[str, ...]]


class DataFile(BaseModel):
    """What the YAML file of a data set says.

    Attributes:
        path: The folders that the splits are in.
        train: A list file, a folder, a file of shapes, folders, or pairs of files.
        val: The same, or the fraction of train that is taken.
        test: As train.
        names: For each class, in the order written, its ids and its name.
        ignore: The ids that are not scored, and colours [red, green, blue] likewise.
        colors: A colour for each class, in the order in which names are written.
        merge: From a new name to the names that become one class.
        instances: The names of the classes whose objects are told apart.
        channels: Channels of the images.
        bits: How many bits 16-bit images use.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    path: list[str] = ["."]
    train: Entry
    val: Entry | float | None = None
    test: Entry | None = None
    names: list[tuple[tuple[int, ...], str]]
    ignore: list[Any] | None = None
    colors: list[list[int]] = []
    merge: dict[str, list[str]] = {}
    instances: list[str] = []
    channels: int = 3
    bits: int | None = None

    @field_validator("path", mode="before")
    @classmethod
    def _path(cls, path: Any) -> list[str]:
        paths = path if isinstance(path, list) and path else [path]
        if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in paths):
            raise ValueError(f"path must be a folder or a list of folders; got {_short(path)}.")
        return [str(part) for part in paths]

    @field_validator("train", "val", "test", mode="before")
    @classmethod
    def _split(cls, entry: Any, info: Any) -> Any:
        name = info.field_name
        if isinstance(entry, dict) and "images" in entry and set(entry) & set(_LABELS):
            return _folders(name, entry)
        if isinstance(entry, list) and entry and all(_is_pair(pair) for pair in entry):
            return [tuple(pair) for pair in entry]
        if name == "val" and isinstance(entry, float):
            if not 0 < entry < 1:
                raise ValueError(f"val as a fraction must be between 0 and 1; got {entry}.")
            return entry
        if not isinstance(entry, str) or not entry:
            also = ", or a fraction such as 0.2" if name == "val" else ""
            raise ValueError(
                f"{name} must be a list file or {{images: folder, labels: folder}}{also}; got "
                f"{_short(entry)}."
            )
        return entry

    @field_validator("names", mode="before")
    @classmethod
    def _named(cls, names: Any) -> list[tuple[tuple[int, ...], str]]:
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict):
            raise ValueError(f"{_NAMES}.")
        if not all(isinstance(name, str) for name in names.values()):
            raise ValueError("names must be lines of text, one for each class.")
        entries = [(_ids(key, names), name) for key, name in names.items()]
        taken = [class_id for ids, _ in entries for class_id in ids]
        if len(set(taken)) < len(taken):
            twice = next(class_id for class_id in taken if taken.count(class_id) > 1)
            raise ValueError(f"names gives the id {twice} to two classes.")
        return entries

    @field_validator("ignore", mode="before")
    @classmethod
    def _ignored(cls, ignore: Any) -> list[Any] | None:
        if ignore is None:
            return None
        listed = ignore if isinstance(ignore, list) else [ignore]
        for value in listed:
            if not _is_color(value) and not (type(value) is int and 0 <= value <= _MAX_ID):
                raise ValueError(_ignore_rule(value))
        return listed

    @field_validator("colors", mode="before")
    @classmethod
    def _colors(cls, colors: Any) -> list[list[int]]:
        colors = [] if colors is None else colors
        if not isinstance(colors, list) or not all(isinstance(color, list) for color in colors):
            raise ValueError("colors must be a list of [red, green, blue], one for each name.")
        for color in colors:
            if not _is_color(color):
                raise ValueError(
                    f"colors must be three numbers from 0 to 255; got {_short(color)}."
                )
        if len({tuple(color) for color in colors}) < len(colors):
            raise ValueError("colors must differ; two names have the same.")
        return colors

    @field_validator("merge", mode="before")
    @classmethod
    def _merged(cls, merge: Any) -> dict[str, list[str]]:
        merge = {} if merge is None else merge
        right = isinstance(merge, dict) and all(
            isinstance(parts, list) and parts and all(isinstance(part, str) for part in parts)
            for parts in merge.values()
        )
        if not right:
            raise ValueError("merge must be like `merge: {vehicle: [car, bus]}`.")
        return {str(name): parts for name, parts in merge.items()}

    @field_validator("instances", mode="before")
    @classmethod
    def _things(cls, things: Any) -> list[str]:
        listed = [things] if isinstance(things, str) else things
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise ValueError(
                "instances must be names of classes whose objects are told apart, like "
                f"`instances: [car, person]`; got {_short(things)}."
            )
        return listed

    @field_validator("channels", mode="before")
    @classmethod
    def _channels(cls, channels: Any) -> int:
        if type(channels) is not int or not 1 <= channels <= 256:
            raise ValueError(
                f"channels must be a number from 1 (gray) to 256; got {_short(channels)}."
            )
        return channels

    @field_validator("bits", mode="before")
    @classmethod
    def _bits(cls, bits: Any) -> int | None:
        if bits is not None and (type(bits) is not int or not 8 <= bits <= 16):
            raise ValueError(f"bits must be a number from 8 to 16; got {_short(bits)}.")
        return bits


def described(content: Any) -> DataFile:
    """Checks what a YAML file holds.

    Args:
        content: As `read_yaml` returns it.

    Returns:
        The description.

    Raises:
        ValueError: If a key is missing, unknown or wrong; it is named, with what would be right.
    """
    if not isinstance(content, dict):
        raise ValueError("a data file has lines such as `train: train.txt`.")
    try:
        return DataFile.model_validate({str(key): value for key, value in content.items()})
    except ValidationError as error:
        raise ValueError(_sentence(error.errors()[0])) from None


def _folders(name: str, entry: dict[Any, Any]) -> Folders:
    for key, value in entry.items():
        if key not in Folders.model_fields:
            raise ValueError(
                f"{name} has the unknown key {str(key)[:80]!r}; keys are "
                f"{', '.join(Folders.model_fields)}."
            )
        if isinstance(value, list | dict | bool) or value is None:
            raise ValueError(f"{name}: {key} must be a name; got {_short(value)}.")
    if "labels" in entry and "annotations" in entry:
        raise ValueError(f"{name} has labels and annotations; it can be read from one of them.")
    if "instances" in entry and "annotations" in entry:
        raise ValueError(f"{name} has instances and annotations; shapes are the objects already.")
    if entry.get("format", "coco") not in FORMATS:
        raise ValueError(
            f"{name}: format must be one of {', '.join(FORMATS)}; got {_short(entry['format'])}."
        )
    return Folders(**{key: str(value) for key, value in entry.items()})


def _is_pair(pair: Any) -> bool:
    """Returns whether it is [image, labels], or [image, labels, instances]."""
    right = isinstance(pair, list | tuple) and len(pair) in (2, 3)
    return right and all(type(part) is str for part in pair)


def _sentence(error: Any) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        return f"the key {key!r} is missing."
    if error["type"] == "extra_forbidden":
        keys = list(DataFile.model_fields)
        near = difflib.get_close_matches(key, keys, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        return f"unknown key {key[:80]!r}; keys are {', '.join(keys)}.{meant}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}."


def _ids(key: Any, names: dict) -> tuple[int, ...]:
    """Returns the ids that a key of names stands for: one, or a range such as 1-255."""
    if type(key) is int and 0 <= key <= _MAX_ID:
        return (key,)
    if isinstance(key, str) and (span := re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", key)):
        first, last = int(span[1]), int(span[2])
        if first <= last <= _MAX_ID:
            return tuple(range(first, last + 1))
    values = list(names.values())
    if isinstance(key, str) and all(re.fullmatch("[0-9]{1,5}", value) for value in values):
        line = ", ".join(f"{value}: {name}" for name, value in list(names.items())[:10])
        raise ValueError(f"{_NAMES}; write `names: {{{line}}}`.")
    raise ValueError(f"{_NAMES}.")


def _is_color(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    )


def _ignore_rule(value: Any) -> str:
    return (
        f"ignore must be ids from 0 to {_MAX_ID} that names does not list, or colours such as "
        f"[0, 0, 0]; got {_short(value)}."
    )


def check_ignored(description: DataFile) -> None:
    """Refuses an ignored id or colour that a class has.

    Raises:
        ValueError: If there is one.
    """
    named = {class_id for ids, _ in description.names for class_id in ids}
    for value in description.ignore or ():
        if value in named if isinstance(value, int) else value in description.colors:
            raise ValueError(_ignore_rule(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
