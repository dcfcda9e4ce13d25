"""A review as one page that opens anywhere: no script, no other file, pictures inside."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from kseg.data.dataset import Data
from kseg.data.review import Review
from kseg.visualize import overlay

_PICTURES = 24
_WIDTH = 300  # of a picture, in pixels
_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:75em;margin:1em auto;padding:0 1em;color:#222;"
    "overflow-wrap:anywhere}h1{font-size:1.4em}"
    "table{border-collapse:collapse;margin:1em 0;width:100%}"
    "td,th{padding:.3em .6em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    ".mosaic{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.6em}"
    "figure{margin:0}img{display:block;width:100%}figcaption,small{color:#555;font-size:.8em}"
    ".bar{background:#ddd;min-width:3em}.bar i{display:block;height:1em}"
    ".key{display:inline-block;margin-right:1em}.key i{display:inline-block;width:.9em;"
    "height:.9em;margin-right:.3em;border:1px solid #888}.stops{background:#fbe4e0}"
)


def make_page(found: Review) -> str:
    """Returns the page.

    Args:
        found: The review.
    """
    title = f"{found.source}: labelled images"
    parts = [f"<p>{escape(note)}</p>" for note in found.notes]
    parts.append(f"<h2>{len(found.problems)} to look at</h2>" if found.problems else "")
    if found.problems:
        rows = [(p.file, p.reason, p.advice) for p in found.problems]
        marks = ["stops" if p.stops else "" for p in found.problems]
        parts.append(_table(("file", "what", "what to do"), rows, marks))
    else:
        parts.append("<p>Nothing to complain about.</p>")
    if found.data is not None:
        parts += ["<h2>Suggested settings</h2>", _list(found.suggestions())]
        parts += ["<h2>Classes</h2>", _histogram(found, found.data)]
        parts += ["<h2>Images under their labels</h2>", _legend(found.data), _mosaic(found.data)]
        sizes = sorted(found.sizes.items(), key=lambda item: -item[1])[:12]
        sides = [(f"{width} x {height}", count) for (height, width), count in sizes]
        parts += ["<h2>Sizes</h2>", _table(("width x height", "images"), sides)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]], marks: Sequence[str] = ()) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{escape(h)}</th>" for h in headers) + "</tr>"]
    for index, row in enumerate(rows):
        mark = f' class="{marks[index]}"' if marks else ""
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in row)
        lines.append(f"<tr{mark}>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _histogram(found: Review, data: Data) -> str:
    """Returns a bar for each class and split: its share of the pixels that count."""
    lines = ["<table><tr><th>class</th>"]
    lines += [f"<th>{escape(split)} ({count})</th>" for split, count in found.images.items()]
    lines.append("</tr>")
    for index, name in enumerate(data.classes.names):
        color = _hex(data.classes.colors[index])
        cells = [f"<td>{escape(name)}</td>"]
        for split in found.images:
            share, holders = found.shares[split][index], found.holders[split][index]
            bar = f'<i style="width:{100 * share:.1f}%;background:{color}"></i>'
            cells.append(
                f'<td><div class="bar">{bar}</div>{100 * share:.2f} % <small>in {holders} '
                "images</small></td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])


def _legend(data: Data) -> str:
    keys = [
        f'<span class="key"><i style="background:{_hex(color)}"></i>{escape(name)}</span>'
        for name, color in zip(data.classes.names, data.classes.colors, strict=True)
    ]
    return f"<p>{''.join(keys)}</p>"


def _mosaic(data: Data) -> str:
    pairs = [(split, pair) for split, pairs in data.pairs.items() for pair in pairs]
    picks = np.unique(np.linspace(0, len(pairs) - 1, min(_PICTURES, len(pairs))).astype(int))
    figures = []
    for split, pair in (pairs[index] for index in picks):
        try:
            image, labels = data.read(pair)
        except ValueError:  # it is among the problems
            continue
        step = max(1, image.shape[1] // (2 * _WIDTH))
        laid = overlay(image[::step, ::step], labels[::step, ::step], data.classes)
        caption = escape(f"{split}: {pair.image.name}")
        figures.append(
            f'<figure><img src="{_data_uri(laid)}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="mosaic">{"".join(figures)}</div>'


def _data_uri(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((_WIDTH, 4 * _WIDTH))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + bytes(color).hex()
