"""Training on several devices: Keras's DataParallel on JAX, MirroredStrategy on TensorFlow.

A model that is built within `on_devices` has its variables on all of them. `kseg.fit` finds out by
`Spread.of`, trains there, and leaves the model on one device. Each batch is divided among the
devices; loss, gradient and norms are those of the whole batch, so a training differs from one on
one device in rounding alone.
"""

import atexit
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.training.backends import part_of_backend
from kseg.training.recipe import Recipe

# What tells a process that it is one of several: Keras's own variable, and those of clusters that
# JAX knows.
_PROCESSES = ("KERAS_DISTRIBUTION_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@contextlib.contextmanager
def on_devices(devices: int | str = "all") -> Iterator[None]:
    """Builds a model on several devices, on which `kseg.fit` then trains it.

    On several hosts, the same program runs on each, with JAX: Keras's variables
    KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and
    KERAS_DISTRIBUTION_PROCESS_ID say which is which, or Slurm or MPI does.

    Example:
        with kseg.on_devices("all"):
            model = kseg.build_fcn8s(num_classes=11)
        kseg.fit(model, data, run_dir="runs/street")

    Args:
        devices: How many of this host's GPUs, or of its CPUs where it has none; "all" of them.

    Raises:
        ValueError: If there are not as many, or the backend cannot do it.
    """
    if devices != "all" and (not isinstance(devices, int) or devices < 1):
        raise ValueError(f"devices must be all or a number from 1; got {devices!r}.")
    if devices == 1:  # though a cluster may have started it as one of many
        yield
        return
    several = _several_hosts()
    backend = keras.backend.backend()
    if (backend_part := part_of_backend()) is not None:
        if several:
            raise ValueError(
                "TensorFlow trains on one host: its MultiWorkerMirroredStrategy does not work "
                "with Keras 3 (keras#20585); on several hosts train with JAX, KERAS_BACKEND=jax."
            )
        with backend_part.mirrored(devices):
            yield
        return
    if backend != "jax":
        raise ValueError(f"kseg trains on several devices with JAX or TensorFlow; got {backend}.")
    if several:
        if devices != "all":
            raise ValueError(f"On several hosts, devices must be all; got {devices}.")
        _join_hosts()
    chosen = first_of(keras.distribution.list_devices(), devices)
    if len(chosen) == 1:
        yield
        return
    with keras.distribution.DataParallel(devices=chosen).scope():
        yield


def first_of(found: list[str], devices: int | str) -> list[str]:
    """Returns the first of the devices that there are.

    Args:
        found: Names of all devices.
        devices: How many; "all" of them.

    Raises:
        ValueError: If there are not as many.
    """
    count = len(found) if devices == "all" else int(devices)
    if count > len(found):
        raise ValueError(
            f"devices must be at most {len(found)}, as many as there are; got {count}."
        )
    return found[:count]


def _several_hosts() -> bool:
    counts = [os.environ.get(name, "") for name in _PROCESSES]
    workers = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}).get("worker", [])
    return len(workers) > 1 or any(count.isdecimal() and int(count) > 1 for count in counts)


def _join_hosts() -> None:
    import jax

    if jax.distributed.is_initialized():
        return
    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
        keras.distribution.initialize()
    else:
        jax.distributed.initialize()  # Slurm and MPI say the rest


@dataclass(frozen=True)
class Spread:
    """Over what a model is spread.

    Attributes:
        replicas: How many devices it is on, over all hosts.
        processes: On how many hosts.
        process: Which of them this is, from 0.
        what: Keras's distribution, or TensorFlow's strategy; None for one device.
    """

    replicas: int = 1
    processes: int = 1
    process: int = 0
    what: Any = None

    @classmethod
    def of(cls, model: keras.Model) -> "Spread":
        """Returns over what a model was built."""
        if not isinstance(model, keras.Model):
            return cls()
        if keras.backend.backend() == "tensorflow":
            strategy = model._distribute_strategy
            return cls(strategy.num_replicas_in_sync, what=strategy) if strategy else cls()
        layouts = [getattr(variable, "_layout", None) for variable in model.variables]
        if keras.backend.backend() != "jax" or not layouts or layouts[0] is None:
            return cls()
        import jax

        mesh = layouts[0].device_mesh
        made = keras.distribution.DataParallel(device_mesh=mesh, auto_shard_dataset=False)
        return cls(mesh.devices.size, jax.process_count(), jax.process_index(), made)

    def check(self, recipe: Recipe) -> None:
        """Refuses a recipe that cannot be followed on these devices.

        Raises:
            ValueError: If it cannot.
        """
        if recipe.batch_size % self.replicas:
            up = recipe.batch_size + -recipe.batch_size % self.replicas
            raise ValueError(
                f"batch_size must be a multiple of the {self.replicas} devices, among which it is "
                f"divided; got {recipe.batch_size}. Take {up}."
            )
        if self.processes > 1 and recipe.minutes is not None:
            raise ValueError(
                "minutes is for one host: the clocks of several would make different steps. Say "
                "epochs."
            )

    def folder(self, path: Path, resume: bool) -> Path:
        """Returns the run folder of this process: all but the first write to one of their own.

        All processes compute the same, so what the first one writes is the run.

        Args:
            path: The run folder, which all hosts must see to resume it.
            resume: Whether it holds the beginning.
        """
        if self.process == 0:
            return path
        own = Path(tempfile.mkdtemp(prefix="kseg-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        if resume and path.is_dir():
            skipped = shutil.ignore_patterns(".*", "run.lock")
            shutil.copytree(path, own, dirs_exist_ok=True, ignore=skipped)
        return own

    def part(self, batch_size: int) -> slice:
        """Returns which images of a batch this process prepares."""
        if self.processes == 1:
            return slice(None)
        share = batch_size // self.processes
        return slice(self.process * share, (self.process + 1) * share)

    @contextlib.contextmanager
    def steps(self, model: keras.Model) -> Iterator[None]:
        """Takes steps of a training where the model is."""
        if self.what is None:
            yield
            return
        model.predict_function = None  # it is made anew, for one device
        with self.scope() if keras.backend.backend() == "jax" else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def training(self, model: keras.Model) -> Iterator[None]:
        """Trains a model where it is; afterwards it is on one device."""
        try:
            with self.steps(model):
                yield
        finally:
            if self.what is not None:
                _settle(model)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context in which variables are made on all devices."""
        return contextlib.nullcontext() if self.what is None else self.what.scope()


@contextlib.contextmanager
def alone(model: keras.Model) -> Iterator[None]:
    """Puts a model on one device for a while, so that it labels single images."""
    spread = Spread.of(model)
    if spread.what is None:
        yield
        return
    if keras.backend.backend() == "tensorflow":
        model._distribute_strategy = None
        try:
            yield
        finally:
            model._distribute_strategy = spread.what
        return
    layouts = [variable._layout for variable in model.variables]
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    _settle(model)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
        for variable, layout in zip(model.variables, layouts, strict=True):
            variable._layout = layout
            variable.assign(np.asarray(variable.value))


def _settle(model: keras.Model) -> None:
    """Leaves a model on the first device alone."""
    if keras.backend.backend() == "tensorflow":
        model._distribute_strategy = None
        return
    import jax

    for variable in model.variables:
        value = np.asarray(variable.value)
        variable._layout = None
        variable._value = jax.device_put(value, jax.local_devices()[0])
