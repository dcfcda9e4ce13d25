"""Pages that open anywhere: one file, no script, pictures inside; every report is one."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222;"
    "background:#fff;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}"
    "@media(max-width:600px){td,th{padding:.2em .3em}}"
    "figure{display:inline-block;margin:0 1em 1em 0}"
    "img,svg{display:block;max-width:100%}figcaption,small{color:#555}"
)


class Markup(str):
    """HTML in a cell of a table, where texts are escaped."""


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """Returns a page that may load nothing and run nothing.

    Args:
        title: The title, as text.
        parts: What stands below it, as HTML.
        style: More CSS.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], classes: Sequence[str] = ()
) -> str:
    """Returns a table of texts.

    Args:
        headers: Of the columns; empty for none.
        rows: The cells, row by row: texts, or `Markup`.
        classes: A CSS class for each row; empty for none.
    """
    lines = ["<table>"]
    if headers:
        lines.append("<tr>" + "".join(f"<th>{escape(h)}</th>" for h in headers) + "</tr>")
    for index, row in enumerate(rows):
        kind = f' class="{escape(classes[index])}"' if classes else ""
        made = (cell if isinstance(cell, Markup) else escape(str(cell)) for cell in row)
        cells = "".join(f"<td>{cell}</td>" for cell in made)
        lines.append(f"<tr{kind}>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def figures(pictures: dict[str, np.ndarray], width: int, kind: str = "PNG") -> str:
    """Returns pictures in a row, each over its caption.

    Args:
        pictures: Caption to RGB, uint8 (H, W, 3).
        width: The most pixels that a picture is wide; larger ones are shrunk.
        kind: "PNG", which keeps every pixel, or "JPEG", which is smaller.
    """
    made = [
        f'<figure><img src="{data_uri(picture, width, kind)}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, picture in pictures.items()
    ]
    return "<div>" + "".join(made) + "</div>"


def data_uri(picture: np.ndarray, width: int, kind: str = "PNG") -> str:
    """Returns a picture as an address that holds it; arguments as `figures`."""
    image = Image.fromarray(picture)
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        how = Image.Resampling.NEAREST if kind == "PNG" else Image.Resampling.BILINEAR
        image = image.resize((width, height), how)
    stream = io.BytesIO()
    image.save(stream, kind)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"
