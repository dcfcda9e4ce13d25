"""What happens around Keras's training loop."""

import csv
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from kseg.metrics import Scores
from kseg.training.run import write_atomically, write_checkpoint


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a number; `exit_code` is what the command line ends with."""

    exit_code = 3


class WeightAverage(keras.callbacks.Callback):
    """Keeps a running average of all variables, batch-norm statistics included.

    Keras's own `use_ema` leaves those statistics out. The decay grows from 0.1 to its value over
    the first steps, so that the start is forgotten.
    """

    def __init__(self, decay: float):
        """Makes the average.

        Args:
            decay: Share of the old average that a step keeps; 0 makes the average the weights.
        """
        super().__init__()
        self.decay = decay
        self.steps = 0
        self.values: list[np.ndarray] = []

    def on_train_begin(self, logs=None):
        """Starts from the model's variables, unless an average was restored."""
        if not self.values:
            self.values = read(self.model.variables)

    def on_train_batch_end(self, batch, logs=None):
        """Takes in the weights after a step."""
        synchronize(self.model)
        self.steps += 1
        decay = min(self.decay, self.steps / (9 + self.steps))
        for index, variable in enumerate(self.model.variables):
            new = np.asarray(variable)
            if new.dtype.kind == "f":
                self.values[index] += (1 - decay) * (new - self.values[index])
                if new.ndim > 1:  # in a kernel, an exact 0 is a pruned weight, gone at once
                    self.values[index][new == 0] = 0
            else:  # states of random generators
                self.values[index] = new.copy()


@dataclass
class Keeper(keras.callbacks.Callback):
    """Evaluates the averaged weights, writes checkpoints, history and progress.

    Attributes:
        path: The run folder.
        average: The running average.
        score: Scores the model as it stands; None where no image was left to judge by.
        epochs: Of the whole training.
        steps: Of an epoch.
        validate_every: Epochs between evaluations.
        history: A row for each epoch so far.
    """

    path: Path
    average: WeightAverage
    score: Callable[[keras.Model], Scores] | None
    epochs: int
    steps: int
    validate_every: int
    history: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def on_train_begin(self, logs=None):
        """Shows the progress bar."""
        self.bar = tqdm(
            total=self.epochs * self.steps,
            initial=len(self.history) * self.steps,
            unit="step",
            # A log file wants a line now and then, not ten a second.
            mininterval=0.2 if sys.stderr.isatty() else 60,
        )

    def on_train_end(self, logs=None):
        """Ends the progress bar."""
        self.bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar.

        Raises:
            TrainingDivergedError: If the loss is not finite.
        """
        self.loss = float(logs["loss"])
        if not np.isfinite(self.loss):
            start = f", from the weights of {self.path}" if self.history else ""
            raise TrainingDivergedError(
                f"The loss is {self.loss} after {self.bar.n + 1} steps; try a smaller learning "
                f"rate, in another folder{start}."
            )
        self.bar.set_postfix_str(self._summary(), refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates where it is time, and writes a checkpoint and the history."""
        synchronize(self.model)
        seconds = time.monotonic() - self.started
        row = {"epoch": epoch + 1, "step": (epoch + 1) * self.steps, "loss": self.loss}
        row |= {"mean_iou": None, "pixel_accuracy": None, "seconds": round(seconds, 2)}
        current = read(self.model.variables)
        due = (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs
        if self.score and due:
            write(self.model.variables, self.average.values)
            scores = self.score(self.model)
            write(self.model.variables, current)
            row |= {"mean_iou": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy}
        self.history.append(row)
        groups = {
            "model": current,
            "average": self.average.values,
            "optimizer": read(self.model.optimizer.variables),
        }
        facts = {
            "epoch": epoch + 1,
            "mean_iou": row["mean_iou"],
            "average_steps": self.average.steps,
            "history": self.history,
        }
        write_checkpoint(self.path, row["step"], groups, facts)
        write_atomically(self.path / "history.csv", _table(self.history))
        self.bar.set_postfix_str(self._summary())

    def _summary(self):
        scored = [row["mean_iou"] for row in self.history if row["mean_iou"] is not None]
        text = f"epoch {min(self.bar.n // self.steps + 1, self.epochs)}/{self.epochs}"
        text += f", loss {self.loss:.3f}"
        return text + (f", val mIoU {scored[-1]:.4f}, best {max(scored):.4f}" if scored else "")


def _table(history):
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def read(variables: list) -> list[np.ndarray]:
    """Returns copies of variables' values."""
    return [np.asarray(variable).copy() for variable in variables]


def write(variables: list, values: list[np.ndarray]) -> None:
    """Sets variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def synchronize(model: keras.Model) -> None:
    """Brings a model's variables up to date; on JAX, training keeps them elsewhere."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
