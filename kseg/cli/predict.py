"""`kseg predict`: labels images and the frames of videos."""

import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

import kseg
from kseg.cli.options import (
    OUTPUT,
    Delegate,
    FileOptions,
    Flag,
    Json,
    ModelName,
    OwnNetwork,
    Size,
    check_threshold,
    one_of,
    record,
)
from kseg.cli.outcome import Outcome, count_objects, line_of, report, sentence_of, size_seen
from kseg.cli.output import say

if TYPE_CHECKING:
    import numpy as np

    from kseg.sources import Source

_IMAGES = Group("Images", sort_key=3)
_SEEN = Group("seen", show=False, validator=one_of)
_PRESENT = Group("present", show=False, validator=one_of)
_LINES_AT_MOST = 10  # on a terminal; more images get a bar

Kind = Literal["labels", "palette", "overlay", "instances", "geojson", "coco", "csv"]
_CLASSES: tuple[Kind, ...] = ("palette", "overlay")
_OBJECTS: tuple[Kind, ...] = ("instances", "overlay")


@record
class PredictOptions:
    """What `kseg predict` takes.

    Attributes:
        recursive: Search the folders within a folder too.
        every: Of a video, label each which frame.
        size: The working size. Default: the model's own.
        native: Label images at their own size in overlapping tiles.
        flip: Take the mean with the mirror image.
        scales: Take the mean of these enlargements of the working size, such as 0.75 1 1.25.
        threshold: Height above which a peak of the heatmap is an object, where objects are told
            apart. Default: 0.1. A higher one finds fewer, surer ones.
        out: The folder to write to.
        save: What to write: palette (a PNG of class ids in colours), overlay (with a legend, or
            with outlines and numbers of objects), labels (a gray PNG of class ids), instances (a
            16-bit PNG of object ids), geojson and coco (polygons), csv (shares, or objects).
            Default: palette overlay; instances overlay where objects are told apart.
        polygons: Write geojson and coco too.
        overwrite: Replace what is there.
        resume: Skip images whose outputs are there.
        shard: Label the I-th of N parts of the images; skips like --resume.
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
    out: Annotated[Path, Parameter(metavar="FOLDER", group=OUTPUT)] = Path("predictions")
    save: Annotated[
        tuple[Kind, ...],
        Parameter(metavar="KIND...", group=OUTPUT, consume_multiple=True, show_default=False),
    ] = ()
    polygons: Annotated[Flag, Parameter(group=OUTPUT)] = False
    overwrite: Annotated[Flag, Parameter(group=(OUTPUT, _PRESENT))] = False
    resume: Annotated[Flag, Parameter(group=(OUTPUT, _PRESENT))] = False
    shard: Annotated[str | None, Parameter(metavar="I/N", group=OUTPUT)] = None
    delegate: Delegate = None
    model: OwnNetwork = None
    json: Json = False

    def saving(self, usual: "tuple[Kind, ...]" = _CLASSES) -> "PredictOptions":
        """Returns the options with all that is to be written in `save`."""
        kinds = self.save or usual
        kinds += tuple(k for k in ("geojson", "coco") if self.polygons and k not in kinds)
        return replace(self, save=kinds)


def predict(
    model: ModelName,
    sources: Annotated[
        list[str],
        Parameter(
            help="Images, videos, folders, quoted globs, lists (.txt), https addresses, camera:0."
        ),
    ],
    /,
    *,
    options: PredictOptions = PredictOptions(),
    file: FileOptions = FileOptions(),
) -> None:
    """Labels images: a label file and an overlay for each, or what --save says."""
    outcome = Outcome()
    sources_found = _found(sources, options, outcome)
    planned = _planned(sources_found, options.saving(), outcome)
    if planned:
        from kseg.cli.loading import find_model
        from kseg.instances import tells_objects_apart

        found, classes, size = find_model(
            model, network=options.model, delegate=options.delegate, **file.given()
        )
        objects = tells_objects_apart(found)
        _check_takes(model, options, objects)
        if objects and not options.save:
            outcome.skipped = 0
            planned = _planned(sources_found, options.saving(_OBJECTS), outcome)
        options = options.saving(_OBJECTS if objects else _CLASSES)
        bar = len(planned) > _LINES_AT_MOST and sys.stderr.isatty() and sys.stdout.isatty()
        _label_all(planned, (found, classes, size), options, outcome, bar)
    report(outcome, options.out, options.json)


def _check_takes(model: str, options: PredictOptions, objects: bool) -> None:
    """Refuses what is for the other kind of network."""
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


def _found(words: Sequence[str], options: PredictOptions, outcome: Outcome) -> "list[Source]":
    """Finds the images, and notes what is wrong with them."""
    from kseg.sources import find_sources
    from kseg.videos import check_opencv

    if options.every < 1:
        raise ValueError(f"--every must be at least 1; got {options.every}.")
    part, parts = _shard(options.shard)
    found = find_sources(words, recursive=options.recursive, leave_out=options.out)
    outcome.problems += found.problems
    kept: list[Source] = []
    for source in found.sources[part - 1 :: parts]:
        try:
            if source.is_video:
                check_opencv(source.name)
            kept.append(source)
        except ImportError as error:
            outcome.problems.append(str(error))
    return kept


def _planned(
    sources: "Sequence[Source]", options: PredictOptions, outcome: Outcome
) -> "list[Source]":
    """Returns what is to be done, and counts what is done already."""
    from kseg.cli.writing import present, targets

    planned: list[Source] = []
    there: list[Path] = []
    for source in sources:
        outputs = present(options.out, source, options.save)
        whole = len(outputs) == len(targets(options.out, source.output, options.save))
        if whole and not source.is_video and _skips(options):
            outcome.skipped += 1
            continue
        there += outputs
        planned.append(source)
    if there and not options.overwrite and not _skips(options):
        count = f"{len(there)} outputs are there already, such as" if there[1:] else "there is"
        raise ValueError(
            f"{count} {there[0]}{'' if there[1:] else ' already'}; --overwrite replaces what is "
            "there, --resume labels only what is missing, and --out takes another folder."
        )
    return planned


def _label_all(
    planned: "Sequence[Source]",
    model: tuple[Any, "kseg.Classes", tuple[int, int] | None],
    options: PredictOptions,
    outcome: Outcome,
    bar: bool,
) -> None:
    from kseg.inference import channels_of
    from kseg.progress import progress

    channels = channels_of(model[0])
    shown = progress(total=len(planned), unit="image", label="labelling") if bar else nullcontext()
    with shown as steps:
        for source in planned:
            try:
                for output, image in source.frames(channels, options.every):
                    done = _label(source, output, image, model, options, outcome)
                    if done and not bar and not options.json:
                        say(line_of(done))
            except (ValueError, OSError) as error:
                if hasattr(error, "exit_code"):  # of the model or the disk, not of this image
                    raise
                outcome.problems.append(sentence_of(source.name, error))
            if steps is not None:
                steps.update()


def _label(
    source: "Source",
    output: Path,
    image: "np.ndarray",
    model: tuple[Any, "kseg.Classes", tuple[int, int] | None],
    options: PredictOptions,
    outcome: Outcome,
) -> dict[str, Any] | None:
    """Labels an image and writes its outputs; returns what was done, None where all was there."""
    import os

    import numpy as np

    from kseg.cli.writing import content_of, targets, write_whole
    from kseg.instances import HEIGHT, tells_objects_apart

    wanted = targets(options.out, output, options.save)
    if _skips(options):
        wanted = {kind: path for kind, path in wanted.items() if not os.path.lexists(path)}
        if not wanted:
            outcome.skipped += 1
            return None
    found, classes, size = model
    seen = None
    if not options.native:
        seen = size_seen(source.name, image, found, options.size or size, outcome)
    result: np.ndarray | kseg.Instances
    if tells_objects_apart(found):
        height = HEIGHT if options.threshold is None else options.threshold
        result = kseg.predict_instances(
            found, image, size=seen, flip=options.flip, threshold=height
        )
        labels = result.label_map
    else:
        result = labels = kseg.predict(
            found, image, size=seen, native=options.native, flip=options.flip, scales=options.scales
        )
    for kind, path in wanted.items():
        content = content_of(kind, image, result, classes, Path(source.name).name)
        write_whole(options.out, path, content, replace=options.overwrite)
    shares = np.bincount(labels.ravel(), minlength=classes.num_classes) / labels.size
    done = {
        "image": source.name,
        "outputs": {kind: str(path) for kind, path in wanted.items()},
        "shares": {
            name: round(float(share), 6) for name, share in zip(classes.names, shares, strict=False)
        },
    }
    if not isinstance(result, np.ndarray):
        done["objects"] = count_objects(result, classes)
    outcome.labelled += 1
    if options.json:
        outcome.images.append(done)
    return done


def _skips(options: PredictOptions) -> bool:
    return options.resume or (options.shard is not None and not options.overwrite)


def _shard(text: str | None) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text or "1/1")
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 2/8; got {text}.")
    return int(match[1]), int(match[2])
