"""`kseg predict`: labels images."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

import kseg
from kseg.cli.options import OUTPUT, Delegate, FileOptions, ModelName, OwnNetwork, Size, record
from kseg.cli.output import say

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_IMAGES = Group("Images", sort_key=3)


@record
class PredictOptions:
    """What `kseg predict` takes.

    Attributes:
        out: The folder to write to. Default: this folder.
        size: The working size. Default: the model's own.
        delegate: A library that runs a .tflite file, such as libedgetpu.so.1.
        model: The network of a run that was trained from one of your own.
    """

    out: Annotated[Path, Parameter(metavar="FOLDER", group=OUTPUT, show_default=False)] = Path()
    size: Annotated[Size, Parameter(group=_IMAGES)] = None
    delegate: Delegate = None
    model: OwnNetwork = None


def predict(
    model: ModelName,
    images: Annotated[list[Path], Parameter(help="Image files.")],
    /,
    *,
    options: PredictOptions = PredictOptions(),
    file: FileOptions = FileOptions(),
) -> None:
    """Writes a label file and an overlay for each image."""
    import numpy as np
    from PIL import Image

    from kseg.cli.loading import find_model
    from kseg.data.files import read_image

    _check_images(images)
    found, classes, size = find_model(
        model, network=options.model, delegate=options.delegate, **file.given()
    )
    options.out.mkdir(parents=True, exist_ok=True)
    for path in images:
        image = np.asarray(read_image(path))
        labels = kseg.predict(found, image, size=options.size or size)
        picture = Image.fromarray(labels, mode="P")
        picture.putpalette(classes.palette())
        target, laid_over = (
            options.out / f"{path.stem}.{end}" for end in ("labels.png", "overlay.png")
        )
        _write(target, picture)
        _write(laid_over, Image.fromarray(kseg.overlay(image, labels, classes)))
        say(f"{path}: {_shares(labels, classes)} -> {target}, {laid_over}")


def _check_images(paths: Sequence[Path]) -> None:
    """Finds what is wrong with the images before the model is loaded."""
    from kseg.data.files import read_image

    stems = [path.stem for path in paths]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise ValueError(
            f"Images are written under their names without ending, and {min(twice)!r} comes "
            "twice; predict them one after the other into different folders."
        )
    for path in paths:
        read_image(path)


def _write(path: Path, picture: "Image.Image") -> None:
    """Writes a PNG file whole or not at all; a link of that name is replaced, not followed."""
    from kseg.training.writing import write_atomically

    content = io.BytesIO()
    picture.save(content, "PNG")
    write_atomically(path, content.getvalue())


def _shares(labels: "np.ndarray", classes: "kseg.Classes") -> str:
    import numpy as np

    shares = np.bincount(labels.ravel(), minlength=classes.num_classes) / labels.size
    top = np.argsort(-shares)[:3]
    return ", ".join(f"{classes.names[i]} {100 * shares[i]:.0f} %" for i in top if shares[i])
