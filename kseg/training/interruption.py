"""Ctrl-C and SIGTERM during a training: both end it at the next place where it can be resumed."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What a signal does at this moment.

    Attributes:
        deferred: Whether the first signal waits for the end of the step, at which a checkpoint is
            written. Otherwise, and always from the second on, it ends the training at once.
        asked: Whether there was a signal.
    """

    def __init__(self) -> None:
        """Starts with signals that end at once."""
        self.deferred = False
        self.asked = False

    def __call__(self, number: int, frame: object) -> None:
        """Takes a signal.

        Raises:
            KeyboardInterrupt: If it is not to wait.
        """
        first, self.asked = not self.asked, True
        if not (first and self.deferred):
            raise KeyboardInterrupt
        print("\nfinishing the step; once more ends at once", file=sys.stderr)

    def end(self) -> None:
        """Ends the training if a signal came.

        Raises:
            KeyboardInterrupt: If one did.
        """
        if self.asked:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Takes Ctrl-C and SIGTERM while a training runs, and gives them back afterwards.

    Python lets only the main thread do so; in another, and where signals are ignored, as under
    nohup, nothing changes.
    """
    taken = Interruption()
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, taken)
        yield taken
    finally:
        for number, old in before.items():
            signal.signal(number, old)
