"""What `kseg predict` has done, and how it says so."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg.cli.output import print_json, say, say_aside

if TYPE_CHECKING:
    import numpy as np

    from kseg.classes import Classes
    from kseg.instances import Instances

_SAID_AT_MOST = 20
_FAR = 16  # times fewer pixels: worth a remark


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
    said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in top if share)
    if "objects" in done:
        said = ", ".join(f"{count} x {name}" for name, count in done["objects"].items())
    return f"{done['image']}: {said or 'no objects'} -> {', '.join(done['outputs'].values())}"


def count_objects(found: "Instances", classes: "Classes") -> dict[str, int]:
    """Returns how many objects of each class there are; classes without objects are left out."""
    return dict(Counter(classes.names[thing.class_id] for thing in found.objects))


def size_seen(
    name: str,
    image: "np.ndarray",
    model: Any,
    size: tuple[int, int] | None,
    outcome: Outcome,
) -> tuple[int, int] | None:
    """Returns the size that an image is fitted into, and says where that is far from its own."""
    from kseg.data.transforms import fit_inside
    from kseg.labelling.labeller import size_seen as working_size_of
    from kseg.seeing import input_size

    own = image.shape[0], image.shape[1]
    size = working_size_of(model, size, own)
    seen = fit_inside(own, size or input_size(model))
    if own[0] * own[1] > _FAR * seen[0] * seen[1] and not outcome.remarked:
        outcome.remarked = True
        say_aside(
            f"{name} has {own[0]} x {own[1]} pixels and is seen at {seen[0]} x {seen[1]}, as are "
            "others of such a size; --size H W takes another, and --native labels an image at its "
            "own size in tiles."
        )
    return size


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
    if len(problems) == 1 and not outcome.labelled and not outcome.skipped and not json:
        raise ValueError(problems[0])
    if json:
        counts = {"labelled": outcome.labelled, "skipped": outcome.skipped}
        print_json({"images": outcome.images, **counts, "problems": problems})
    if outcome.skipped and not json:
        say(f"{outcome.skipped} skipped: their outputs are in {folder}")
    for problem in problems[:_SAID_AT_MOST]:
        say_aside(problem, "red")
    if problems:
        more = len(problems) - _SAID_AT_MOST
        listed = f" ({more} more are not listed)" if more > 0 else ""
        rest = "; the rest is done" if outcome.labelled or outcome.skipped else ""
        raise ValueError(f"{len(problems)} could not be labelled{listed}{rest}.")
