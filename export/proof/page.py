"""The report as one page that opens anywhere: no script, no other file, pictures inside."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from export.proof.report import CHOICES, choice_rows, class_rows, noise_rows, op_rows, summary
from export.proof.verification import Example
from kseg.classes import Classes
from kseg.visualize import colorize

_WIDTH = 320  # of a picture, in pixels
_DIFFERENT = np.array((230, 30, 60), "uint8")
_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}"
    "figure{display:inline-block;margin:0 1em 1em 0}"
    "img{display:block}figcaption,small{color:#555}.cpu,.dead{background:#fbe4e0}"
    ".uncertain{background:#fdf3d6}"
)


def make_page(report: dict[str, Any], examples: Sequence[Example], classes: Classes | None) -> str:
    """Returns the page.

    Args:
        report: What the .json file says.
        examples: Images to show.
        classes: Colours; other ones where it is None.
    """
    title = f"{report['file']['name']}: {report['recipe']['name']} for {report['target']}"
    parts = [_table((), summary(report))]
    if rows := class_rows(report):
        parts += ["<h2>Classes</h2>", _table(("class", "IoU float", "IoU file", "change"), rows)]
    if examples:
        parts.append("<h2>Where file and model agree least</h2>")
        parts += [_pictures(example, classes) for example in examples]
    if rows := choice_rows(report):
        parts += ["<h2>What other heads and strides cost</h2>", _table(CHOICES, rows)]
    if rows := noise_rows(report):
        parts += [
            "<h2>Layers that quantization harms most</h2>",
            _table(("layer", "signal to noise, dB"), rows),
        ]
    placements = [op["placement"] for op in report["op_table"]]
    headers = ("", "op", "version", "output", "placement", "why", "advice")
    parts += ["<h2>Ops</h2>", _table(headers, op_rows(report), placements)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], classes: Sequence[str] = ()
) -> str:
    lines = ["<table>"]
    if headers:
        lines.append("<tr>" + "".join(f"<th>{escape(h)}</th>" for h in headers) + "</tr>")
    for index, row in enumerate(rows):
        kind = f' class="{escape(classes[index])}"' if classes else ""
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in row)
        lines.append(f"<tr{kind}>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _pictures(example: Example, classes: Classes | None) -> str:
    if classes is None:
        most = int(max(example.labels.max(), example.labels_float.max())) + 1
        classes = Classes(tuple(f"class {index}" for index in range(max(2, most))))
    image = np.clip(np.rint(example.image), 0, 255).astype("uint8")
    # Of images with more channels than three, the first three can be seen.
    image = image[..., :3] if image.shape[-1] > 2 else np.repeat(image[..., :1], 3, -1)
    gray = np.repeat(image.mean(-1, keepdims=True), 3, -1).astype("uint8")
    different = (example.labels != example.labels_float)[..., None]
    shown = {
        "image": image,
        "model": colorize(example.labels_float, classes),
        "file": colorize(example.labels, classes),
        f"different: {100 * (1 - example.agreement):.2f} %": np.where(different, _DIFFERENT, gray),
    }
    figures = [
        f'<figure><img src="{_data_uri(picture)}" alt="{escape(name)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, picture in shown.items()
    ]
    return "<div>" + "".join(figures) + "</div>"


def _data_uri(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    if image.width > _WIDTH:
        height = max(1, round(image.height * _WIDTH / image.width))
        image = image.resize((_WIDTH, height), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
