"""Drawings of a report, as SVG within a page: texts stay texts, in any script."""

from collections.abc import Sequence
from html import escape

import numpy as np

from kseg.metrics import Calibration

_CELL = 28  # pixels, of the confusion matrix
_LETTER = 6.5  # pixels, at the size of its names
_LONGEST = 24  # letters of a name that are shown
_RIGHT, _WRONG = "46,125,120", "214,48,60"
_LEFT, _BOTTOM, _HEIGHT = 44, 40, 260  # pixels, of a diagram with axes
_QUARTERS = (0, 0.25, 0.5, 0.75, 1)
_MARKED = 20  # a line of more points needs no markers

Line = tuple[str, str, list[tuple[float, float]]]  # (name, colour, points)


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> str:
    """Draws a confusion matrix, each row in per cent of its labels.

    Args:
        counts: Pixels by label and prediction (num_classes, num_classes).
        names: Of the classes.
    """
    short = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names]
    margin = 12 + _LETTER * max(map(len, short))
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    parts = []
    for row, name in enumerate(short):
        middle = margin + _CELL * (row + 0.5)
        parts.append(_text(margin - 5, middle + 4, name, "end"))
        turn = f' transform="rotate(-90 {middle + 4:.1f} {margin - 5:.1f})"'
        parts.append(_text(middle + 4, margin - 5, name, "start", turn))
        for column, other in enumerate(names):
            share = shares[row, column]
            color = _RIGHT if row == column else _WRONG
            x, y = margin + _CELL * column, margin + _CELL * row
            said = f"{names[row]} taken for {other}" if row != column else f"{other} found"
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{_CELL - 1}" height="{_CELL - 1}" '
                f'fill="rgba({color},{0.05 + 0.95 * share**0.5:.3f})">'
                f"<title>{escape(said)}: {100 * share:.2f} %</title></rect>"
            )
            if share >= 0.005:
                white = ' fill="#fff"' if share > 0.35 else ""
                parts.append(
                    _text(x + _CELL / 2 - 0.5, middle + 4, f"{100 * share:.0f}", "middle", white)
                )
    side = margin + _CELL * len(names)
    return _svg(side, side, parts, "Confusion matrix: a row for each class of the labels")


def reliability(calibration: Calibration) -> str:
    """Draws how many pixels are right among those with about the same confidence."""
    bins, width = len(calibration.pixels), _HEIGHT
    parts = _axes(width, _QUARTERS, "confidence", "share of pixels that are right")
    for place, pixels in enumerate(calibration.pixels):
        if not pixels:
            continue
        right, sure = calibration.right[place] / pixels, calibration.confidence[place] / pixels
        x = _at(place / bins, 0, width)[0]
        said = f"{pixels:,} pixels: {100 * right:.1f} % right, {100 * sure:.1f} % expected"
        for color, high, low in ((_RIGHT, right, 0), (_WRONG, max(right, sure), min(right, sure))):
            top, height = _at(0, high, width)[1], (high - low) * _HEIGHT
            parts.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{width / bins - 1:.1f}" '
                f'height="{height:.1f}" fill="rgba({color},0.6)"><title>{said}</title></rect>'
            )
    (x1, y1), (x2, y2) = _at(0, 0, width), _at(1, 1, width)
    parts.append(
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#444" stroke-dasharray="4"/>'
    )
    return _svg(_LEFT + width + 10, _HEIGHT + _BOTTOM + 10, parts, "Reliability diagram")


def curves(lines: Sequence[Line], epochs: tuple[int, int], row: str = "epoch") -> str:
    """Draws IoU over epochs.

    Args:
        lines: Name, CSS colour and (epoch, IoU) of each.
        epochs: The first and the last epoch.
        row: What they are called.
    """
    width, (first, last) = 440, epochs
    marks = np.unique(np.linspace(first, last, 5).round())
    parts = _axes(width, marks.tolist(), row, "IoU")
    for name, color, points in lines:
        at = [_at((x - first) / max(1, last - first), y, width) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        title = f"<title>{escape(name)}</title>"
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2">'
            f"{title}</polyline>"
        )
        if len(at) <= _MARKED:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}">{title}</circle>'
                for x, y in at
            ]
    return _svg(_LEFT + width + 10, _HEIGHT + _BOTTOM + 10, parts, f"IoU per class over the {row}s")


def _at(x: float, y: float, width: float) -> tuple[float, float]:
    """Returns the pixel of a point of the unit square."""
    return _LEFT + x * width, 10 + (1 - y) * _HEIGHT


def _axes(width: float, marks: Sequence[float], below: str, beside: str) -> list[str]:
    left, top = _at(0, 1, width)
    parts = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{_HEIGHT}" fill="#f3f3f3"/>',
    ]
    for share in _QUARTERS:
        y = _at(0, share, width)[1]
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + width}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(left - 5, y + 4, f"{share:g}", "end"))
    for mark in marks:
        x = _at((mark - marks[0]) / max(1, marks[-1] - marks[0]), 0, width)[0]
        parts.append(_text(x, top + _HEIGHT + 15, f"{mark:g}", "middle"))
    parts.append(_text(left + width / 2, top + _HEIGHT + 33, below, "middle"))
    middle = top + _HEIGHT / 2
    parts.append(_text(11, middle, beside, "middle", f' transform="rotate(-90 11 {middle})"'))
    return parts


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" font-size="11" font-family="sans-serif">' + "".join(parts) + "</svg>"
    )
