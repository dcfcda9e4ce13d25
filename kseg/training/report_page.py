"""A report as one page."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from kseg.classes import IGNORE_CLASS, Classes
from kseg.html import Markup, figures, page, table
from kseg.training.charts import Line, confusion_matrix, curves, reliability
from kseg.training.report import Example, Report
from kseg.visualize import STRONG, difference, overlay, rgb

_WIDTH = 320  # of a picture, in pixels
_CONFUSIONS = 10  # that are listed
_STYLE = (
    ".bar{display:block;height:1em;margin:.25em 0;min-width:1px}"
    ".wide{width:100%}.wide td:nth-child(n+2){white-space:nowrap;width:1%}"
    "th{overflow-wrap:normal}.class{display:flex;align-items:center}"
    ".class b{flex:0 0 14em;font-weight:normal}.class div{flex:1}"
    ".swatch{display:inline-block;width:.8em;height:.8em;margin-right:.4em;"
    "border:1px solid #888}"
    ".legend{margin:.5em 0}.legend span{white-space:nowrap;margin-right:1em;display:inline-block}"
    ".legend i{vertical-align:-.05em}"
    ".ignored{background:repeating-linear-gradient(135deg,#000 0 2px,#fff 2px 4px)}"
    ".wrong{background:rgb(230,30,60)}"
    "figure{width:calc(25% - 1.25em)}figure img{width:100%}"
    "@media(max-width:900px){figure{width:calc(50% - 1.25em)}}"
    "@media(max-width:600px){figure{display:block;margin:0 0 1em;width:100%}"
    ".class{display:block}}"
)


def make_page(
    report: Report,
    title: str,
    facts: Sequence[tuple[str, str]],
    history: Sequence[dict[str, Any]] = (),
    row: str = "epoch",
) -> str:
    """Returns the page.

    Args:
        report: What it shows.
        title: The title.
        facts: (what, how) of the model and the data.
        history: The rows of a training's history, for curves of the classes.
        row: What a row is: an "epoch", or a "part" of a training by minutes.
    """
    parts = [table((), [*facts, *_summary(report)]), "<h2>Classes</h2>", _classes(report)]
    if lines := _lines(report.classes, history):
        epochs = [point[0] for line in lines for point in line[2]]
        parts += [
            f"<h2>IoU over the {row}s</h2>",
            curves(lines, (int(min(epochs)), int(max(epochs))), row),
            _legend((f"background:{color}", name) for name, color, _ in lines),
        ]
    parts += [
        "<h2>What is taken for what</h2>",
        "<p>A row for each class of the labels, a column for each class of the prediction: per "
        "cent of the labelled pixels.</p>",
        confusion_matrix(report.scores.confusion, report.classes.names),
        *_confusions(report),
        "<h2>How sure the model is</h2>",
        *_calibration(report),
    ]
    for heading, examples in (("Worst images", report.worst), ("Best images", report.best)):
        if examples:
            parts.append(f"<h2>{heading}</h2>")
            parts += [_pictures(example, report.classes) for example in examples]
    return page(title, parts, _STYLE)


def _summary(report: Report) -> list[tuple[str, str]]:
    scores = report.scores
    rows = [
        ("images", f"{scores.images:,}"),
        ("mean IoU", f"{scores.mean_iou:.4f}"),
        ("pixel accuracy", f"{scores.pixel_accuracy:.4f}"),
        ("mean boundary IoU", _number(report.mean_boundary_iou)),
    ]
    if (objects := report.objects) is not None:
        shares = {
            "panoptic quality": objects.all.pq,
            "segmentation quality": objects.all.sq,
            "recognition quality": objects.all.rq,
            "AP at IoU 0.5": objects.ap50,
            "TP / (TP + FP + FN) at IoU 0.5": objects.tp_over_all[0.5],
        }
        rows += [(name, _number(share)) for name, share in shares.items()]
        rows.append(("objects, and found", f"{objects.objects:,}, {objects.found:,}"))
    if report.calibration is not None:
        rows.append(("expected calibration error", f"{report.calibration.error():.4f}"))
    return rows


def _classes(report: Report) -> str:
    pixels = report.scores.confusion.sum(1)
    rows: list[list[Any]] = []
    for index, (name, iou) in enumerate(report.scores.iou_per_class.items()):
        color = _css(report.classes.colors[index])
        named = f"<b>{_swatch(f'background:{color}')}{escape(name)}</b>"
        bar = f'<i class="bar" style="width:{100 * (iou or 0):.1f}%;background:{color}"></i>'
        rows.append(
            [
                Markup(
                    f'<div class="class">{named}<div>{bar if iou is not None else ""}</div></div>'
                ),
                _number(iou),
                _number(report.boundary_iou[name]),
                f"{100 * pixels[index] / pixels.sum():.2f} %",
            ]
        )
    made = table(("class", "IoU", "boundary IoU", "share"), rows)
    note = (
        "<p><small>Share: of the labelled pixels. Boundary IoU: of the pixels that lie within 2 % "
        "of the image's diagonal from the contours.</small></p>"
    )
    return made.replace("<table>", '<table class="wide">', 1) + note


def _confusions(report: Report) -> list[str]:
    """Lists the most frequent confusions, for those who cannot read the matrix."""
    counts, names = report.scores.confusion, report.classes.names
    wrong = counts * (1 - np.eye(len(names), dtype="int64"))
    rows = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]:
        label, found = divmod(int(flat), len(names))
        if wrong[label, found]:
            share = wrong[label, found] / counts[label].sum()
            of_all = wrong[label, found] / wrong.sum()
            cells = (names[label], names[found], f"{100 * share:.1f} %", f"{100 * of_all:.1f} %")
            rows.append(cells)
    if not rows:
        return ["<p>No pixel is wrong.</p>"]
    return [table(("label", "taken for", "of this label", "of all errors"), rows)]


def _calibration(report: Report) -> list[str]:
    if report.calibration is None:
        return ["<p>The model gives class maps, without probabilities: nothing to measure.</p>"]
    error = report.calibration.error()
    return [
        "<p>A column shows the pixels of one range of confidence, and how many of them are right; "
        "red is what is missing to the confidence or above it. The mean gap, the expected "
        f"calibration error, is {100 * error:.2f} %.</p>",
        reliability(report.calibration),
    ]


def _pictures(example: Example, classes: Classes) -> str:
    drawn = {
        "image": rgb(example.image),
        "truth": overlay(example.image, example.truth, classes, STRONG),
        "prediction": overlay(example.image, example.labels, classes, STRONG),
        "difference": difference(example.image, example.truth, example.labels),
    }
    present = sorted({int(i) for i in np.unique([example.truth, example.labels])} - {IGNORE_CLASS})
    entries = [(f"background:{_css(classes.colors[i])}", classes.names[i]) for i in present]
    more = _named("wrong", "wrong")
    if (example.truth == IGNORE_CLASS).any():
        more += _named("ignored", "ignored")
    return (
        f"<h3>{escape(example.name)}: mean IoU {example.mean_iou:.3f}</h3>"
        + figures(drawn, _WIDTH, "JPEG")
        + _legend(entries, more)
    )


def _lines(classes: Classes, history: Sequence[dict[str, Any]]) -> list[Line]:
    wanted = [(f"iou {n}", n, _css(c)) for n, c in zip(classes.names, classes.colors, strict=True)]
    lines = []
    means = [("mean_iou", "mean", "#000"), ("pq", "panoptic quality", "#b00")]
    for key, name, color in [*wanted, *means]:
        points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
        if points:
            lines.append((name, color, points))
    return lines


def _legend(entries: Iterable[tuple[str, str]], more: str = "") -> str:
    """Returns names beside their colours; entries are (CSS, name)."""
    named = (f"<span>{_swatch(css)}{escape(name)}</span> " for css, name in entries)
    return '<div class="legend">' + "".join(named) + more + "</div>"


def _named(kind: str, name: str) -> str:
    return f'<span><i class="swatch {kind}"></i>{name}</span> '


def _swatch(css: str) -> str:
    return f'<i class="swatch" style="{css}"></i>'


def _css(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]},{color[1]},{color[2]})"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
