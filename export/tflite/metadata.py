"""TFLite Metadata: what an app must know of a file, inside the file.

Android's MediaPipe refuses float files without it and shows no class names. It has two parts: a
FlatBuffer in one more buffer of the model, and files in a zip archive behind the model's last byte.
The archive holds `labels.txt`, one class name a line, and `kseg.json` with what the schema has no
place for: colours, the working size, the bits of 16-bit images, and the classes whose objects the
file tells apart.
"""

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import flatbuffers
from ai_edge_litert.schema_py_generated import Model

from export.errors import ModelFileError
from export.tflite.maps import SEMANTIC
from export.tflite.schema import ACTIVATIONS, ALIGNMENT, LABELS, aligned, describe, table, vector
from kseg.classes import Classes

Read = TypeVar("Read")
_FACTS = "kseg.json"
_LABELS_OF_OTHERS = (LABELS, "labelmap.txt")
_LARGEST = 1 << 20  # bytes of a file in the archive; hostile ones may say anything
# RuntimeError: an encrypted file, an unknown compression, or JSON nested too deeply.
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, AttributeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
_LARGEST_SIDE = 1 << 15
_MOST_CLASSES = 255
_MODEL_OFFSETS = (1, 2, 3, 5, 7, 8, 9)  # the model's fields that are kept as they are


def add_metadata(
    content: bytes,
    classes: Classes | None,
    *,
    head: str,
    scaling: tuple[float, float] = (1.0, 0.0),
    working_size: tuple[int, int] | None = None,
    things: tuple[int, ...] = (),
    bits: int | None = None,
) -> bytes:
    """Puts metadata into a .tflite file; what it computes stays as it is.

    Args:
        content: A file without metadata, of one image and one output, or the outputs of
            `kseg.build_panoptic_deeplab`, named by its signature.
        classes: Names and colours; None where they are not known.
        head: "logits" or "softmax" (1, H, W, num_classes), or "argmax", a class map.
        scaling: (factor, offset): for a pixel x, 0..255, the file's input stands for
            factor * x + offset. (1, 0) where the scaling is in the graph.
        working_size: (height, width) that images are fitted into before the file sees them.
        things: Ids of the classes whose objects the file tells apart.
        bits: The bits of the 16-bit images that it was trained on; None without any.

    Returns:
        The file with metadata.

    Raises:
        ValueError: If the file has metadata, or another number of classes than `classes`.
    """
    model = Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    channels = int(graph.Tensors(graph.Inputs(0)).Shape(3))
    outputs = _named_outputs(model)
    labelling = outputs.index(SEMANTIC) if outputs else 0
    shape = graph.Tensors(graph.Outputs(labelling)).ShapeAsNumpy()
    if classes is not None and head in ACTIVATIONS and shape[-1] != classes.num_classes:
        raise ValueError(
            f"classes must name every class of the file: {shape[-1]}; it names "
            f"{classes.num_classes}."
        )
    names = [model.Metadata(i).Name() for i in range(model.MetadataLength())]
    if b"TFLITE_METADATA" in names:
        raise ValueError("The file has metadata already; add it to the converter's own output.")
    labelled = classes is not None
    described = describe(head, scaling, channels, labelled=labelled, outputs=outputs)
    content = _with_buffer(content, "TFLITE_METADATA", described)
    facts: dict[str, Any] = {"things": things} if things else {}
    if bits is not None:
        facts = {"bits": bits, **facts}
    if working_size is not None or classes is not None:
        facts = {"working_size": working_size, **facts}
    stored = {}
    if classes is not None:
        facts = {"colors": classes.colors, **facts}
        stored = {LABELS: "".join(f"{name}\n" for name in classes.names)}
    if not facts:
        return content
    archive = io.BytesIO(content)
    with zipfile.ZipFile(archive, "a") as files:
        # A ZipInfo has no time of day, so equal models are equal files.
        for name, text in {**stored, _FACTS: json.dumps(facts)}.items():
            files.writestr(zipfile.ZipInfo(name), text)
    return archive.getvalue()


def _named_outputs(model: Model) -> tuple[str, ...]:
    """Returns the names of the outputs in the file's order; () of a file with one."""
    graph = model.Subgraphs(0)
    if graph.OutputsLength() == 1:
        return ()
    signature = model.SignatureDefs(0)
    maps = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    names = {entry.TensorIndex(): entry.Name().decode() for entry in maps}
    return tuple(names[graph.Outputs(i)] for i in range(graph.OutputsLength()))


def read_metadata(path: str | Path) -> tuple[Classes, tuple[int, int] | None] | None:
    """Reads what `add_metadata` wrote into the archive; from others' files, too.

    Args:
        path: A .tflite file.

    Returns:
        The classes and the working size, (height, width) or None. None alone if the file has no
        names, or names that kseg cannot use. Names of others' files are read, too; their colours
        are made up.

    Raises:
        ModelFileError: If there is an archive, and it is damaged.
    """

    def read(files: zipfile.ZipFile) -> tuple[Classes, tuple[int, int] | None] | None:
        stored = set(files.namelist())
        labels = next((name for name in _LABELS_OF_OTHERS if name in stored), None)
        if labels is None:
            return None
        names = tuple(_stored(files, labels).rstrip("\r\n").split("\n"))
        facts = json.loads(_stored(files, _FACTS)) if _FACTS in stored else {}
        if facts.get("colors") is None:
            return _classes_of_others(path, names)
        colors = tuple(tuple(color) for color in facts["colors"])
        size = facts.get("working_size")
        return Classes(names, colors), None if size is None else _check_working_size(size)

    return _read_archive(path, read)


