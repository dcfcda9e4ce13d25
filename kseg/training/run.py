"""The run folder: what was trained, how, and the model it leads to."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.classes import Classes
from kseg.hub import fetch, is_on_hub
from kseg.models import TRAINED, TrainedRecord, build
from kseg.training.checkpoints import read_checkpoint
from kseg.training.digests import digest_of, wiring_of
from kseg.training.run_schema import DamagedFileError, read_run_record, sealed
from kseg.training.writing import to_json, write_atomically


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        record: What run.json holds.
    """

    path: Path
    record: dict[str, Any]

    @classmethod
    def write(cls, path: Path, record: dict[str, Any]) -> "Run":
        """Writes run.json and returns the run as it is read back.

        Args:
            path: The folder.
            record: What run.json is to hold.
        """
        write_atomically(path / "run.json", sealed(record))
        return cls(path, to_json(record))

    @property
    def classes(self) -> Classes:
        """Names and colours of the classes."""
        return Classes.from_json(self.record["classes"])

    @property
    def size(self) -> tuple[int, int] | None:
        """Working size, (height, width), or None for the images' own."""
        size = self.record["size"]
        return None if size is None else (size[0], size[1])


def open_run(path: str | Path) -> Run:
    """Reads a run folder.

    Args:
        path: The folder, or hf://user/name.

    Returns:
        The run.

    Raises:
        ValueError: If it is not a run folder, or one of a newer kseg.
        DamagedFileError: If run.json was changed, or is not as kseg writes it.
    """
    path = fetch(str(path)) if is_on_hub(path) else Path(path)
    return Run(path, read_run_record(path))


def is_run(path: str | Path) -> bool:
    """Returns whether a path is that of a run folder; an address on the Hub is taken for one."""
    return is_on_hub(path) or (Path(path) / "run.json").is_file()


def saw_val(run: Run) -> bool:
    """Returns whether a run, or one that it goes on from, was trained on validation images."""
    recipe = run.record.get("recipe") or {}
    return run.record.get("saw_val", False) or recipe.get("with_val", False)


def find_trained(name: str) -> TrainedRecord | None:
    """Returns the trained model of a name; a run folder of that name takes precedence."""
    return TRAINED[name] if name in TRAINED and not is_run(name) else None


def load(
    run: Run | str | Path, *, model: keras.Model | None = None, checkpoint: str = "best"
) -> keras.Model:
    """Returns the trained model of a run, with averaged weights.

    It carries the run's working size, `model.kseg_size`, which `kseg.predict` and `kseg.evaluate`
    use unless they are given another. One that tells objects apart carries the ids of their
    classes, `model.kseg_things`, and one of 16-bit images how many bits they use,
    `model.kseg_bits`.

    Args:
        run: The run, its folder, hf://user/name, or the name of a model trained by kseg
            (`kseg.models.TRAINED`).
        model: The network, where kseg did not build it; its weights are replaced. One whose layers
            are joined in another way is refused, one whose layers have other options warned of.
        checkpoint: "best" (highest mean IoU on the validation images) or "last".

    Returns:
        The model.

    Raises:
        ValueError: If there is no such run, no readable checkpoint, the weights are of other
            shapes or of another network, or a model or checkpoint is asked of a name.
    """
    if checkpoint not in ("best", "last"):
        raise ValueError(f"checkpoint must be best or last; got {checkpoint!r}.")
    if (trained := find_trained(str(run))) is not None:
        if model is not None or checkpoint != "best":
            raise ValueError(
                f"{run} is a network of the package, with its best weights alone; leave model and "
                "checkpoint out."
            )
        return build(trained.builder, {**trained.arguments, "weights": trained.data})
    run = run if isinstance(run, Run) else open_run(run)
    given = model
    if model is None:
        spec = run.record["spec"]
        if spec is None:
            raise ValueError(
                f"{run.path} was trained from a model that kseg did not build; pass it to "
                "kseg.load(run, model=...)."
            )
        try:
            model = build(spec["builder"], {**spec["arguments"], "weights": None})
        except (TypeError, ValueError) as error:
            raise DamagedFileError(
                f"{run.path / 'run.json'} names a network that kseg cannot build: {error}"
            ) from None
    shapes = {"average": shapes_of(model.variables)}
    _, _, arrays = read_checkpoint(run.path, checkpoint, shapes)
    _check_network(given, run)
    assign(model.variables, arrays["average"], run.path)
    model.kseg_size, model.kseg_bits = run.size, run.record.get("bits")
    if saw_val(run):
        model.kseg_saw_val = run.classes.names
    if things := run.record.get("things"):
        model.kseg_things = tuple(things)
    return model


def _check_network(model: keras.Model | None, run: Run) -> None:
    """Refuses or warns of another network than that of a run, though its weights have room in it.

    Another version of Keras may say other options of the same layers; it is not compared.

    Raises:
        ValueError: If its layers are joined in another way.
    """
    spec, digests = run.record["spec"], run.record.get("digests", {})
    if run.record.get("versions", {}).get("keras") != keras.__version__:
        digests = {}
    if model is None:
        return
    known, wiring = digests.get("network"), digests.get("network wiring")
    alike = known is None or digest_of(model) == known
    if alike and wiring is not None and wiring_of(model) not in (None, wiring):
        raise ValueError(
            f"model is not the network that {run.path} was trained as: its layers are joined in "
            "another way, or its operators have other numbers (as image / 255 and image). Pass "
            "the network that was trained."
        )
    if spec is not None:
        given = getattr(model, "kseg_spec", None)
        differs = given is not None and to_json(given) != spec
    else:
        differs = not alike
    if differs:
        warnings.warn(
            f"model is not the network that {run.path} was trained as: layers, or their options, "
            "differ. It is given the weights, but its scores are not those of the run.",
            stacklevel=3,
        )


def shapes_of(variables: list) -> list[tuple[int, ...]]:
    """Returns the shapes of variables."""
    return [tuple(variable.shape) for variable in variables]


def assign(variables: list, arrays: list[np.ndarray], path: Path) -> None:
    """Sets variables to the arrays of a checkpoint.

    Raises:
        ValueError: If they are not as many or a shape differs.
    """
    if shapes_of(variables) != [array.shape for array in arrays]:
        raise ValueError(
            f"{path} holds the weights of another network ({len(arrays)} variables; this one has "
            f"{len(variables)} or other shapes)."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
