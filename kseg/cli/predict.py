"""`kseg predict`: labels images and the frames of videos."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import kseg
from kseg.cli.error_table import ErrorTable
from kseg.cli.options import FileOptions, ModelName
from kseg.cli.outcome import Outcome, count_objects, line_of, report, sentence_of, size_seen
from kseg.cli.output import say
from kseg.cli.predict_options import CLASSES, OBJECTS, PredictOptions, check_takes

if TYPE_CHECKING:
    import numpy as np

    from kseg.sources import Source

_LINES_AT_MOST = 10  # on a terminal; more images get a bar


def predict(
    model: ModelName,
    sources: Annotated[
        list[str],
        Parameter(
            help="Images, videos, folders, quoted globs, lists (.txt), https addresses, camera:0, "
            "Parquet files with images, places of object stores (s3://...)."
        ),
    ],
    /,
    *,
    options: PredictOptions = PredictOptions(),
    file: FileOptions = FileOptions(),
) -> None:
    """Labels images: a label file and an overlay for each, or what --save says."""
    from kseg.cli.engine import is_job, label_as_job

    if is_job(sources, options):
        opening = {"network": options.model, "delegate": options.delegate, **file.given()}
        label_as_job(model, sources, options.saving(), opening, options.part())
        return
    outcome = Outcome()
    sources_found = _found(sources, options, outcome)
    planned = _planned(sources_found, options.saving(), outcome)
    # What a network that tells objects apart would have written, only the network says.
    if planned or (sources_found and not options.save):
        from kseg.cli.loading import find_model
        from kseg.data.upright import warn_of_mirrors
        from kseg.instances import tells_objects_apart

        found, classes, size = find_model(
            model, network=options.model, delegate=options.delegate, **file.given()
        )
        objects = tells_objects_apart(found)
        check_takes(model, options, objects)
        if options.flip:
            warn_of_mirrors(classes.names, "--flip")
        if objects and not options.save:
            outcome.skipped = 0
            planned = _planned(sources_found, options.saving(OBJECTS), outcome)
        options = options.saving(OBJECTS if objects else CLASSES)
        bar = len(planned) > _LINES_AT_MOST and sys.stderr.isatty() and sys.stdout.isatty()
        _label_all(planned, (found, classes, size), options, outcome, bar)
    report(outcome, options.out, options.json)


def _found(words: Sequence[str], options: PredictOptions, outcome: Outcome) -> "list[Source]":
    """Finds the images, and notes what is wrong with them."""
    from kseg.sources import find_sources
    from kseg.videos import check_opencv

    if options.every < 1:
        raise ValueError(f"--every must be at least 1; got {options.every}.")
    part, parts = options.part()
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
    import os

    from kseg.cli.writing import present, targets

    planned: list[Source] = []
    there: list[Path] = []
    given = {os.path.realpath(source.name): source.name for source in sources}
    for source in sources:
        outputs = present(options.out, source, options.save)
        for output in outputs:
            if own := given.get(os.path.realpath(output)):
                raise ValueError(
                    f"The labels of {source.name} would be written over {own}, which is to be "
                    "labelled too; --out takes another folder."
                )
        whole = len(outputs) == len(targets(options.out, source.output, options.save))
        if whole and not source.is_video and options.skips():
            outcome.skipped += 1
            continue
        there += outputs
        planned.append(source)
    if there and not options.overwrite and not options.skips():
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
    from kseg.progress import progress
    from kseg.seeing import format_of

    channels, bits = format_of(model[0])
    shown = progress(total=len(planned), unit="image", label="labelling") if bar else nullcontext()
    table = ErrorTable(options.out, options.shard) if options.skips() else None
    with shown as steps:
        for source in planned:
            try:
                for output, image in source.frames(channels, options.every, bits):
                    done = _label(source, output, image, model, options, outcome)
                    if done and not bar and not options.json:
                        say(line_of(done))
            except (ValueError, OSError) as error:
                # Of the model, the disk or whoever reads the output, not of this image.
                if hasattr(error, "exit_code") or isinstance(error, BrokenPipeError):
                    raise
                outcome.problems.append(sentence_of(source.name, error))
                if table is not None:
                    table.add(source.name, outcome.problems[-1])
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
    from kseg.instances import HEIGHT, tells_objects_apart

    wanted = targets(options.out, output, options.save)
    if options.skips():
        wanted = {kind: path for kind, path in wanted.items() if not os.path.lexists(path)}
        if not wanted:
            outcome.skipped += 1
            return None
    found, classes, size = model
    seen = None
    if not options.native:
        seen = size_seen(source.name, image, found, options.size or size, outcome)
    result: Any
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
    shares = count(labels)[: classes.num_classes] / labels.size
    done = {
        "image": source.name,
        "outputs": {kind: str(path) for kind, path in wanted.items()},
        "shares": {
            name: round(float(share), 6) for name, share in zip(classes.names, shares, strict=False)
        },
    }
    if isinstance(result, kseg.Instances):
        done["objects"] = count_objects(result, classes)
    outcome.labelled += 1
    if options.json:
        outcome.images.append(done)
    return done
