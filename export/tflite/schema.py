"""The FlatBuffer of a file's TFLite Metadata, and what it is built of.

Source: mediapipe/tasks/metadata/metadata_schema.fbs (1.5.0) and
image_segmenter_metadata_schema.fbs (1.0.0) for field numbers.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers

from export.tflite.maps import SEMANTIC

LABELS = "labels.txt"  # the name of the file in the archive
ALIGNMENT = 16  # of a model's buffers
_COLOR_SPACES = {1: 2, 3: 1}  # channels to ColorSpaceType: grayscale, RGB; else unknown
_AXIS_LABELS, _VALUE_LABELS = 2, 3  # AssociatedFileType
_IMAGE_PROPERTIES, _NORMALIZATION = 2, 1  # members of the unions
ACTIVATIONS = {"logits": 2, "softmax": 0}  # what is left to do: softmax, nothing
_MEANINGS = {
    "center": "heatmap of the centres of objects",
    "offset": "(down, right) from each pixel to the centre of its object, in pixels of the image",
}


def describe(
    head: str,
    scaling: tuple[float, float],
    channels: int,
    *,
    labelled: bool,
    outputs: Sequence[str] = (),
) -> bytes:
    """Returns the FlatBuffer ModelMetadata.

    Args:
        head: "logits", "softmax" or "argmax".
        scaling: (factor, offset) of a pixel, as for `export.tflite.metadata.add_metadata`.
        channels: How many the image has.
        labelled: Whether the archive has the names of the classes.
        outputs: The names of the file's outputs, in its order, where there are several.
    """
    builder = flatbuffers.Builder(1024)
    kind = {1: "gray image", 3: "RGB image"}.get(channels, f"image of {channels} channels")
    image = {
        0: builder.CreateString("image"),
        1: builder.CreateString(f"{kind}, pixels 0..255 before normalization"),
        3: _image_content(builder, channels),
        4: vector(builder, _normalization(builder, scaling)),
    }
    labelling = _labelling(builder, head, labelled=labelled, name=SEMANTIC if outputs else "")
    made = [
        labelling
        if name == SEMANTIC
        else {0: builder.CreateString(name), 1: builder.CreateString(_MEANINGS.get(name, ""))}
        for name in outputs or (SEMANTIC,)
    ]
    graph = {
        2: vector(builder, table(builder, offsets=image)),
        3: vector(builder, *(table(builder, offsets=output) for output in made)),
    }
    if head in ACTIVATIONS:
        graph[9] = vector(builder, _activation(builder, ACTIVATIONS[head]))
    model = {
        0: builder.CreateString("kseg"),
        3: vector(builder, table(builder, offsets=graph)),
        7: builder.CreateString("1.5.0"),
    }
    builder.Finish(table(builder, offsets=model), b"M001")
    return bytes(builder.Output())


def _labelling(builder: Any, head: str, *, labelled: bool, name: str) -> dict[int, int]:
    """Returns the fields of the output that labels the image."""
    meaning = "class id of each pixel" if head == "argmax" else f"{head} of each pixel and class"
    output = {0: builder.CreateString(name or "segmentation"), 1: builder.CreateString(meaning)}
    if labelled:
        axis = _AXIS_LABELS if head in ACTIVATIONS else _VALUE_LABELS
        labels = table(builder, {2: axis}, {0: builder.CreateString(LABELS)})
        output[6] = vector(builder, labels)
    return output


def _image_content(builder: Any, channels: int) -> int:
    properties = table(builder, {0: _COLOR_SPACES.get(channels, 0)})
    return table(builder, {0: _IMAGE_PROPERTIES}, {1: properties})


def _normalization(builder: Any, scaling: tuple[float, float]) -> int:
    """Returns a ProcessUnit: (pixel - mean) / std is what the file's input stands for."""
    factor, offset = scaling
    vectors = {}
    for slot, value in ((0, (0 - offset) / factor), (1, 1 / factor)):
        builder.StartVector(4, 1, 4)
        builder.PrependFloat32(value)
        vectors[slot] = builder.EndVector()
    return table(builder, {0: _NORMALIZATION}, {1: table(builder, offsets=vectors)})


def _activation(builder: Any, activation: int) -> int:
    """Returns a CustomMetadata, a FlatBuffer in the FlatBuffer: ImageSegmenterOptions."""
    inner = flatbuffers.Builder(64)
    options = table(inner, {0: activation}, {1: inner.CreateString("1.0.0")})
    inner.Finish(options, b"V001")
    data = aligned(builder, bytes(inner.Output()))
    return table(builder, offsets={0: builder.CreateString("SEGMENTER_METADATA"), 1: data})


def aligned(builder: Any, data: bytes) -> int:
    """Writes a vector of bytes where buffers of models may begin."""
    builder.Prep(ALIGNMENT, len(data))
    return builder.CreateByteVector(data)


def table(
    builder: Any, enums: dict[int, int] | None = None, offsets: dict[int, int] | None = None
) -> int:
    """Writes a table: field to one byte, field to what it points at."""
    builder.StartObject(10)  # no table here has more fields; empty ones at the end take no space
    for slot, value in (enums or {}).items():
        builder.PrependUint8Slot(slot, value, 0)
    for slot, offset in (offsets or {}).items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def vector(builder: Any, *tables: int) -> int:
    """Writes a vector of tables."""
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()
