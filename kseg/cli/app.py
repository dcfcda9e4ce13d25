"""The verbs, errors and exit codes.

A verb is a row of `VERBS` and the module of its name, `kseg/cli/NAME.py`, with a function (or an
`App` with verbs of its own) of that name. Nothing heavy is imported before a verb runs, so that
`kseg --help` answers at once.
"""

import errno
import inspect
import io
import logging
import os
import platform
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.help import DefaultFormatter, PanelSpec
from rich.box import Box

import kseg
from kseg.cli.output import say_aside
from kseg.cli.usage import sentence

_BAD_INPUT, _RESOURCES, _INTERRUPTED = 2, 5, 130
_ABOUT_INPUT = (ValueError, TypeError, ImportError, OSError)


@dataclass(frozen=True)
class Verb:
    """A row of `kseg --help`.

    Attributes:
        help: What it does.
        panel: The heading under which it stands.
    """

    help: str
    panel: Group


_TRAINING = Group("From images to a model", sort_key=1)
_DEVICE = Group("From a model to a device", sort_key=2)
_MORE = Group("More", sort_key=3)
_OPTIONS = Group("Options", sort_key=5)
VERBS = {
    "data": Verb("Look at labelled images, describe and convert them.", _TRAINING),
    "train": Verb("Train a network on labelled images.", _TRAINING),
    "evaluate": Verb("Score a model on labelled images.", _TRAINING),
    "predict": Verb("Label images.", _TRAINING),
    "runs": Verb("Compare trainings in a table.", _TRAINING),
    "push": Verb("Put a trained network on the Hugging Face Hub.", _TRAINING),
    "export": Verb("Make a verified .tflite file.", _DEVICE),
    "check": Verb("Say which ops a Coral chip would run, and why.", _DEVICE),
    "verify": Verb("Run a .tflite file in every runtime that is there.", _DEVICE),
    "benchmark": Verb("Time .tflite files on this computer.", _DEVICE),
    "web": Verb("Make a page that runs models in the browser.", _DEVICE),
    "describe": Verb("Count what a network costs.", _MORE),
    "models": Verb("List networks, backbones and trained models.", _MORE),
    "demo": Verb("Go the whole way on generated images, in minutes.", _MORE),
}


def run() -> None:
    """Runs the command line as a process of its own: the console script."""
    signal.signal(signal.SIGINT, _interrupt)
    _silence_libraries()
    _hurry_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = main()
    signal.signal(signal.SIGINT, _leave)  # while threads and libraries come to their end
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        0 done; 2 bad input; 3 a gate failed; 4 an unreadable model file; 5 no disk or memory;
        130 interrupted.
    """
    tokens = join_pairs(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning
    try:
        if not tokens:
            raise ValueError("name a verb; `kseg --help` lists them.")
        _app()(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(sentence(error), _BAD_INPUT)
    except BrokenPipeError:  # as in `kseg check FILE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except UnicodeEncodeError:
        return _fail("a file name is not UTF-8, and it must be here; rename the file", _BAD_INPUT)
    except MemoryError:
        return _fail("out of memory; try a smaller --batch-size or --size", _RESOURCES)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        return _fail(_said(error), code)
    return 0


def _said(error: Exception) -> str:
    """Returns what an error says, without the number that the system's errors begin with."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    return str(error)


def parse(argv: Sequence[str]) -> tuple[str, inspect.BoundArguments]:
    """Returns the function's name and the arguments of a command line, without running it.

    Raises:
        CycloptsError: If it is wrong.
    """
    function, bound, _ = _app().parse_args(join_pairs(argv), exit_on_error=False, print_error=False)
    return function.__name__, bound


def join_pairs(tokens: Sequence[str]) -> list[str]:
    """Returns arguments in which --normalization MEAN STD is one word, as the other ranges are."""
    joined = list(tokens)
    numbers = re.compile(r"-?[0-9.,]*[0-9](e-?[0-9]+)?")
    for place, token in enumerate(joined):
        after = joined[place + 1 : place + 3]
        if token == "--normalization" and len(after) == 2:
            if all(numbers.fullmatch(word) and ".." not in word for word in after):
                joined[place + 1 : place + 3] = [" ".join(after)]
    return joined


def _app() -> App:
    app = App(
        name="kseg",
        help="From labelled images to a segmentation model on a phone or a Coral board.\n\n"
        "`kseg VERB --help` tells more.",
        usage="Usage: kseg VERB ...",
        help_format="plaintext",
        help_formatter=_formatter(),
        help_flags=["--help", "-h"],
        version=f"kseg {kseg.__version__}",
        version_flags=["--version"],
        default_parameter=Parameter(negative=(), consume_multiple=False),
        group_parameters=_OPTIONS,
        suppress_keyboard_interrupt=False,
    )
    app["--help"].group = app["--version"].group = _OPTIONS
    for place, (name, verb) in enumerate(VERBS.items()):
        target = f"kseg.cli.{name}:{name}"
        app.command(target, name=name, help=verb.help, group=verb.panel, sort_key=place)
    return app


def _formatter() -> DefaultFormatter:
    """Returns what draws the help: frames around its parts are for terminals."""
    if sys.stdout.isatty():
        return DefaultFormatter()
    blank = Box("\n".join(["    "] * 8) + "\n", ascii=True)
    return DefaultFormatter(panel_spec=PanelSpec(box=blank, padding=(0, 0, 0, 4)))


def _fail(text: str, code: int) -> int:
    say_aside(text, "red")
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ends what is done in order at the first Ctrl-C, and at once at the second."""
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def _silence_libraries() -> None:
    """Keeps what TensorFlow's C++ parts print from burying what kseg has to say.

    Python's own standard error stays; whoever sets TF_CPP_MIN_LOG_LEVEL sees everything.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") != "1":  # TensorFlow itself sets 1, in notebooks
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _hurry_tensorflow() -> None:
    """Has TensorFlow use oneDNN on every x86 CPU; by itself it does on those with AVX512-VNNI only.

    A training step took twice as long without it on a CPU with AVX2 (docs/training.md).
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _exit_code(error: Exception) -> int | None:
    """Returns what an error ends the process with; None for a bug, which wants a traceback."""
    if hasattr(error, "exit_code"):
        return error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _RESOURCES
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's MemoryError
        return _RESOURCES
    return _BAD_INPUT if isinstance(error, _ABOUT_INPUT) else None


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if issubclass(category, UserWarning):  # the others are for programmers
        say_aside(f"warning: {message}", "yellow")
