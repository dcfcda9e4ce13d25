"""Following a training in TensorBoard, Weights & Biases or MLflow, each by its own library.

A tracker is a row of `TRACKERS`. All take what the run folder holds, so they show what it shows.
"""

import csv
import importlib.util
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from kseg.safe_files import read_json, read_text
from kseg.training.averaging import synchronize
from kseg.training.run import open_run
from kseg.training.writing import write_atomically

_IDS = "tracked.json"  # what a tracker calls the run, so that a resumed one goes on in it
_SCORES = ("iou", "pq", "ap")  # "iou NAME" and "pq NAME" of each class; "pq" and "ap" of objects
_LIMIT = 10_000
_HISTORY_LIMIT = 1_000_000_000


@dataclass(frozen=True)
class Log:
    """Where a tracker writes to.

    Attributes:
        number: Takes the number of a step, a name and a value.
        picture: Takes the number of a step, a name and a PNG file.
        close: Writes what is left.
        id: What the tracker calls the run; "" where it goes by the folder.
    """

    number: Callable[[int, str, float], None]
    picture: Callable[[int, str, Path], None]
    close: Callable[[], None]
    id: str = ""


@dataclass(frozen=True)
class Tracker:
    """A way to follow a training.

    Attributes:
        module: The library.
        package: What pip installs for it, if it is not installed as an extra of kseg.
        begin: Opens the log of a run folder with the settings of its training; of a resumed one
            with its id too.
        help: What to do where it cannot be opened.
    """

    module: str
    package: str
    begin: Callable[[Path, dict[str, Any], str], Log]
    help: str


def _tensorboard(path: Path, settings: dict[str, Any], known: str) -> Log:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(path / "tensorboard"))
    if not known:
        rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
        writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def number(step: int, name: str, value: float) -> None:
        writer.add_scalar(name, value, step)

    def picture(step: int, name: str, file: Path) -> None:
        with Image.open(file) as image:
            writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")
        writer.flush()

    return Log(number, picture, writer.close, "tensorboard")


def _wandb(path: Path, settings: dict[str, Any], known: str) -> Log:
    import wandb

    run = wandb.init(
        project="kseg",
        name=path.resolve().name,
        dir=str(path.resolve()),
        config=settings,
        id=known or None,
        resume="allow" if known else None,
    )

    def number(step: int, name: str, value: float) -> None:
        run.log({name: value}, step=step)

    def picture(step: int, name: str, file: Path) -> None:
        run.log({name: wandb.Image(str(file))}, step=step)

    return Log(number, picture, run.finish, run.id)


def _mlflow(path: Path, settings: dict[str, Any], known: str) -> Log:
    from mlflow import MlflowClient

    client = MlflowClient()
    if not known:
        found = client.get_experiment_by_name("kseg")
        group = found.experiment_id if found else client.create_experiment("kseg")
        known = client.create_run(group, run_name=path.resolve().name).info.run_id
        for name, value in settings.items():
            client.log_param(known, name, str(value))
    run = known

    def number(step: int, name: str, value: float) -> None:
        # Its names are of few letters.
        client.log_metric(run, re.sub(r"[^\w\-. /]", "_", name), value, step=step)

    def picture(step: int, name: str, file: Path) -> None:
        with Image.open(file) as image:
            client.log_image(run, np.asarray(image.convert("RGB")), key=name, step=step)

    return Log(number, picture, lambda: client.set_terminated(run), run)


TRACKERS = {
    "tensorboard": Tracker("tensorboardX", "tensorboardX", _tensorboard, "look at RUN/tensorboard"),
    "wandb": Tracker(
        "wandb", "wandb", _wandb, "log in with `wandb login`, or set WANDB_MODE=offline"
    ),
    "mlflow": Tracker("mlflow", "mlflow", _mlflow, "set MLFLOW_TRACKING_URI to a server or a file"),
}


class Tracking(keras.callbacks.Callback):
    """Logs loss, learning rate, mean IoU, the IoU of each class and the preview of a training.

    Where objects are told apart, panoptic quality and average precision too.

    It follows the run folder: each row of its history is logged once, also over a stop and a
    resumed training. If the tracker fails on the way, the training goes on without it.
    """

    def __init__(self, name: str, path: str | Path):
        """Makes the callback.

        Args:
            name: A row of `TRACKERS`.
            path: The run folder.

        Raises:
            ImportError: If the tracker's library is not installed.
        """
        super().__init__()
        self.name, self.tracker, self.path = name, TRACKERS[name], Path(path)
        if importlib.util.find_spec(self.tracker.module) is None:
            raise ImportError(
                f"--track {name} needs {self.tracker.module}: pip install 'kseg[{name}]', or "
                f"pip install {self.tracker.package}."
            )
        self.log: Log | None = None
        self.failed = False
        self.rate: float | None = None
        self.logged = max((row["epoch"] for row in _history(self.path)), default=0)

    def on_train_begin(self, logs=None):
        """Opens the log.

        Raises:
            ValueError: If the tracker cannot begin.
        """
        if self.log is not None or self.failed:
            return
        ids = read_json(self.path / _IDS, limit=_LIMIT) if (self.path / _IDS).exists() else {}
        record = open_run(self.path).record
        settings = {"network": (record["spec"] or {}).get("builder"), **record["recipe"]}
        try:
            self.log = self.tracker.begin(self.path, settings, ids.get(self.name, ""))
        except Exception as error:  # whatever its library, a server or the network says
            what = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"--track {self.name}: {what[0].rstrip('.')}; {self.tracker.help}."
            ) from error
        write_atomically(self.path / _IDS, json.dumps({**ids, self.name: self.log.id}))

    def on_epoch_begin(self, epoch, logs=None):
        """Logs the rows that were written since."""
        self._follow()

    def on_epoch_end(self, epoch, logs=None):
        """Notes the rate; the row of the epoch is written only after this."""
        synchronize(self.model)
        chosen = self.model.optimizer
        each = getattr(chosen, "optimizers", [chosen])
        self.rate = max(float(one.learning_rate) for one in each)

    def on_train_end(self, logs=None):
        """Logs the last rows."""
        self._follow()

    def close(self) -> None:
        """Ends the log."""
        log, self.log = self.log, None
        if log is not None:
            self._try(log.close)

    def _follow(self) -> None:
        rows = [row for row in _history(self.path) if row["epoch"] > self.logged]
        for row in rows if self.log is not None else ():
            self._try(self._add, self.log, row)
            self.logged = row["epoch"]

    def _add(self, log: Log, row: dict[str, Any]) -> None:
        step, rate = int(row["step"]), self.rate
        numbers = {"loss": row["loss"], "learning rate": rate, "val/mean IoU": row["mean_iou"]}
        numbers["val/pixel accuracy"] = row["pixel_accuracy"]
        numbers |= {f"val/{k}": v for k, v in row.items() if k.split(" ")[0] in _SCORES}
        for name, value in numbers.items():
            if value is not None and np.isfinite(value):
                log.number(step, name, value)
        preview = self.path / "preview.png"
        if row["mean_iou"] is not None and preview.exists():
            log.picture(step, "preview", preview)

    def _try(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:  # a server that is gone must not end a training of hours
            self.log, self.failed = None, True
            warnings.warn(
                f"--track {self.name} ends here, the training goes on: {error}", stacklevel=2
            )


def _history(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a run's history.csv; None stands for what was not measured."""
    file = path / "history.csv"
    if not file.exists():
        return []
    rows = csv.DictReader(read_text(file, limit=_HISTORY_LIMIT).splitlines())
    return [{k: float(v) if v else None for k, v in row.items()} for row in rows]
