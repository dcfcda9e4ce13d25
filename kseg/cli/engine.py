"""`kseg predict` as a job: by an engine, from Parquet or an object store, or into one."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg.cli.error_table import ErrorTable
from kseg.cli.outcome import Outcome, report

_LABEL_MAPS = ("palette", "labels", "parquet")

if TYPE_CHECKING:
    from kseg.cli.predict_options import PredictOptions
    from kseg.labelling.jobs import Done, Work
    from kseg.labelling.pieces import Piece


def is_job(sources: Sequence[str], options: "PredictOptions") -> bool:
    """Returns whether a command line wants more than files into files by this process."""
    from kseg.labelling.stores import is_address

    if options.engine is None and (options.address or options.workers):
        raise ValueError("--address and --workers are for --engine ray.")
    far = [word for word in sources if is_address(word) or word.lower().endswith(".parquet")]
    return bool(options.engine or far or is_address(str(options.out)) or "parquet" in options.save)


def label_as_job(
    model: str,
    sources: Sequence[str],
    options: "PredictOptions",
    opening: dict[str, Any],
    part: tuple[int, int],
) -> None:
    """Labels images in batches; what is done is skipped, and what is bad goes into a table.

    Args:
        model: What the command names.
        sources: Likewise.
        options: Likewise; --resume is meant.
        opening: How the model is opened, as for `kseg.Labeller`.
        part: (which part of the images, of how many).

    Raises:
        ValueError: If anything could not be labelled; the rest is done. If the model does not
            give what is asked for; then nothing is done.
    """
    from kseg.labelling import Labeller
    from kseg.labelling.jobs import PARQUET, Work
    from kseg.labelling.pieces import check_apart, find_pieces
    from kseg.labelling.stores import Store, is_address, pyarrow
    from kseg.progress import progress

    pyarrow()
    if PARQUET in options.save and len(options.save) > 1:
        raise ValueError("--save parquet holds the label maps, and goes without other kinds.")
    if options.every != 1:
        raise ValueError("--every is for videos; --engine, Parquet and addresses take images.")
    if options.batch_size < 1 or (options.workers or 1) < 1:
        raise ValueError("--batch-size and --workers must be at least 1.")
    out = options.out if is_address(str(options.out)) else options.out.absolute()
    named = Path(model)  # workers may have another working folder
    local = named.is_file() or (named / "run.json").is_file()
    labeller = Labeller(
        str(named.absolute()) if local else model,
        size=options.size,
        native=options.native,
        flip=options.flip,
        scales=options.scales,
        opened_with=opening,
    )
    work = Work(labeller, Store(str(out)), options.save, options.overwrite)
    pieces, problems = find_pieces(sources, recursive=options.recursive, leave_out=out)
    if PARQUET in options.save:
        check_apart(pieces, str(out))
    outcome = Outcome(problems=list(problems))
    mine = pieces[part[0] - 1 :: part[1]]
    left, outdated = work.plan(mine)
    if left:  # a model that is missing ends it here, not in every worker
        _check_job(model, labeller.opened()[0], options)
    outcome.skipped = len(mine) - len(left)
    written: set[str] = set()
    table = ErrorTable(out, options.shard)
    shown = sys.stderr.isatty() and not options.json
    with (
        closing(table),
        progress(total=len(left), unit="image", label="labelling", shown=shown) as bar,
    ):
        for done in _through(left, work, options):
            bar.update()
            written.add(done.part)
            if done.skipped:
                outcome.skipped += 1
            elif done.error:
                outcome.problems.append(done.error)
                table.add(done.name, done.error)
            else:
                outcome.labelled += 1
    work.settle(mine, outdated, written)
    report(outcome, out, options.json)


def _check_job(name: str, model: Any, options: "PredictOptions") -> None:
    """Refuses what a job has no label maps for.

    Raises:
        ValueError: If objects are asked for; they are told apart by this process alone.
    """
    from kseg.cli.predict_options import check_takes
    from kseg.instances import tells_objects_apart

    objects = tells_objects_apart(model)
    if objects and (options.threshold is not None or not {*options.save} <= {*_LABEL_MAPS}):
        raise ValueError(
            f"{name} tells objects apart, and --engine, Parquet and addresses give label maps of "
            f"classes alone. Take --save {' or '.join(_LABEL_MAPS)}, without --threshold; or label "
            "image files into a folder."
        )
    check_takes(name, options, objects)


def _through(left: "Sequence[Piece]", work: "Work", options: "PredictOptions") -> "Iterator[Done]":
    from kseg.labelling.pieces import batches_of

    if options.engine is None or not left:
        for batch in batches_of(left, options.batch_size):
            yield from work(batch)
        return
    from kseg.labelling.ray_engine import label_on_ray

    yield from label_on_ray(
        left,
        work,
        address=options.address,
        workers=options.workers,
        batch_size=options.batch_size,
    )
