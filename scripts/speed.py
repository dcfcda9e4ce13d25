"""Measures what a training step costs on this machine, for the table in docs/training.md.

    python scripts/speed.py camvid.yaml

Each row is a process of its own, and all rows are measured in turn, in rounds, so that a busy
moment of the machine affects all of them. The first row is how `kseg.fit` trains; the others change
one thing each.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

from tabulate import tabulate

_ROWS = {
    "as it is": "`kseg.fit`: no XLA, batch norms as one op, one worker",
    "prepared": "the same batch every time: no image is prepared",
    "workers": "`workers=2`",
    "norms": "Keras's batch norms, a dozen ops each",
    "xla": "`jit_compile=True`, with Keras's batch norms",
    "freeze": "`freeze='c2'` (`--freeze c2`)",
    "thread": "one thread (`TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1`)",
    "plain": "without oneDNN (`TF_ENABLE_ONEDNN_OPTS=0`)",
}
_ENVIRONMENT = {
    "thread": {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "plain": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
_WARM = 3


def main() -> None:
    """Measures, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="atrous_fpn")
    parser.add_argument("--crop", type=int, nargs=2, default=(352, 480), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW")
    parser.add_argument("--row", choices=_ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(_steps(arguments)))
        return
    seconds: dict[str, list[float]] = {name: [] for name in arguments.rows}
    for _ in range(arguments.rounds):
        for name in seconds:
            seconds[name] += _child(name)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = medians[arguments.rows[0]]
    rows = [[_ROWS[name], f"{median / first:.2f}"] for name, median in medians.items()]
    print(tabulate(rows, ["step", "time"], tablefmt="github", disable_numparse=True))
    print(f"1.00 is {first:.2f} s on {os.cpu_count()} cores")


def _child(row: str) -> list[float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--row", row]
    # As `kseg train` sets it.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", **_ENVIRONMENT.get(row, {})}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _steps(arguments: argparse.Namespace) -> list[float]:
    """Returns the seconds of each step, the first few left out."""
    import keras

    import kseg
    from kseg.data import check_data
    from kseg.models import build
    from kseg.training.compile import compile_model, frozen, make_loss

    parts = importlib.import_module("kseg.training.fitting")
    row, data = arguments.row, kseg.load_data(arguments.data)
    recipe = kseg.Recipe(
        crop=tuple(arguments.crop),
        batch_size=arguments.batch_size,
        workers=2 if row == "workers" else 1,
        freeze="c2" if row == "freeze" else None,
    )
    model = build(arguments.model, {"num_classes": data.classes.num_classes})
    split = parts.training_split(data, recipe)
    batches = parts.Stream(split, 0, recipe.workers)
    if row == "prepared":
        batches = (batch for batch in itertools.repeat(split[0]))  # Keras takes no other iterator
    plain_norms = row in ("norms", "xla")
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.monotonic())
    )
    with (
        frozen(model, recipe),
        contextlib.nullcontext() if plain_norms else parts.quick_norms(model),
    ):
        loss = make_loss(recipe, check_data(data).pixels["train"])
        compile_model(model, recipe, len(split), loss)
        model.jit_compile = row == "xla"
        model.fit(batches, steps_per_epoch=arguments.steps + _WARM, callbacks=[clock], verbose=0)
    return [after - before for before, after in zip(ends[_WARM - 1 :], ends[_WARM:], strict=False)]


if __name__ == "__main__":
    main()
