"""What reaches the terminal: every verb prints through here.

Names of files and classes may hold control characters, which would move the cursor or rename the
window; they are printed as escapes.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Control characters but line ends and tabs, marks that turn the writing direction, separators that
# terminals take for line ends, and halves of characters, as bytes that are not UTF-8 become.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLORS = {"red": 31, "green": 32, "yellow": 33}


def clean(text: str) -> str:
    """Returns a text with its unprintable characters as escapes."""
    return _UNPRINTABLE.sub(_escape, text)


def say(text: str = "") -> None:
    """Prints a text on standard output; where nobody reads it any more, the work goes on."""
    try:
        print(clean(text), flush=True)
    except BrokenPipeError:  # as in `kseg predict FOLDER | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_aside(text: str, color: str | None = None) -> None:
    """Prints a remark on standard error, "kseg: " before it.

    Args:
        text: The remark.
        color: The color of "kseg:" on a terminal; None for none.
    """
    print(f"{_paint('kseg:', color, sys.stderr)} {clean(text)}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Prints one JSON object, in ASCII."""
    print(json.dumps(value))


def print_table(
    rows: Iterable[Sequence[Any]],
    headers: Sequence[str] = (),
    *,
    colors: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Prints a table.

    Args:
        rows: The cells, row by row.
        headers: A word for each column; without them the columns stand by themselves.
        colors: The text of a cell to its color on a terminal.
        **options: More for `tabulate`, such as floatfmt.
    """
    from tabulate import tabulate

    colors = colors or {}
    cleaned = [
        [
            _paint(_one_line(cell), colors.get(cell), sys.stdout) if isinstance(cell, str) else cell
            for cell in row
        ]
        for row in rows
    ]
    form = "simple" if headers else "plain"
    print(tabulate(cleaned, headers, tablefmt=form, **options))


def _one_line(text: str) -> str:
    return clean(text).replace("\n", "\\n").replace("\t", " ")


def _paint(text: str, color: str | None, stream: Any) -> str:
    if color is None or not stream.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
