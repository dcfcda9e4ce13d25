"""`kseg data`: looks at labelled images, describes them in a YAML file, and converts them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

import kseg
from kseg.cli.options import OUTPUT, DataFile, Flag, Json
from kseg.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from kseg.data.review import Review

data = App(
    name="data",
    help="Look at labelled images, describe and convert them.",
    help_format="plaintext",
    version_flags=[],
    default_parameter=Parameter(negative=(), consume_multiple=False),
)
Overwrite = Annotated[Flag, Parameter(group=OUTPUT, help="Replace files that are there.")]


@data.command
def init(
    folder: Annotated[Path, Parameter(help="A folder of labelled images.")],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(metavar="FILE", group=OUTPUT, help="The YAML file. Default: FOLDER/kseg.yaml."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Guesses how a folder is laid out, and writes a YAML file that says it.

    It asks nothing: what was found and what was assumed are comments in the file.
    """
    from kseg.data.initializing import write_description

    path, layout, found = write_description(folder, out, overwrite=overwrite)
    say(f"{folder}: {layout.title}")
    for note in layout.notes:
        say(f"  {note}")
    print_table([[split, f"{len(pairs)} images"] for split, pairs in found.pairs.items()])
    say(f"classes: {', '.join(found.classes.names)}")
    say(f"wrote {path}; next: kseg data check {path}")


@data.command
def check(
    source: DataFile,
    /,
    *,
    report: Annotated[
        Path | None,
        Parameter(metavar="FILE.html", group=OUTPUT, help="Write a page with pictures too."),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Reads every file once, and lists all that is wrong or odd.

    Exit code 2 if there is anything to look at.
    """
    from kseg.data.review import review
    from kseg.data.review.page import make_page

    if report is not None and report.exists() and not overwrite:
        raise ValueError(f"{report} is there already; pass --overwrite to replace it.")
    found = review(source, shown=True)
    if json:
        print_json(found.to_json())
    else:
        _print_review(found)
    if report is not None:
        report.write_text(make_page(found), encoding="utf-8", errors="backslashreplace")
    if found.problems:
        count = "1 thing" if len(found.problems) == 1 else f"{len(found.problems)} things"
        raise ValueError(f"{source}: {count} to look at.")


@data.command
def convert(
    source: Annotated[Path, Parameter(help="A YAML file or a folder of labelled images.")],
    out: Annotated[Path, Parameter(help="The folder to write; it must be new.")],
    /,
) -> None:
    """Writes labelled images of any layout as images, PNGs of ids, and a YAML file."""
    from kseg.data.converting import convert

    found = kseg.load_data(source)
    path = convert(found, out, shown=True)
    count = sum(len(set(pairs)) for pairs in found.pairs.values())
    say(f"wrote {count} images with label files, and {path}")


def _print_review(found: "Review") -> None:
    for note in found.notes:
        say(note)
    if found.data is not None:
        rows = [["images", *found.images.values()]]
        if found.objects:
            rows.append(["objects", *found.objects.values()])
        for index, name in enumerate(found.data.classes.names):
            rows.append([name, *(f"{100 * s[index]:.2f} %" for s in found.shares.values())])
        print_table(rows, ["", *found.images], disable_numparse=True)
        for line in found.suggestions():
            say(line)
    for number, problem in enumerate(found.problems, start=1):
        advice = f"\n   {problem.advice}" if problem.advice else ""
        say(f"{number}. {problem.file}: {problem.reason}{advice}")
    if not found.problems:
        say("nothing to complain about")
