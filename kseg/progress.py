"""Progress: a bar on a terminal, a line now and then everywhere else."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

_SECONDS = 30.0  # between two lines of a log
_LINE = "{desc}{n_fmt} of {total_fmt} {unit}s in {elapsed}{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}{n_fmt} {unit}s in {elapsed}{postfix}"


def progress(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    unit: str = "step",
    label: str = "",
    shown: bool = True,
) -> tqdm:
    """Returns a progress display that goes to standard error.

    Iterate over it, or use it as a context manager and call its `update()` after each item. On a
    terminal it is a bar, which vanishes at the end. In a file or a pipe it is one line every 30
    seconds and one at the end.

    Args:
        iterable: What to go through; None where `update()` is called.
        total: The number of items; None takes the iterable's length, where it has one.
        initial: The number of items that were done before.
        unit: One item in a word that takes an s in the plural, such as "image".
        label: What is being done, such as "scoring".
        shown: Whether anything is shown at all.

    Returns:
        tqdm's object; `n`, `set_postfix_str` and `close` are useful too.
    """
    facts: dict[str, Any] = {"total": total, "initial": initial, "unit": unit, "disable": not shown}
    facts |= {"desc": label and f"{label}: ", "file": sys.stderr}
    if sys.stderr.isatty():
        return tqdm(iterable, leave=False, dynamic_ncols=True, **facts)
    return _Lines(iterable, mininterval=_SECONDS, delay=_SECONDS, miniters=1, **facts)


class _Lines(tqdm):
    """A progress bar without the bar: each state is a line of its own."""

    monitor_interval = 0  # tqdm's watching thread is for bars
    _last = ""

    @property
    def format_dict(self):
        """What a line is made of; tqdm asks for it each time."""
        form = _LINE if self.total else _LINE_WITHOUT_TOTAL
        return {**super().format_dict, "bar_format": form}

    def display(self, msg=None, pos=None):
        """Writes a line, unless it is the one that was written last."""
        line = str(self) if msg is None else msg
        if line and line != self._last:
            self._last = line
            self.fp.write(f"{line}\n")
            self.fp.flush()
        return True

    def close(self):
        """Writes the last line."""
        if not self.disable:
            self.display()
            self.sp = None  # tqdm then has nothing to clear
            super().close()
