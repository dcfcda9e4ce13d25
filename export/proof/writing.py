"""The last step of a delivery: the file with all that belongs to it, or nothing.

The report comes first and the file last. The report names the sha256 of its file, so that from the
first moment to the last it does not fit what is there: whoever reads it (`kseg predict` and other
verbs) tells a whole set from one whose export was killed on the way.
"""

import json
import os
from pathlib import Path

from export.options import ExportResult
from export.proof.describing import Report
from export.proof.page import make_page
from export.proof.workshop import ENDINGS, alone_in, beside, check_free, save


def write(report: Report, path: Path) -> ExportResult:
    """Moves a file to its place, its report, page and labels beside it.

    Args:
        report: The report of the file.
        path: X.tflite; X.json, X.html, and X.labels.txt where names are known, come beside it.

    Returns:
        What was written.

    Raises:
        ValueError: If another export has written a file there since the first look.
        DiskFullError: If the disk is full; what was there before is whole.
    """
    candidate, comparison = report.candidate, report.judgement.comparison
    made, content = candidate.path, report.to_json()
    page = make_page(content, comparison.worst, candidate.classes)
    texts = {".json": json.dumps(content, indent=1) + "\n", ".html": page}
    if candidate.classes is not None:
        texts[".labels.txt"] = "".join(f"{name}\n" for name in candidate.classes.names)
    for ending, text in texts.items():
        save(beside(made, ending), text.encode())
    with alone_in(path.parent):
        check_free(path, report.options.overwrite)
        for ending in ENDINGS:
            if beside(made, ending).exists():
                os.replace(beside(made, ending), beside(path, ending))
            else:  # one of an earlier export, which it described
                beside(path, ending).unlink(missing_ok=True)
        os.replace(made, path)
    before, after = comparison.scores_float, comparison.scores
    objects = comparison.objects
    return ExportResult(
        path=path,
        report=content,
        certified=after is not None,
        agreement=comparison.agreement,
        mean_iou_float=before.mean_iou if before else None,
        mean_iou=after.mean_iou if after else None,
        pq_float=objects.scores_float.pq if objects and objects.scores_float else None,
        pq=objects.scores.pq if objects and objects.scores else None,
    )
