"""What `kseg predict` has done, and how it says so."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kseg.cli.output import print_json, say, say_aside

_SAID_AT_MOST = 20


@dataclass
class Outcome:
    """What has been done so far.

    Attributes:
        images: What was done for each image, for --json alone.
        labelled: How many images were labelled.
        skipped: How many had all their outputs.
        problems: A sentence for each source that could not be labelled.
        remarked: Whether it was said that images are shrunk a lot.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    labelled: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    remarked: bool = False


def line_of(done: dict[str, Any]) -> str:
    """Returns the line that is printed for an image."""
    top = sorted(done["shares"].items(), key=lambda item: -item[1])[:3]
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in top if share)
    return f"{done['image']}: {shares} -> {', '.join(done['outputs'].values())}"


def sentence_of(name: str, error: Exception) -> str:
    """Returns what is wrong with an image, its name included."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error) if name in str(error) else f"{name}: {error}"


def report(outcome: Outcome, folder: Path, json: bool) -> None:
    """Says what was skipped and what went wrong.

    Args:
        outcome: What was done.
        folder: Where the outputs are.
        json: Whether one JSON object is printed.

    Raises:
        ValueError: If anything did.
    """
    problems = outcome.problems
    if len(problems) == 1 and not outcome.labelled and not outcome.skipped:
        raise ValueError(problems[0])
    if json:
        print_json({"images": outcome.images, "skipped": outcome.skipped, "problems": problems})
    if outcome.skipped and not json:
        say(f"{outcome.skipped} skipped: their outputs are in {folder}")
    for problem in problems[:_SAID_AT_MOST]:
        say_aside(problem, "red")
    if problems:
        more = len(problems) - _SAID_AT_MOST
        listed = f" ({more} more are not listed)" if more > 0 else ""
        rest = "; the rest is done" if outcome.labelled or outcome.skipped else ""
        raise ValueError(f"{len(problems)} could not be labelled{listed}{rest}.")
