"""Trains a network of the zoo again from ImageNet's weights, with the commands in its record.

    python scripts/reproduce.py atrous_fpn_camvid camvid.yaml --out runs

It prints the mean IoU on the validation images beside the one in the record. Runs that are in the
folder already are resumed, or used as they are if they are complete, so that networks which start
with the same commands share those runs. A remark behind a command, such as that it was interrupted,
is not heeded.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from publish import adjust, log_weights

import kseg
from kseg.models import TRAINED


def main() -> None:
    """Runs one command after the other, and scores the last run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=TRAINED)
    parser.add_argument("data", help="data set to use in place of the commands' camvid.yaml")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        help="folder to use in place of the commands' runs/",
    )
    parser.add_argument(
        "--final",
        action="store_true",
        help="also run the commands that add the validation images",
    )
    arguments = parser.parse_args()
    record = TRAINED[arguments.name]
    last = [_train(command, arguments) for command in record.commands][-1]
    data, size = kseg.load_data(arguments.data), record.working_size
    model = kseg.load(last)
    if record.logit_adjustment:
        adjust(model, record.logit_adjustment * log_weights(data))
    score = kseg.evaluate(model, data, size=size).mean_iou
    print(f"{arguments.name}: mean IoU {score:.4f}; the record has {record.mean_iou:.4f}")
    for command in record.final_commands if arguments.final else ():
        _train(command, arguments)


def _train(command: str, arguments: argparse.Namespace) -> Path:
    """Runs `kseg train`, or `python scripts/...`, and returns the run folder."""
    program, what, _, *options = shlex.split(command, comments=True)
    options = [
        str(arguments.out / word.removeprefix("runs/")) if word.startswith("runs/") else word
        for word in options
    ]
    print(shlex.join([program, what, arguments.data, *options]), flush=True)
    words = [what, arguments.data, *options]
    if program == "kseg":
        words = ["-c", "from kseg.cli import run; run()", *words, "--resume"]
    subprocess.run([sys.executable, *words], check=True)
    return Path(options[options.index("--out") + 1])


if __name__ == "__main__":
    main()
