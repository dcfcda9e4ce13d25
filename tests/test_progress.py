import io
import sys

import pytest

import kseg.progress
from kseg.progress import progress


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time that tqdm sees, which a test sets."""
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_a_log_has_a_line_every_half_minute_and_one_at_the_end(clock, capsys):
    for _ in progress(range(100), unit="image", label="scoring"):
        clock[0] += 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "scoring: 30 of 100 images in 00:30",
        "scoring: 60 of 100 images in 01:00",
        "scoring: 90 of 100 images in 01:30",
        "scoring: 100 of 100 images in 01:40",
    ]


def test_steps_are_counted_by_hand_and_no_line_comes_twice(clock, capsys):
    with progress(total=3, initial=1) as shown:
        shown.set_postfix_str("loss 0.5", refresh=False)
        shown.update()
        clock[0] += 40
        shown.update()
        shown.close()
    assert capsys.readouterr().err.splitlines() == ["3 of 3 steps in 00:40, loss 0.5"]


def test_a_stop_in_the_middle_says_how_far_it_came(clock, capsys):
    with pytest.raises(KeyboardInterrupt), progress(unit="image") as shown:
        shown.update()
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "1 images in 00:00\n"


def test_a_terminal_has_a_bar_that_vanishes(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in progress(range(3), unit="image", label="scoring"):
        pass
    assert "\n" not in terminal.getvalue() and "scoring" in terminal.getvalue()
    assert terminal.getvalue().rsplit("\r", 2)[1].strip() == ""


def test_nothing_is_shown_where_nothing_is_wanted(capsys):
    assert list(progress(range(3), shown=False)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_kseg_progress_is_a_module_of_its_own():
    assert kseg.progress.progress is progress
