"""What happens around Keras's training loop."""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np

from kseg.progress import progress
from kseg.training.averaging import WeightAverage, read, synchronize, write
from kseg.training.checkpoints import write_checkpoint
from kseg.training.interruption import Interruption
from kseg.training.pace import Pace
from kseg.training.scoring import score_of
from kseg.training.writing import write_atomically

Columns = dict[str, float | None]
_UNSAVED = 30.0  # seconds of training that a kill may cost, where epochs are shorter


class TrainingDivergedError(RuntimeError):
    """Loss or weights are no longer finite; `exit_code` is what the command line ends with."""

    exit_code = 3


@dataclass
class Keeper(keras.callbacks.Callback):
    """Evaluates the averaged weights, writes checkpoints, history and progress.

    Attributes:
        path: The run folder.
        average: The running average.
        score: Scores the model as it stands, as columns of the history, "mean_iou" among them;
            None where no image was left to judge by.
        length: (epochs of the whole training, steps of an epoch).
        validate_every: Epochs between evaluations.
        files: Names the files of a batch, by its number.
        interruption: Whether somebody asked to stop.
        pace: Of a training by minutes, whose parts stand for epochs.
        patience: Evaluations without a better score after which the training ends; None for never.
        history: A row for each epoch so far.
        batch: Steps done in the epoch that runs; a resumed one may begin in its middle.
        metrics: What Keras had summed up of the loss over those steps; empty at the beginning of
            an epoch.
    """

    path: Path
    average: WeightAverage
    score: Callable[[keras.Model], Columns] | None
    length: tuple[int, int]
    validate_every: int
    files: Callable[[int], str]
    interruption: Interruption
    pace: Pace | None = None
    patience: int | None = None
    history: list[dict] = field(default_factory=list)
    batch: int = 0
    metrics: list[np.ndarray] = field(default_factory=list)
    loss: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()
        self.started = self.saved = time.monotonic()

    @property
    def steps_done(self) -> int:
        """Steps of the whole training that are done."""
        return len(self.history) * self.length[1] + self.batch

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return len(self.history) >= self.length[0] or out_of_patience(self.history, self.patience)

    def on_train_begin(self, logs=None):
        """Shows the progress; that of parts which were added at the end goes on in time."""
        before = getattr(self, "bar", None)
        self.bar = progress(total=self.length[0] * self.length[1], initial=self.steps_done)
        if before is not None:
            self.bar.start_t, self.bar.initial = before.start_t, before.initial

    def on_train_end(self, logs=None):
        """Ends the progress."""
        self.bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock, and gives Keras back what it had summed up before a stop."""
        self.started = time.monotonic()
        if self.metrics:
            write(self.model.metrics[0].variables, self.metrics)
            self.metrics = []
        self.interruption.deferred = True

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar, and saves where somebody asked to stop.

        Raises:
            TrainingDivergedError: If the loss or a weight is not finite.
            KeyboardInterrupt: If somebody asked to stop.
        """
        self.loss = float(logs["loss"])
        if not (np.isfinite(self.loss) and self.average.finite):
            self._raise_diverged()
        self.batch += 1
        self.bar.set_postfix_str(self._summary(), refresh=False)
        self.bar.update()
        if self.interruption.asked:
            synchronize(self.model)
            self._save(read(self.model.variables), None)
            self.interruption.end()

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates where it is time, and writes a checkpoint and the history.

        Raises:
            TrainingDivergedError: If a weight is not finite.
            KeyboardInterrupt: If somebody asked to stop; all steps are saved by then.
        """
        synchronize(self.model)
        seconds = time.monotonic() - self.started
        row = {"epoch": epoch + 1, "step": (epoch + 1) * self.length[1], "loss": self.loss}
        row |= {"mean_iou": None, "pixel_accuracy": None, "seconds": round(seconds, 2)}
        current = read(self.model.variables)
        if self.pace:
            self.length = (self.pace.part_ended(epoch + 1), self.length[1])
        due = (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.length[0]
        begun = time.monotonic()
        if self.score and due:
            row |= self._scores(self.score, current)
        self.interruption.deferred = True  # until all of it is written
        self.history.append(row)
        self.batch, self.metrics = 0, []
        if due or time.monotonic() - self.saved > _UNSAVED:
            self._save(current, row)
        write_atomically(self.path / "history.csv", _table(self.history))
        if self.pace and due:
            self.pace.validated(time.monotonic() - begun)
        if hasattr(self, "bar"):
            self.bar.total = self.length[0] * self.length[1]
            self.bar.set_postfix_str(self._summary())
        if self.finished:
            self.model.stop_training = True
        self.interruption.deferred = False
        self.interruption.end()

    def _scores(
        self, score: Callable[[keras.Model], Columns], current: list[np.ndarray]
    ) -> Columns:
        """Scores the average; the model holds its own weights again afterwards.

        This may take minutes, so a signal does not wait for its end: a checkpoint is written from
        which a resumed training scores again. So it is where scoring fails.
        """
        try:
            self.interruption.deferred = False
            self.interruption.end()
            write(self.model.variables, self.average.values)
            scores = score(self.model)
        except (KeyboardInterrupt, Exception):
            self._save(current, None)
            raise
        write(self.model.variables, current)
        return scores

    def _save(self, weights: list[np.ndarray], row: dict | None) -> None:
        """Writes a checkpoint from which the training goes on exactly."""
        groups = {
            "model": weights,
            "average": read(self.average.values),
            "optimizer": read(self.model.optimizer.variables),
        }
        floats = [a for arrays in groups.values() for a in arrays if a.dtype.kind == "f"]
        if not all(np.isfinite(array).all() for array in floats):
            self._raise_diverged()
        if self.batch:
            # The mean loss; those of several outputs exist from the first step on only.
            groups["metrics"] = read(self.model.metrics[0].variables)
        facts = {
            "epoch": len(self.history),
            "batch": self.batch,
            "loss": self.loss,
            "mean_iou": row and row["mean_iou"],
            "pq": row and row.get("pq"),
            "average_steps": self.average.steps,
            "history": self.history,
            "pace": self.pace and self.pace.facts(),
        }
        self.saved = time.monotonic()
        write_checkpoint(self.path, self.steps_done, groups, facts)

    def _raise_diverged(self) -> NoReturn:
        number = self.average.steps - 1
        start = f", from the weights of {self.path}" if self.history else ""
        finite = np.isfinite(self.loss)
        what = "A weight is no longer finite" if finite else f"The loss is {self.loss}"
        raise TrainingDivergedError(
            f"{what} after {number + 1} steps; try a smaller learning rate, in another "
            f"folder{start}. The last batch was {self.files(number)}."
        )

    def _summary(self):
        epochs, steps = self.length
        scored = [score for row in self.history if (score := score_of(row)) is not None]
        kind = "mIoU" if all(row.get("pq") is None for row in self.history) else "PQ"
        text = "part" if self.pace else "epoch"
        text += f" {min(self.steps_done // steps + 1, epochs)}/{epochs}"
        text += f", loss {self.loss:.3f}"
        return text + (f", val {kind} {scored[-1]:.4f}, best {max(scored):.4f}" if scored else "")


def out_of_patience(history: list[dict], patience: int | None) -> bool:
    """Returns whether the last evaluations of a history, `patience` of them, gained nothing."""
    scores = [score for row in history if (score := score_of(row)) is not None]
    if patience is None or len(scores) <= patience:
        return False
    return max(scores[-patience:]) <= max(scores[:-patience])


def _table(history):
    text = io.StringIO()
    names = dict.fromkeys(name for row in history for name in row)  # not all rows are scored
    writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
