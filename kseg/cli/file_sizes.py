"""The size of the images that a `.tflite` file is made for, where nobody names it."""

import warnings
from typing import TYPE_CHECKING

import kseg

if TYPE_CHECKING:
    import keras


def file_size(
    model: "keras.Model", data: "kseg.Data | None", size: tuple[int, int] | None
) -> tuple[int, int]:
    """Returns the (height, width) of a file's input, at which smaller images are mirrored out.

    It is the working size, the size that the network was built for or that of the first image; or
    the next of which the network makes a whole grid, which is warned of.

    Args:
        model: The network.
        data: The images, if any.
        size: The working size, if there is one.

    Raises:
        ValueError: If nothing tells the size.
    """
    from kseg.analysis.graph import trace
    from kseg.grids import sizes_around, whole_stride

    own = size or _size_of(model, data)
    for seen in sizes_around(own):
        try:
            graph = trace(model, seen)
        except ValueError:
            continue
        if all(whole_stride(seen, (h, w)) for _, h, w, _ in graph.shapes_of(graph.outputs)):
            if seen != own:
                warnings.warn(
                    f"the file takes images of {seen[0]} x {seen[1]}: of {own[0]} x {own[1]} the "
                    "network makes no whole grid, so smaller images are mirrored out.",
                    stacklevel=3,
                )
            return seen
    return own  # `export.convert` says what is wrong with it


def _size_of(model: "keras.Model", data: "kseg.Data | None") -> tuple[int, int]:
    fixed = model.input_shape[1:3] if isinstance(model.input_shape, tuple) else (None, None)
    if None not in fixed:
        return fixed[0], fixed[1]
    if data is None:
        raise ValueError("The run has no working size; name the file's input with --size H W.")
    height, width = data.read(data.files("val")[0])[1].shape
    return height, width
