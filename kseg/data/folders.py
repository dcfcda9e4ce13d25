"""What the YAML file of a data set says of a split."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from kseg.data.formats import FORMATS

_SUBSETS = ("train", "val", "test")
_LABELS = ("labels", "annotations", "instances")


class Folders(BaseModel):
    """A folder of images, and where their labels are.

    Attributes:
        images: The folder.
        labels: The folder of the label files, matched by path and stem.
        annotations: Instead of labels: a file of shapes, or a folder of such files.
        format: The format of annotations, one of `kseg.data.formats.FORMATS`; "" looks.
        instances: A folder that tells the objects of a class apart, matched likewise: files of
            ids, or folders with a mask file for each object. Alone, it stands for labels too.
        subset: Of annotations, only the images of this split, as `kseg.data.subsets` tells them;
            "" takes all.
        list: A list of the stems that are in the split; "" takes all.
        image_prefix: What the stems of images begin with beyond what they have in common.
        image_suffix: What they end with.
        label_prefix: What the stems of label files begin with.
        label_suffix: What they end with.
        instance_prefix: What the stems of files of ids, or the names of folders of masks, begin
            with.
        instance_suffix: What they end with.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    images: str
    labels: str = ""
    annotations: str = ""
    format: str = ""
    instances: str = ""
    subset: str = ""
    list: str = ""
    image_prefix: str = ""
    image_suffix: str = ""
    label_prefix: str = ""
    label_suffix: str = ""
    instance_prefix: str = ""
    instance_suffix: str = ""


Entry = str | Folders | list[tuple[str, ...]] | list[str | Folders]


def folders_of(name: str, entry: dict[Any, Any]) -> Folders:
    """Checks an entry that `is_folders`.

    Args:
        name: The split, for the sentence.
        entry: As the file says.

    Raises:
        ValueError: If a key is unknown or wrong, or two do not go together.
    """
    for key, value in entry.items():
        if key not in Folders.model_fields:
            raise ValueError(
                f"{name} has the unknown key {str(key)[:80]!r}; keys are "
                f"{', '.join(Folders.model_fields)}."
            )
        if isinstance(value, list | dict | bool) or value is None:
            raise ValueError(f"{name}: {key} must be a name; got {short(value)}.")
    if "labels" in entry and "annotations" in entry:
        raise ValueError(f"{name} has labels and annotations; it can be read from one of them.")
    if "instances" in entry and "annotations" in entry:
        raise ValueError(f"{name} has instances and annotations; shapes are the objects already.")
    if entry.get("format", "coco") not in FORMATS:
        raise ValueError(
            f"{name}: format must be one of {', '.join(FORMATS)}; got {short(entry['format'])}."
        )
    if "subset" in entry and ("annotations" not in entry or entry["subset"] not in _SUBSETS):
        raise ValueError(
            f"{name}: subset must be one of {', '.join(_SUBSETS)}, and beside annotations; got "
            f"{short(entry['subset'])}."
        )
    return Folders(**{key: str(value) for key, value in entry.items()})


def is_folders(entry: Any) -> bool:
    """Returns whether it is a folder of images with a word on its labels."""
    named = isinstance(entry, dict) and "images" in entry
    return named and bool(set(entry) & set(_LABELS))


def is_name(entry: Any) -> bool:
    """Returns whether it is the name of a file or folder."""
    return isinstance(entry, str) and bool(entry)


def is_pair(pair: Any) -> bool:
    """Returns whether it is [image, labels], or [image, labels, instances]."""
    right = isinstance(pair, list | tuple) and len(pair) in (2, 3)
    return right and all(type(part) is str for part in pair)


def short(value: Any) -> str:
    """Returns how a value is written, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
