"""The last step of a delivery: the file with all that belongs to it, or nothing."""

import json
import os
from pathlib import Path

from export.options import ExportResult
from export.proof.describing import Report
from export.proof.page import make_page

# What may be written beside X.tflite.
_ENDINGS = (".json", ".html", ".labels.txt", "_vela.tflite")


def taken(path: Path) -> list[Path]:
    """Returns what an export to `path` would replace."""
    files = (path, *(_beside(path, ending) for ending in _ENDINGS))
    return [file for file in files if file.exists()]


def write(report: Report, path: Path) -> ExportResult:
    """Moves a file to its place, its report, page and labels beside it.

    Args:
        report: Of the file.
        path: X.tflite; X.json, X.html, and X.labels.txt where names are known, come beside it.

    Returns:
        What was written.
    """
    candidate, comparison = report.candidate, report.judgement.comparison
    made, content = candidate.path, report.to_json()
    _beside(made, ".json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    page = make_page(content, comparison.worst, candidate.classes)
    _beside(made, ".html").write_text(page, "utf-8")
    if candidate.classes is not None:
        names = "".join(f"{name}\n" for name in candidate.classes.names)
        _beside(made, ".labels.txt").write_text(names, "utf-8")
    for ending in _ENDINGS:
        if _beside(made, ending).exists():
            os.replace(_beside(made, ending), _beside(path, ending))
        else:  # of an earlier export, which it described
            _beside(path, ending).unlink(missing_ok=True)
    os.replace(made, path)
    before, after = comparison.scores_float, comparison.scores
    return ExportResult(
        path=path,
        report=content,
        certified=after is not None,
        agreement=comparison.agreement,
        mean_iou_float=before.mean_iou if before else None,
        mean_iou=after.mean_iou if after else None,
    )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)