def read_fact(path: str | Path, name: str) -> Any:
    """Reads one of the facts that `add_metadata` wrote; what others put there is not looked at.

    Args:
        path: A .tflite file.
        name: One of `CHECKS`.

    Returns:
        It; None if the file does not say it.

    Raises:
        ModelFileError: If there is an archive, and it is damaged.
    """

    def read(files: zipfile.ZipFile) -> Any:
        if _FACTS not in files.namelist():
            return None
        fact = json.loads(_stored(files, _FACTS)).get(name)
        return None if fact is None else CHECKS[name](fact)

    return _read_archive(path, read)


def _check_things(things: Any) -> tuple[int, ...]:
    """Returns ids of classes that a file or a report of unknown origin names.

    Raises:
        ValueError: If they are none.
    """
    right = isinstance(things, list) and 0 < len(things) <= _MOST_CLASSES
    if not right or not all(type(i) is int and 0 <= i < _MOST_CLASSES for i in things):
        raise ValueError(f"things must be ids of classes; got {str(things)[:80]}")
    return tuple(things)


def _check_bits(bits: Any) -> int:
    """Returns the bits of 16-bit images that metadata or a report of unknown origin name.

    Raises:
        ValueError: If they are none.
    """
    if type(bits) is not int or not 8 <= bits <= 16:
        raise ValueError(f"bits must be a number from 8 to 16; got {str(bits)[:80]}")
    return bits


def _check_working_size(size: Any) -> tuple[int, int]:
    """Returns the (height, width) that metadata or a report of unknown origin name.

    Raises:
        ValueError: If they are no size.
    """
    whole = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
    if not whole or not all(0 < side <= _LARGEST_SIDE for side in size):
        raise ValueError(
            f"working_size must be two sizes from 1 to {_LARGEST_SIDE}; got {str(size)[:80]}"
        )
    return size[0], size[1]


CHECKS: dict[str, Callable[[Any], Any]] = {
    "working_size": _check_working_size,
    "things": _check_things,
    "bits": _check_bits,
}


def _read_archive(path: str | Path, read: Callable[[zipfile.ZipFile], Read]) -> Read | None:
    try:
        files = zipfile.ZipFile(path)
    # Others: whoever made the file may have damaged its end on purpose.
    except (OSError, ValueError, struct.error, NotImplementedError, zipfile.BadZipFile):
        return None  # no archive
    with files:
        try:
            return read(files)
        except _DAMAGE as error:
            reason = str(error).rstrip(".") or type(error).__name__
    raise ModelFileError(
        f"{path} has damaged metadata ({LABELS}, {_FACTS}): {reason}. Export it again, or cut the "
        "archive off (zip -d)."
    )


def _classes_of_others(path: str | Path, names: tuple[str, ...]) -> tuple[Classes, None] | None:
    try:
        return Classes(tuple(name.strip() for name in names)), None
    except ValueError as error:  # one name alone, or one twice
        warnings.warn(f"{path}: the names in its metadata are not used: {error}", stacklevel=2)
        return None


def _stored(files: zipfile.ZipFile, name: str) -> str:
    info = files.getinfo(name)
    if info.file_size > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST} bytes")
    with files.open(info) as file:
        return file.read(_LARGEST + 1).decode("utf-8-sig")


def _with_buffer(content: bytes, name: str, data: bytes) -> bytes:
    """Adds a named buffer to a model.

    FlatBuffers point forward only and are built from the end. So the old model stays as it is at
    the end, aligned as it was, and a new root before it points at its parts.
    """
    old = Model.GetRootAs(content)
    content += bytes(-len(content) % ALIGNMENT)
    builder = flatbuffers.Builder(len(content) + len(data) + 1024)
    builder.CreateByteVector(content)

    def kept(position: int) -> int:
        """Turns a position in the old model into the builder's measure, from the end."""
        return len(content) - position

    buffer = table(builder, offsets={0: aligned(builder, data)})
    entry_name = builder.CreateString(name)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, entry_name, 0)
    builder.PrependUint32Slot(1, old.BuffersLength(), 0)
    entry = builder.EndObject()
    buffers = [kept(old.Buffers(i)._tab.Pos) for i in range(old.BuffersLength())]
    entries = [kept(old.Metadata(i)._tab.Pos) for i in range(old.MetadataLength())]
    offsets = {4: vector(builder, *buffers, buffer), 6: vector(builder, *entries, entry)}
    fields = old._tab
    for slot in _MODEL_OFFSETS:
        if field := fields.Offset(4 + 2 * slot):
            offsets[slot] = kept(fields.Indirect(fields.Pos + field))
    builder.StartObject(10)
    builder.PrependUint32Slot(0, old.Version(), 0)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())
