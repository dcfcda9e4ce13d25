"""The outputs of a file that are read, by the names of their maps, and what their values are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export.errors import ModelFileError
from export.tflite.axes import check_order, grid
from export.tflite.beside import told_outputs
from export.tflite.maps import CHANNELS, LOGITS, NAMES
from export.tflite.metadata import read_metadata
from export.tflite.outputs import choose_output, read_meaning
from export.tflite.process import MOST_BYTES, Endpoint
from export.tflite.reader import ModelFile
from export.tflite.scores import Meaning


def choose_outputs(graph: ModelFile, wanted: str | int | None, path: Path) -> dict[str, int]:
    """Returns the numbers of the outputs that are read, by the names of their maps.

    Args:
        graph: What `read_model` returns.
        wanted: Name or number of an output; None for the only one, or for the three of a file
            that tells objects apart.
        path: The file; where it does not name its outputs, the report beside it may.

    Raises:
        ModelFileError: If there are several others, and none is named.
        ValueError: If there is no such output.
    """
    if wanted is None and len(graph.outputs) > 1:
        places = {name: number for number, name in enumerate(graph.output_names)}
        if not set(NAMES) <= set(places):
            places = told_outputs(path, graph)
        if set(NAMES) <= set(places):
            return {name: places[name] for name in NAMES}
    return {LOGITS: choose_output(graph, wanted, path)}


def grid_of(
    shape: Sequence[int], image: tuple[int, int], dtype: str, path: object
) -> tuple[int, int, int]:
    """Returns height, width and channels of an output; see `export.tflite.axes.grid`.

    Args:
        shape: The output's shape.
        image: (height, width) of the input.
        dtype: The output's, for messages, like what follows.
        path: The file.

    Raises:
        ModelFileError: If it is no map of the image.
    """
    try:
        return grid(shape, image)
    except ValueError as error:
        raise _no_map(shape, dtype, path, error) from None


def check_size(tensor: Endpoint, path: object) -> None:
    """Refuses an output that is too large to be moved between processes.

    Raises:
        ModelFileError: If it is.
    """
    if tensor.nbytes > MOST_BYTES:
        raise ModelFileError(
            f"{path} gives an output of shape {tensor.shape}, more than kseg's limit of "
            f"{MOST_BYTES >> 30} GiB."
        )


@dataclass(frozen=True)
class Output:
    """An output that is read.

    Attributes:
        name: What its map is called, `LOGITS` or one of `NAMES`.
        number: Its place in the file.
        tensor: It, as the runtime allocated it.
        shape: What it is for an image; a tensor of open size does not say it.
    """

    name: str
    number: int
    tensor: Endpoint
    shape: tuple[int, ...]


def read_output(
    output: Output,
    graph: ModelFile,
    image: tuple[int, int],
    activation: int | None,
    num_classes: int | None,
    path: Path,
) -> Meaning:
    """Returns what the values of an output are.

    Args:
        output: The output.
        graph: What `read_model` returns.
        image: (height, width) of the input.
        activation: What the metadata says is left to do; None if they say nothing.
        num_classes: How many classes there are, for a class map that does not say it.
        path: The file.

    Raises:
        ModelFileError: If it is no map of its name, or has too many classes.
    """
    channels = grid_of(output.shape, image, output.tensor.dtype, path)[2]
    try:
        check_order(graph, output.number, output.shape, image)
    except ValueError as error:
        raise _no_map(output.shape, output.tensor.dtype, path, error) from None
    if (wanted := CHANNELS.get(output.name)) is not None:
        if channels != wanted:
            raise ModelFileError(
                f"{path} has an output {output.name} of shape {output.shape}; beside one that is "
                f"called semantic it must be (1, h, w, {wanted}). If one output labels the image "
                "alone, name it (--output NAME or number)."
            )
        return Meaning("scores", channels)
    try:
        meaning = read_meaning(graph, output.number, output.tensor, channels, activation)
    except ValueError as error:
        raise _no_map(output.shape, output.tensor.dtype, path, error) from None
    if meaning.num_classes is not None:
        return meaning
    told = read_metadata(path)
    return replace(meaning, num_classes=told[0].num_classes if told else num_classes)


def _no_map(shape: Sequence[int], dtype: str, path: object, error: ValueError) -> ModelFileError:
    return ModelFileError(
        f"{path} gives {dtype} of shape {tuple(shape)}: {error}. A segmentation model gives scores "
        "(1, H, W, classes) or a map of ids (1, H, W)."
    )
