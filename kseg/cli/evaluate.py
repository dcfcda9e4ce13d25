"""`kseg evaluate`: scores a model on labelled images."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

import kseg
from kseg.cli.options import (
    DataFile,
    FileOptions,
    Json,
    ModelName,
    OwnNetwork,
    Size,
    one_of,
    record,
)
from kseg.cli.output import print_json, print_table

if TYPE_CHECKING:
    from kseg.metrics import Scores

_IMAGES = Group("Images", sort_key=3)
_GEOMETRY = Group("geometry", show=False, validator=one_of)


@record
class EvaluateOptions:
    """What `kseg evaluate` takes.

    Attributes:
        split: Which images of the data set.
        size: The working size. Default: the model's own.
        pad_to: Pad the images at the bottom and right to this size first.
        crop_to: Cut the images at the bottom and right to this size first.
        model: The network of a run that was trained from one of your own.
        json: Print one JSON object and nothing else.
    """

    split: Annotated[Literal["train", "val", "test"], Parameter(group=_IMAGES)] = "val"
    size: Annotated[Size, Parameter(group=_IMAGES)] = None
    pad_to: Annotated[Size, Parameter(group=(_IMAGES, _GEOMETRY))] = None
    crop_to: Annotated[Size, Parameter(group=(_IMAGES, _GEOMETRY))] = None
    model: OwnNetwork = None
    json: Json = False


def evaluate(
    model: ModelName,
    data: DataFile,
    /,
    *,
    options: EvaluateOptions = EvaluateOptions(),
    file: FileOptions = FileOptions(),
) -> None:
    """Scores a model on labelled images."""
    from kseg.cli.loading import find_model
    from kseg.cli.opening import warn_if_names_differ, warn_if_val_was_seen

    images = kseg.load_data(data)
    found, classes, size = find_model(model, network=options.model, **file.given())
    warn_if_names_differ(model, classes, images)
    if options.split == "val":
        warn_if_val_was_seen(model, images)
    scores = kseg.evaluate(
        found,
        images,
        split=options.split,
        size=options.size or size,
        pad_to=options.pad_to,
        crop_to=options.crop_to,
        progress=True,
    )
    if options.json:
        print_json(scores.to_json())
    else:
        print_scores(scores)


def print_scores(scores: "Scores") -> None:
    """Prints a table of scores."""
    rows = [
        [name, "n/a" if iou is None else f"{iou:.4f}"] for name, iou in scores.iou_per_class.items()
    ]
    rows += [["mean IoU", f"{scores.mean_iou:.4f}"]]
    rows += [["pixel accuracy", f"{scores.pixel_accuracy:.4f}"]]
    print_table(rows, ["class", f"IoU ({scores.images} images)"], disable_numparse=True)
