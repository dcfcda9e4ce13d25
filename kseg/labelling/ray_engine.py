"""Ray Data as the engine of a job: its scheduling, its retries, none of our own."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseg.labelling.jobs import Done, Work
from kseg.labelling.pieces import Piece, as_columns, batches_of

_BATCHES = 8  # of a block, which Ray repeats where a worker died; what is done in it is skipped
# A worker has one core; TensorFlow would take all of them for each worker.
_ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_HANDED_ON = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", *_ONE_CORE)


def label_on_ray(
    pieces: Sequence[Piece],
    work: Work,
    *,
    address: str | None = None,
    workers: int | None = None,
    batch_size: int = 32,
) -> Iterator[Done]:
    """Labels images on a Ray cluster.

    Args:
        pieces: The images.
        work: What is done with a batch.
        address: Of the cluster, as for `ray.init`; None takes the one that RAY_ADDRESS names, or
            starts one on this computer for as long as the job takes.
        workers: How many processes label; None takes one for each GPU, or else each core.
        batch_size: Images of a batch.

    Yields:
        What became of each image, in no order.

    Raises:
        ImportError: If Ray is not installed.
        ValueError: If there is no cluster at the address.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("--engine ray needs Ray: pip install 'kseg[ray]'.") from error

    started = not ray.is_initialized()
    if started:
        _start(ray, address)
    try:
        resources = ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        count = workers or gpus or max(1, cores)
        tables = [_table(part) for part in batches_of(pieces, _BATCHES * batch_size)]
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        labelled = ray.data.from_arrow(tables).map_batches(
            Worker,
            fn_constructor_args=(work,),
            batch_size=batch_size,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(count, max(1, len(tables)))),
            num_cpus=min(1, cores / count),
            num_gpus=gpus / count if gpus else None,
        )
        for row in labelled.iter_rows():
            yield Done(row["name"], row["error"], bool(row["skipped"]), row["part"])
    finally:
        if started:
            ray.shutdown()


class Worker:
    """The work, in the shape that Ray Data wants: columns in, columns out."""

    def __init__(self, work: Work):
        """Keeps the work; Ray calls this once in each worker."""
        self.work = work

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Labels a batch of images, given as columns of `Piece`."""
        columns = (batch[name].tolist() for name in Piece._fields)
        done = self.work([Piece(*fields) for fields in zip(*columns, strict=True)])
        return {
            name: np.array(column, bool if name == "skipped" else object)
            for name, column in zip(Done._fields, zip(*done, strict=True), strict=True)
        }


def _table(pieces: Sequence[Piece]) -> Any:
    import pyarrow

    return pyarrow.table({name: list(c) for name, c in as_columns(pieces).items()})


def _start(ray: Any, address: str | None) -> None:
    given = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    options["runtime_env"] = {"env_vars": {**_ONE_CORE, **given}}
    if address is None and "RAY_ADDRESS" not in os.environ:
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"There is no Ray cluster at {address or 'this computer'}: {why}"
        ) from None
