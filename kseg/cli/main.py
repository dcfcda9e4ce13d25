"""Arguments, errors and exit codes; what the verbs do is in `kseg.cli.commands`.

Nothing heavy is imported before a verb runs, so that `kseg --help` answers at once.
"""

import argparse
import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from kseg.cli.web import add_web

_BAD_INPUT, _RESOURCES, _INTERRUPTED = 2, 5, 130
_ABOUT_INPUT = (ValueError, TypeError, ImportError, OSError)
_MODEL = "a run folder, a .tflite file, or the name of a trained model (see `kseg models`)"


def run() -> None:
    """Runs the command line as a process of its own: the console script."""
    _silence_libraries()
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        0 done; 2 bad input; 3 a gate failed; 4 an unreadable model file; 5 no disk or memory;
        130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    warnings.showwarning = _show_warning
    try:
        _verb(arguments.verb)(arguments)
    except BrokenPipeError:  # as in `kseg check FILE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("kseg: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except MemoryError:
        print("kseg: out of memory; try a smaller --batch-size or --size", file=sys.stderr)
        return _RESOURCES
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"kseg: {error}", file=sys.stderr)
        return code
    return 0


def _verb(name: str) -> Callable[[argparse.Namespace], None]:
    if name == "check":  # answers in under a second, without Keras
        from kseg.cli.check import check_file

        return check_file
    from kseg.cli import commands

    return getattr(commands, name)


def _silence_libraries() -> None:
    """Keeps what TensorFlow's C++ parts print from burying what kseg has to say.

    Python's own standard error stays; whoever sets TF_CPP_MIN_LOG_LEVEL sees everything.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


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
        print(f"kseg: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kseg",
        description="From labelled images to a segmentation model on a phone or a Coral board.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_train(verbs.add_parser("train", help="train a network on labelled images"))
    _add_evaluate(verbs.add_parser("evaluate", help="score a model on labelled images"))
    _add_predict(verbs.add_parser("predict", help="label images"))
    _add_export(verbs.add_parser("export", help="make a verified .tflite file"))
    _add_check(verbs.add_parser("check", help="say which ops the Edge TPU would run, and why"))
    _add_benchmark(verbs.add_parser("benchmark", help="time .tflite files"))
    add_web(verbs.add_parser("web", help="make a web page that runs a model on a camera"))
    _add_describe(verbs.add_parser("describe", help="count what a network costs"))
    models = verbs.add_parser("models", help="list networks, backbones and trained models")
    models.add_argument(
        "--costs", action="store_true", help="print README's table of costs instead"
    )
    _add_json(models)
    demo = verbs.add_parser("demo", help="the whole way on generated images, in minutes")
    demo.add_argument("--out", type=Path, default=Path("kseg-demo"), help="folder to write to")
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DATA", help="YAML file of the data set")
    parser.add_argument("--model", help="network (default: that of --weights RUN, or fcn8s)")
    _add_network(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder")
    _add_size(parser, "--size", "working size that images are fitted into")
    _add_size(parser, "--crop", "training crops, multiples of 32")
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--epochs", type=int, default=30, help="times each image is seen (30)")
    long.add_argument("--minutes", type=float, help="as many epochs as fit into this time")
    parser.add_argument("--batch-size", type=int, default=8, help="images in a step (8)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument(
        "--weights",
        help="where to start: imagenet, none, or a run folder or trained model (default: imagenet, "
        "none for a network without a backbone)",
    )
    parser.add_argument(
        "--teacher",
        metavar="M",
        help="run folder or trained model of the same classes, whose scores are learnt beside the "
        "labels",
    )
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest rate (2e-3)")
    parser.add_argument(
        "--freeze",
        metavar="ENDPOINT",
        help="keep the backbone as it is up to this endpoint (c1..c5); c2 saves a fifth of a step",
    )
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting of kseg.Recipe, such as color=0.1; may be repeated",
    )
    parser.add_argument("--validate-every", type=int, default=1, help="epochs (1)")
    parser.add_argument(
        "--with-val",
        action="store_true",
        help="train on the validation images too, for the last training of all; nothing is scored",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument("data", type=Path, metavar="DATA", help="YAML file of the data set")
    parser.add_argument("--split", default="val", help="train, val or test (val)")
    _add_size(parser, "--size", "working size (default: the run's)")
    geometry = parser.add_mutually_exclusive_group()
    _add_size(geometry, "--pad-to", "pad images at the bottom and right first")
    _add_size(geometry, "--crop-to", "cut images at the bottom and right first")
    _add_json(parser)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="images")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="folder (.)")
    _add_size(parser, "--size", "working size (default: the run's)")
    _add_delegate(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or the name of a trained model")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .tflite file")
    parser.add_argument(
        "--data",
        type=Path,
        help="YAML file of a data set: calibrates on its train images, scores on its val images",
    )
    parser.add_argument(
        "--target",
        default="android",
        help="android, edgetpu, ethos-u55-128, ethos-u65-256 or ethos-u85-256 (android)",
    )
    parser.add_argument(
        "--quantization",
        choices=("int8", "int16x8", "float16", "dynamic_range", "none"),
        default="int8",
        help="default: int8, every number an integer; int16x8 keeps 16 bits between layers",
    )
    parser.add_argument(
        "--per-tensor",
        action="store_true",
        help="int8 with one scale for each kernel, for accelerators that want that",
    )
    parser.add_argument("--head", default="logits", help="logits, argmax or softmax (logits)")
    parser.add_argument(
        "--stride",
        type=int,
        default=1,
        help="end before the last upsampling, at one output for S x S pixels (1)",
    )
    parser.add_argument(
        "--rescue",
        action="store_true",
        help="where int8 loses too much, keep the noisiest layers in float (android only)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="leave out what other heads and strides would cost, and which layers are noisiest",
    )
    parser.add_argument(
        "--qat-epochs",
        type=int,
        default=0,
        metavar="N",
        help="train N epochs more with the rounding of int8 first (quantization-aware; 0)",
    )
    _add_size(parser, "--size", "size of the file's input (default: the run's, or the images')")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    _add_json(parser)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=".tflite file")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also run Google's edgetpu_compiler, where it is on PATH, and compare",
    )
    _add_json(parser)


def _add_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".tflite files")
    parser.add_argument("--threads", type=int, default=1, help="of LiteRT (default: 1)")
    parser.add_argument("--runs", type=int, default=30, help="timed runs (default: 30)")
    _add_delegate(parser)
    _add_json(parser)


def _add_describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="M", help="a network, a run folder, or the name of a trained model"
    )
    _add_network(parser)
    parser.add_argument("--num-classes", type=int, help="of a network (default: 21)")
    _add_size(parser, "--size", "size of the image (default: the run's, or 360 480)")
    parser.add_argument(
        "--effective",
        action="store_true",
        help="measure the effective receptive fields too (a network's with random weights)",
    )
    parser.add_argument("--layers", action="store_true", help="a line for each layer too")
    _add_json(parser)


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", help="default: the network's own; see `kseg models`")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another argument of the network's builder, such as filters=128; may be repeated",
    )


def _add_size(parser, flag: str, text: str) -> None:
    parser.add_argument(flag, type=int, nargs=2, metavar=("H", "W"), help=text)


def _add_delegate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--delegate", metavar="LIB", help="library that runs the file, such as libedgetpu.so.1"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
