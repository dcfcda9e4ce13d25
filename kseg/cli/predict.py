"""`kseg predict`: labels images and the frames of videos."""

import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
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
    one_of,
    record,
)
from kseg.cli.outcome import Outcome, line_of, report, sentence_of
from kseg.cli.output import say, say_aside

if TYPE_CHECKING:
    import numpy as np

    from kseg.sources import Source

_IMAGES = Group("Images", sort_key=3)
_SEEN = Group("seen", show=False, validator=one_of)
_PRESENT = Group("present", show=False, validator=one_of)
_LINES_AT_MOST = 10  # on a terminal; more images get a bar
_MOST_PIXELS = 1 << 22  # of an image that a network without a working size sees
_FAR = 16  # times fewer pixels: worth a remark

Kind = Literal["labels", "palette", "overlay", "geojson", "coco", "csv"]


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
        out: The folder to write to.
        save: What to write: palette (a PNG of ids in colours), overlay (with a legend), labels
            (a gray PNG of ids), geojson and coco (polygons), csv (shares).
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
    out: Annotated[Path, Parameter(metavar="FOLDER", group=OUTPUT)] = Path("predictions")
    save: Annotated[
        tuple[Kind, ...],
        Parameter(metavar="KIND...", group=OUTPUT, consume_multiple=True, show_default=" ".join),
    ] = ("palette", "overlay")
    overwrite: Annotated[Flag, Parameter(group=(OUTPUT, _PRESENT))] = False
    resume: Annotated[Flag, Parameter(group=(OUTPUT, _PRESENT))] = False
    shard: Annotated[str | None, Parameter(metavar="I/N", group=OUTPUT)] = None
    delegate: Delegate = None
    model: OwnNetwork = None
    json: Json = False


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
    planned = _planned(sources, options, outcome)
    if planned:
        from kseg.cli.loading import find_model

        found, classes, size = find_model(
            model, network=options.model, delegate=options.delegate, **file.given()
        )
        bar = len(planned) > _LINES_AT_MOST and sys.stderr.isatty() and sys.stdout.isatty()
        _label_all(planned, (found, classes, size), options, outcome, bar)
    report(outcome, options.out, options.json)


def _planned(words: Sequence[str], options: PredictOptions, outcome: Outcome) -> "list[Source]":
    """Finds what is to be done, and what is wrong before a model is loaded."""
    from kseg.cli.writing import present, targets
    from kseg.sources import find_sources
    from kseg.videos import check_opencv

    if options.every < 1:
        raise ValueError(f"--every must be at least 1; got {options.every}.")
    part, parts = _shard(options.shard)
    found = find_sources(words, recursive=options.recursive, leave_out=options.out)
    outcome.problems += found.problems
    planned: list[Source] = []
    there: list[Path] = []
    for source in found.sources[part - 1 :: parts]:
        outputs = present(options.out, source, options.save)
        if source.is_video:
            try:
                check_opencv(source.name)
            except ImportError as error:
                outcome.problems.append(str(error))
                continue
        elif len(outputs) == len(targets(options.out, source.output, options.save)):
            if _skips(options):
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

    from kseg.cli.writing import content_of, targets, write_whole
    from kseg.data.label_files import count

    wanted = targets(options.out, output, options.save)
    if _skips(options):
        wanted = {kind: path for kind, path in wanted.items() if not os.path.lexists(path)}
        if not wanted:
            outcome.skipped += 1
            return None
    found, classes, size = model
    seen = None if options.native else _size_seen(source.name, image, found, size, options, outcome)
    labels = kseg.predict(
        found, image, size=seen, native=options.native, flip=options.flip, scales=options.scales
    )
    for kind, path in wanted.items():
        content = content_of(kind, image, labels, classes, Path(source.name).name)
        write_whole(options.out, path, content, replace=options.overwrite)
    shares = count(labels)[: classes.num_classes] / labels.size
    done = {
        "image": source.name,
        "outputs": {kind: str(path) for kind, path in wanted.items()},
        "shares": {
            name: round(float(share), 6) for name, share in zip(classes.names, shares, strict=False)
        },
    }
    outcome.labelled += 1
    if options.json:
        outcome.images.append(done)
    return done


def _size_seen(
    name: str,
    image: "np.ndarray",
    model: Any,
    size: tuple[int, int] | None,
    options: PredictOptions,
    outcome: Outcome,
) -> tuple[int, int] | None:
    """Returns the size that an image is fitted into, and says where that is far from its own."""
    from kseg.data.transforms import fit_inside
    from kseg.inference import input_size, working_size

    own = image.shape[0], image.shape[1]
    limit = input_size(model)
    size = options.size or size or working_size(model)
    if size is None and limit is None and own[0] * own[1] > _MOST_PIXELS:
        shrink = (_MOST_PIXELS / (own[0] * own[1])) ** 0.5
        size = int(own[0] * shrink), int(own[1] * shrink)
    seen = fit_inside(own, size or limit)
    if own[0] * own[1] > _FAR * seen[0] * seen[1] and not outcome.remarked:
        outcome.remarked = True
        say_aside(
            f"{name} has {own[0]} x {own[1]} pixels and is seen at {seen[0]} x {seen[1]}, as are "
            "others of such a size; --size H W takes another, and --native labels an image at its "
            "own size in tiles."
        )
    return size


def _skips(options: PredictOptions) -> bool:
    return options.resume or (options.shard is not None and not options.overwrite)


def _shard(text: str | None) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text or "1/1")
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 2/8; got {text}.")
    return int(match[1]), int(match[2])
