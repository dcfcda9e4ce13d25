"""`kseg demo`: goes the whole way on generated images."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    out: Annotated[Path, Parameter(metavar="FOLDER", help="The folder to write to.")] = Path(
        "kseg-demo"
    ),
) -> None:
    """Trains, evaluates, exports and times a network on generated images, in minutes."""
    from kseg.demo import run_demo

    run_demo(out)
