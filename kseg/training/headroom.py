"""How much memory a training needs, compared with what the machine has, before it starts."""

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import keras

from kseg.analysis.graph import trace

_FLOAT = 4  # bytes
# What a step takes per byte of all its activations, and the process beside it.
_STEP_FACTOR = 1.5
_PROCESS = 300_000_000
# Of a pass without training, in which only neighbouring layers' activations are alive.
_LIVE_LAYERS = 4


class MemoryNeededError(RuntimeError):
    """A training needs more memory than there is; `exit_code` is the command line's."""

    exit_code = 5


def available_bytes() -> int | None:
    """Returns the memory that this process can still have, or None where the system does not say.

    It is what Linux calls available, or what is left of the limit of a container or of a group of
    processes, whichever is less.
    """
    found = []
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text()
        if match := re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE):
            found.append(int(match[1]) * 1024)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
            found.append(max(0, left))
    return min(found, default=None)


def training_bytes(model: keras.Model, crop: tuple[int, int], batch_size: int) -> int | None:
    """Returns about what a training step takes, or None for a model that cannot be followed.

    A step keeps every layer's output, in float32, until its gradient is known; the weights come
    with their gradients, their average and the optimizer's two moments.

    Args:
        model: The model.
        crop: (height, width) of training crops.
        batch_size: Images in a step.
    """
    values = _activations(model, crop)
    if values is None:
        return None
    weights = 5 * _FLOAT * model.count_params()
    return int(_STEP_FACTOR * _FLOAT * batch_size * values + weights)


def prediction_bytes(model: keras.Model, size: tuple[int, int]) -> int | None:
    """Returns about what labelling an image of a (height, width) takes, or None as above."""
    try:
        graph = trace(model, size)
    except ValueError:
        return None
    largest = max(math.prod(shape) for shape in graph.shapes)
    return _FLOAT * (_LIVE_LAYERS * largest + model.count_params())


def check_memory(
    model: keras.Model,
    crop: tuple[int, int],
    batch_size: int,
    largest: tuple[int, int],
) -> None:
    """Refuses a training that needs more memory than the machine has.

    Args:
        model: The model.
        crop: (height, width) of training crops.
        batch_size: Images in a step.
        largest: (height, width) at which the largest image is scored.

    Raises:
        MemoryNeededError: If it does; what would fit is named.
    """
    available = None if _on_accelerator() else available_bytes()
    step, score = training_bytes(model, crop, batch_size), prediction_bytes(model, largest)
    if available is None or step is None or score is None:
        return
    room = available - _PROCESS
    if step <= room and score <= room:
        return
    if step > room:
        what = f"a step of {batch_size} crops of {crop[0]} x {crop[1]}"
    else:
        what = f"scoring an image of {largest[0]} x {largest[1]}"
    raise MemoryNeededError(
        f"The training needs about {read_well(max(step, score))} of memory for {what}, beside "
        f"{read_well(_PROCESS)} for itself, and {read_well(available)} are free. "
        f"{_what_fits(model, crop, batch_size, room)}"
    )


@contextlib.contextmanager
def telling_of_memory(crop: tuple[int, int], batch_size: int) -> Iterator[None]:
    """Says what to do where memory runs out nevertheless.

    Args:
        crop: (height, width) of training crops.
        batch_size: Images in a step.

    Raises:
        MemoryNeededError: In place of what the backend raises, which is pages long.
    """
    try:
        yield
    except Exception as error:
        exhausted = type(error).__name__ == "ResourceExhaustedError"
        exhausted |= isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        if not exhausted:
            raise
        half = _smaller(crop, 0.5)
        raise MemoryNeededError(
            f"The memory ran out in a step of {batch_size} crops of {crop[0]} x {crop[1]}. Take "
            f"--batch-size {max(1, batch_size // 2)}, --crop {half[0]} {half[1]}, or a smaller "
            "--size. What was saved is whole; a run goes on with --resume."
        ) from None


def _what_fits(model, crop, batch_size, room) -> str:
    """Returns the sizes and batch sizes that would fit."""
    need = training_bytes(model, crop, batch_size)
    options = []
    smaller = batch_size
    while smaller > 1 and training_bytes(model, crop, smaller) > room:
        smaller //= 2
    if smaller < batch_size and training_bytes(model, crop, smaller) <= room:
        options.append(f"--batch-size {smaller}")
    size = crop
    for part in range(95, 0, -5):
        size = _smaller(crop, part / 100)
        if (training_bytes(model, size, batch_size) or need) <= room:
            options.append(f"--size {size[0]} {size[1]}")
            options.append(f"--crop {size[0]} {size[1]} (with a --size, if scoring is too large)")
            break
    if not options:
        return "Not even small crops would fit: take a smaller network."
    return f"Take {', or '.join(options)}."


def read_well(count: int) -> str:
    """Returns bytes in the unit that suits them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _smaller(crop: tuple[int, int], factor: float) -> tuple[int, int]:
    height, width = (max(32, int(side * factor) // 32 * 32) for side in crop)
    return height, width


def _activations(model: keras.Model, size: tuple[int, int]) -> int | None:
    """Returns how many values all layers give for one image."""
    try:
        graph = trace(model, size)
    except ValueError:
        return None
    return sum(math.prod(shape) for shape in graph.shapes)


def _on_accelerator() -> bool:
    """Returns whether steps run on a GPU or TPU, whose memory is another."""
    return any(not name.startswith("cpu") for name in keras.distribution.list_devices())
