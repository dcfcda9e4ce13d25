"""`kseg runs`: compares run folders."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kseg.cli.options import Json
from kseg.cli.output import print_json, print_table, say_aside

if TYPE_CHECKING:
    from kseg.training.summary import RunSummary

_HEADERS = ("run", "network", "params", "data", "size", "epochs", "best mIoU", "last", "time")


def runs(
    folder: Annotated[Path, Parameter(help="A folder with run folders, at any depth up to four.")],
    /,
    *,
    json: Json = False,
) -> None:
    """Lists run folders, the best first."""
    from kseg.training.summary import summarize_runs

    found = summarize_runs(folder)
    if json:
        print_json({"runs": [_plain(run) for run in found]})
        return
    colors = {"damaged": "red", "unfinished": "yellow"}
    rows = [_row(run, folder) for run in found]
    print_table(rows, [*_HEADERS, "changed", "state"], colors=colors, disable_numparse=True)
    for run in found:
        if run.problem is not None:
            say_aside(f"damaged: {run.problem}", "red")


def _plain(run: "RunSummary") -> dict[str, Any]:
    return {**asdict(run), "path": str(run.path), "state": run.state}


def _row(run: "RunSummary", folder: Path) -> list[str]:
    name = str(run.path.relative_to(folder)) if run.path != folder else run.path.name
    unknown = "-"
    return [
        name or str(folder),
        run.network or unknown,
        unknown if run.params is None else f"{run.params / 1e6:.2f} M",
        Path(run.data).name if run.data else unknown,
        f"{run.size[0]} x {run.size[1]}" if run.size else "own",
        f"{run.epochs}/{unknown if run.planned is None else run.planned}",
        *(unknown if iou is None else f"{iou:.4f}{_mark(run)}" for iou in (run.best, run.last)),
        _duration(run.seconds),
        run.changed or unknown,
        run.state,
    ]


def _mark(run: "RunSummary") -> str:
    """Returns what keeps a score from being compared with others."""
    kind = "PQ, " if run.metric == "PQ" else ""
    if run.saw_val:
        return f" ({kind}val seen)"
    if run.judges:
        return f" ({kind}of {run.judges})"
    return " (PQ)" if kind else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
