"""TFLite Metadata: what an app must know of a file, inside the file.

Android's MediaPipe refuses float files without it and shows no class names. It has two parts: a
FlatBuffer in one more buffer of the model, and files in a zip archive behind the model's last byte.
The archive holds `labels.txt`, one class name a line, and `kseg.json` with what the schema has no
place for: colours and the working size.

Source: mediapipe/tasks/metadata/metadata_schema.fbs (1.5.0) and
image_segmenter_metadata_schema.fbs (1.0.0) for field numbers.
"""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert.schema_py_generated import Model

from export.errors import ModelFileError
from kseg.classes import Classes

_LABELS, _FACTS = "labels.txt", "kseg.json"
_LARGEST = 1 << 20  # bytes of a file in the archive; hostile ones may say anything
# RuntimeError: an encrypted file, an unknown compression, or JSON nested too deeply.
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, AttributeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
_LARGEST_SIDE = 1 << 15
_ALIGNMENT = 16  # of a model's buffers
_COLOR_SPACES = {1: 2, 3: 1}  # channels to ColorSpaceType: grayscale, RGB; else unknown
_AXIS_LABELS, _VALUE_LABELS = 2, 3  # AssociatedFileType
_IMAGE_PROPERTIES, _NORMALIZATION = 2, 1  # members of the unions
_ACTIVATIONS = {"logits": 2, "softmax": 0}  # what is left to do: softmax, nothing
_MODEL_OFFSETS = (1, 2, 3, 5, 7, 8, 9)  # the model's fields that are kept as they are


def add_metadata(
    content: bytes,
    classes: Classes | None,
    *,
    head: str,
    scaling: tuple[float, float] = (1.0, 0.0),
    working_size: tuple[int, int] | None = None,
) -> bytes:
    """Puts metadata into a .tflite file; what it computes stays as it is.

    Args:
        content: A file without metadata, of one image and one output.
        classes: Names and colours; None where they are not known.
        head: "logits" or "softmax" (1, H, W, num_classes), or "argmax", a class map.
        scaling: (factor, offset): for a pixel x, 0..255, the file's input stands for
            factor * x + offset. (1, 0) where the scaling is in the graph.
        working_size: (height, width) that images are fitted into before the file sees them.

    Returns:
        The file with metadata.

    Raises:
        ValueError: If the file has metadata, or another number of classes than `classes`.
    """
    model = Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    channels = int(graph.Tensors(graph.Inputs(0)).Shape(3))
    shape = graph.Tensors(graph.Outputs(0)).ShapeAsNumpy()
    if classes is not None and head in _ACTIVATIONS and shape[-1] != classes.num_classes:
        raise ValueError(
            f"classes must name every class of the file: {shape[-1]}; it names "
            f"{classes.num_classes}."
        )
    names = [model.Metadata(i).Name() for i in range(model.MetadataLength())]
    if b"TFLITE_METADATA" in names:
        raise ValueError("The file has metadata already; add it to the converter's own output.")
    described = _describe(head, scaling, channels, labelled=classes is not None)
    content = _with_buffer(content, "TFLITE_METADATA", described)
    if classes is None:
        return content
    archive = io.BytesIO(content)
    facts = {"colors": classes.colors, "working_size": working_size}
    with zipfile.ZipFile(archive, "a") as files:
        # A ZipInfo has no time of day, so equal models are equal files.
        files.writestr(zipfile.ZipInfo(_LABELS), "".join(f"{name}\n" for name in classes.names))
        files.writestr(zipfile.ZipInfo(_FACTS), json.dumps(facts))
    return archive.getvalue()


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
    try:
        files = zipfile.ZipFile(path)
    # Others: whoever made the file may have damaged its end on purpose.
    except (OSError, ValueError, struct.error, NotImplementedError, zipfile.BadZipFile):
        return None  # no archive
    with files:
        try:
            stored = set(files.namelist())
            if _LABELS not in stored:
                return None
            names = tuple(_stored(files, _LABELS).removesuffix("\n").split("\n"))
            facts = json.loads(_stored(files, _FACTS)) if _FACTS in stored else None
            if facts is None:
                return _classes_of_others(names)
            colors = tuple(tuple(color) for color in facts["colors"])
            return Classes(names, colors), _size(facts["working_size"])
        except _DAMAGE as error:
            reason = str(error).rstrip(".") or type(error).__name__
    raise ModelFileError(
        f"{path} has damaged metadata ({_LABELS}, {_FACTS}): {reason}. Export it again, or cut the "
        "archive off (zip -d)."
    )


def _classes_of_others(names: tuple[str, ...]) -> tuple[Classes, None] | None:
    try:
        return Classes(tuple(name.strip() for name in names)), None
    except ValueError:  # one name alone, or one twice
        return None


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    whole = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
    if not whole or not all(0 < side <= _LARGEST_SIDE for side in size):
        raise ValueError(
            f"working_size must be two sizes from 1 to {_LARGEST_SIDE}; got {str(size)[:80]}"
        )
    return size[0], size[1]


