"""What `kseg predict` takes."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

from kseg.cli.options import (
    OUTPUT,
    Delegate,
    Flag,
    Json,
    OwnNetwork,
    Size,
    check_threshold,
    one_of,
    record,
)

_IMAGES = Group("Images", sort_key=3)
_JOBS = Group("Many machines", sort_key=9)
_SEEN = Group("seen", show=False, validator=one_of)
_PRESENT = Group("present", show=False, validator=one_of)

Kind = Literal["labels", "palette", "overlay", "instances", "geojson", "coco", "csv", "parquet"]
CLASSES: tuple[Kind, ...] = ("palette", "overlay")
OBJECTS: tuple[Kind, ...] = ("instances", "overlay")


def _place(_: Any, tokens: Sequence[Token]) -> Any:
    """Returns a folder, or an address as it is: as a path s3://x would lose a slash."""
    word = tokens[0].value
    if word.lower().startswith(("http://", "https://")):
        raise ValueError(
            f"{word}: nothing can be written there; take a folder or an s3:// address."
        )
    return word if "://" in word else Path(word)


@record
class PredictOptions:
    """What `kseg predict` takes.

    Attributes:
        recursive: Search the folders within a folder too.
        every: Of a video, label every N-th frame.
        size: The working size. Default: the model's own.
        native: Label images at their own size in overlapping tiles.
        flip: Take the mean with the mirror image.
        scales: Take the mean of these enlargements of the working size, such as 0.75 1 1.25.
        threshold: Height above which a peak of the heatmap is an object, where objects are told
            apart. Default: 0.1. A higher one finds fewer, surer ones.
        out: The folder to write to, or an address such as s3://bucket/folder.
        save: What to write: palette (a PNG of class ids in colours), overlay (with a legend, or
            with outlines and numbers of objects), labels (a gray PNG of class ids), instances (a
            16-bit PNG of object ids), geojson and coco (polygons), csv (shares, or objects); or
            parquet alone. Default: palette overlay; instances overlay where objects are told
            apart.
        polygons: Write geojson and coco too.
        overwrite: Replace what is there.
        resume: Skip images whose outputs are there.
        shard: Label the I-th of N parts of the images; skips like --resume.
        engine: What hands the images out to many processes: ray. Skips like --resume.
        address: The Ray cluster. Default: RAY_ADDRESS, or one that is started here.
        workers: How many processes label with --engine. Default: one for each GPU, or core.
        batch_size: Images that a worker takes at a time, and those of a Parquet file.
        delegate: A library that runs a .tflite file, such as libedgetpu.so.1.
        model: The network of a run that was trained from one of your own.
        json: Print one JSON object and nothing else.
    """

    recursive: Annotated[Flag, Parameter(group=_IMAGES)] = False
    every: Annotated[int, Parameter(metavar="N", group=_IMAGES)] = 1
    size: Annotated[Size, Parameter(group=(_IMAGES, _SEEN))] = None
    native: Annotated[Flag, Parameter(group=(_IMAGES, _SEEN))] = False
    flip: Annotated[Flag, Parameter(group=_IMAGES)] = False
    scales: Annotated[
        tuple[float, ...],
        Parameter(metavar="SCALE...", group=_IMAGES, consume_multiple=True, show_default=False),
    ] = (1.0,)
    threshold: Annotated[float | None, Parameter(metavar="0..1", group=_IMAGES)] = None
    out: Annotated[Path, Parameter(metavar="FOLDER", group=OUTPUT, converter=_place)] = Path(
        "predictions"
    )
    save: Annotated[
        tuple[Kind, ...],
        Parameter(metavar="KIND...", group=OUTPUT, consume_multiple=True, show_default=False),
    ] = ()
    polygons: Annotated[Flag, Parameter(group=OUTPUT)] = False
    overwrite: Annotated[Flag, Parameter(group=(OUTPUT, _PRESENT))] = False
    resume: Annotated[Flag, Parameter(group=(OUTPUT, _PRESENT))] = False
    shard: Annotated[str | None, Parameter(metavar="I/N", group=OUTPUT)] = None
    engine: Annotated[Literal["ray"] | None, Parameter(group=_JOBS)] = None
    address: Annotated[str | None, Parameter(group=_JOBS)] = None
    workers: Annotated[int | None, Parameter(metavar="N", group=_JOBS)] = None
    batch_size: Annotated[int, Parameter(metavar="N", group=_JOBS)] = 32
    delegate: Delegate = None
    model: OwnNetwork = None
    json: Json = False

    def saving(self, usual: "tuple[Kind, ...]" = CLASSES) -> "PredictOptions":
        """Returns the options with all that is to be written in `save`."""
        kinds = self.save or usual
        kinds += tuple(k for k in ("geojson", "coco") if self.polygons and k not in kinds)
        return replace(self, save=kinds)

    def skips(self) -> bool:
        """Returns whether images whose outputs are there are passed over."""
        return self.resume or (self.shard is not None and not self.overwrite)

    def part(self) -> tuple[int, int]:
        """Returns which part of the images is meant, of how many.

        Raises:
            ValueError: If --shard is not I/N.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", self.shard or "1/1")
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(
                f"--shard must be I/N with I from 1 to N, such as 2/8; got {self.shard}."
            )
        return int(match[1]), int(match[2])


def check_takes(model: str, options: PredictOptions, objects: bool) -> None:
    """Refuses what is for the other kind of network.

    Args:
        model: What the command calls it.
        options: What is asked for.
        objects: Whether it tells objects apart.
    """
    if not objects and "instances" in options.save:
        raise ValueError(
            f"--save instances is for networks that tell objects apart, such as panoptic_deeplab; "
            f"{model} labels classes alone."
        )
    if not objects and options.threshold is not None:
        raise ValueError(
            f"--threshold is for networks that tell objects apart; {model} labels classes alone."
        )
    check_threshold(options.threshold)
    for option, given in (("native", options.native), ("scales", options.scales != (1.0,))):
        if objects and given:
            raise ValueError(
                f"--{option} is for networks that label classes alone; {model} tells objects "
                "apart, and sees an image once. Leave it out."
            )
