"""The report of an export as one page."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.proof.report import (
    CHOICES,
    RUNTIMES,
    choice_rows,
    class_rows,
    noise_rows,
    op_rows,
    runtime_rows,
    summary,
)
from export.proof.verification import Example
from kseg.classes import Classes
from kseg.html import figures, page, table
from kseg.visualize import colorize, difference

_WIDTH = 320  # of a picture, in pixels
_STYLE = ".cpu,.dead{background:#fbe4e0}.uncertain{background:#fdf3d6}"


def make_page(report: dict[str, Any], examples: Sequence[Example], classes: Classes | None) -> str:
    """Returns the page.

    Args:
        report: What the .json file says.
        examples: Images to show.
        classes: Colours; other ones where it is None.
    """
    title = f"{report['file']['name']}: {report['recipe']['name']} for {report['target']}"
    parts = [table((), summary(report))]
    if rows := runtime_rows(report):
        parts += ["<h2>Runtimes that ran the file</h2>", table(RUNTIMES, rows)]
    if rows := class_rows(report):
        parts += ["<h2>Classes</h2>", table(("class", "IoU float", "IoU file", "change"), rows)]
    if examples:
        parts.append("<h2>Where file and model agree least</h2>")
        parts += [_pictures(example, classes) for example in examples]
    if rows := choice_rows(report):
        parts += ["<h2>What other heads and strides cost</h2>", table(CHOICES, rows)]
    if rows := noise_rows(report):
        parts += [
            "<h2>Layers that quantization harms most</h2>",
            table(("layer", "signal to noise, dB"), rows),
        ]
    placements = [op["placement"] for op in report["op_table"]]
    headers = ("", "op", "version", "output", "placement", "why", "advice")
    parts += ["<h2>Ops</h2>", table(headers, op_rows(report), placements)]
    return page(title, parts, _STYLE)


def _pictures(example: Example, classes: Classes | None) -> str:
    if classes is None:
        most = int(max(example.labels.max(), example.labels_float.max())) + 1
        classes = Classes(tuple(f"class {index}" for index in range(max(2, most))))
    image = np.clip(np.rint(example.image), 0, 255).astype("uint8")
    # Of images with more channels than three, the first three can be seen.
    image = image[..., :3] if image.shape[-1] > 2 else np.repeat(image[..., :1], 3, -1)
    shown = {
        "image": image,
        "model": colorize(example.labels_float, classes),
        "file": colorize(example.labels, classes),
        f"different: {100 * (1 - example.agreement):.2f} %": difference(
            image, example.labels_float, example.labels
        ),
    }
    return figures(shown, _WIDTH)