def _stored(files: zipfile.ZipFile, name: str) -> str:
    info = files.getinfo(name)
    if info.file_size > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST} bytes")
    with files.open(info) as file:
        return file.read(_LARGEST + 1).decode("utf-8")


def _with_buffer(content: bytes, name: str, data: bytes) -> bytes:
    """Adds a named buffer to a model.

    FlatBuffers point forward only and are built from the end. So the old model stays as it is at
    the end, aligned as it was, and a new root before it points at its parts.
    """
    old = Model.GetRootAs(content)
    content += bytes(-len(content) % _ALIGNMENT)
    builder = flatbuffers.Builder(len(content) + len(data) + 1024)
    builder.CreateByteVector(content)

    def kept(position: int) -> int:
        """Turns a position in the old model into the builder's measure, from the end."""
        return len(content) - position

    buffer = _table(builder, offsets={0: _aligned(builder, data)})
    entry_name = builder.CreateString(name)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, entry_name, 0)
    builder.PrependUint32Slot(1, old.BuffersLength(), 0)
    entry = builder.EndObject()
    buffers = [kept(old.Buffers(i)._tab.Pos) for i in range(old.BuffersLength())]
    entries = [kept(old.Metadata(i)._tab.Pos) for i in range(old.MetadataLength())]
    offsets = {4: _vector(builder, *buffers, buffer), 6: _vector(builder, *entries, entry)}
    table = old._tab
    for slot in _MODEL_OFFSETS:
        if field := table.Offset(4 + 2 * slot):
            offsets[slot] = kept(table.Indirect(table.Pos + field))
    builder.StartObject(10)
    builder.PrependUint32Slot(0, old.Version(), 0)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


def _describe(head: str, scaling: tuple[float, float], channels: int, *, labelled: bool) -> bytes:
    """Returns the FlatBuffer ModelMetadata."""
    builder = flatbuffers.Builder(1024)
    kind = {1: "gray image", 3: "RGB image"}.get(channels, f"image of {channels} channels")
    image = {
        0: builder.CreateString("image"),
        1: builder.CreateString(f"{kind}, pixels 0..255 before normalization"),
        3: _image_content(builder, channels),
        4: _vector(builder, _normalization(builder, scaling)),
    }
    meaning = "class id of each pixel" if head == "argmax" else f"{head} of each pixel and class"
    output = {0: builder.CreateString("segmentation"), 1: builder.CreateString(meaning)}
    if labelled:
        axis = _AXIS_LABELS if head in _ACTIVATIONS else _VALUE_LABELS
        labels = _table(builder, {2: axis}, {0: builder.CreateString(_LABELS)})
        output[6] = _vector(builder, labels)
    graph = {
        2: _vector(builder, _table(builder, offsets=image)),
        3: _vector(builder, _table(builder, offsets=output)),
    }
    if head in _ACTIVATIONS:
        graph[9] = _vector(builder, _activation(builder, _ACTIVATIONS[head]))
    model = {
        0: builder.CreateString("kseg"),
        3: _vector(builder, _table(builder, offsets=graph)),
        7: builder.CreateString("1.5.0"),
    }
    builder.Finish(_table(builder, offsets=model), b"M001")
    return bytes(builder.Output())


def _image_content(builder: Any, channels: int) -> int:
    properties = _table(builder, {0: _COLOR_SPACES.get(channels, 0)})
    return _table(builder, {0: _IMAGE_PROPERTIES}, {1: properties})


def _normalization(builder: Any, scaling: tuple[float, float]) -> int:
    """Returns a ProcessUnit: (pixel - mean) / std is what the file's input stands for."""
    factor, offset = scaling
    vectors = {}
    for slot, value in ((0, (0 - offset) / factor), (1, 1 / factor)):
        builder.StartVector(4, 1, 4)
        builder.PrependFloat32(value)
        vectors[slot] = builder.EndVector()
    return _table(builder, {0: _NORMALIZATION}, {1: _table(builder, offsets=vectors)})


def _activation(builder: Any, activation: int) -> int:
    """Returns a CustomMetadata, a FlatBuffer in the FlatBuffer: ImageSegmenterOptions."""
    inner = flatbuffers.Builder(64)
    options = _table(inner, {0: activation}, {1: inner.CreateString("1.0.0")})
    inner.Finish(options, b"V001")
    data = _aligned(builder, bytes(inner.Output()))
    return _table(builder, offsets={0: builder.CreateString("SEGMENTER_METADATA"), 1: data})


def _aligned(builder: Any, data: bytes) -> int:
    builder.Prep(_ALIGNMENT, len(data))
    return builder.CreateByteVector(data)


def _table(
    builder: Any, enums: dict[int, int] | None = None, offsets: dict[int, int] | None = None
) -> int:
    builder.StartObject(10)  # no table here has more fields; empty ones at the end take no space
    for slot, value in (enums or {}).items():
        builder.PrependUint8Slot(slot, value, 0)
    for slot, offset in (offsets or {}).items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _vector(builder: Any, *tables: int) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()
