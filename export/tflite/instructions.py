"""What a file's TFLite Metadata tell whoever runs it: the normalization, and what is left to do.

Source: field numbers as in `export.tflite.metadata`.
"""

import struct
from typing import NamedTuple

from export.errors import ModelFileError
from export.tflite.normalization import Normalization
from export.tflite.reader import ModelFile
from export.tflite.table import Table, root_table

SOFTMAX = 2  # an activation that is left to do
_NORMALIZATION = 1  # ProcessUnitOptions
_SEGMENTER = "SEGMENTER_METADATA"


class Instructions(NamedTuple):
    """What the metadata say; None where they say nothing.

    Attributes:
        normalization: What the input wants in place of bytes.
        activation: 0 if the output is what it should be, 1 if a sigmoid is left to do, 2 a softmax.
    """

    normalization: Normalization | None = None
    activation: int | None = None


def read_instructions(graph: ModelFile, channels: int, path: object) -> Instructions:
    """Reads the metadata of a file of one image.

    Args:
        graph: What `read_model` returns.
        channels: How many the image has.
        path: For messages.

    Returns:
        What they say.

    Raises:
        ModelFileError: If they are damaged.
    """
    content = bytes(graph.metadata.get("TFLITE_METADATA", b""))
    if not content:
        return Instructions()
    try:
        subgraphs = root_table(content).tables(3)
        if not subgraphs:
            return Instructions()
        normalization = _normalization(subgraphs[0])
        if normalization is not None:
            normalization.check_channels(channels)
        return Instructions(normalization, _activation(subgraphs[0]))
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path} has damaged metadata: {error}.") from None


def _normalization(subgraph: Table) -> Normalization | None:
    for image in subgraph.tables(2)[:1]:
        for unit in image.tables(4):
            options = unit.table(1)
            if unit.scalar(0, "B", 0) == _NORMALIZATION and options is not None:
                return Normalization(options.vector(0, "f"), options.vector(1, "f"))
    return None


def _activation(subgraph: Table) -> int | None:
    for custom in subgraph.tables(9):
        if custom.text(0) == _SEGMENTER and (content := bytes(custom.raw(1))):
            return root_table(content).scalar(0, "B", 0)
    return None
