"""run.json and manifest.json: their schemas, and the checksum that shows a changed byte."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from kseg.safe_files import read_json, read_text
from kseg.training.recipe import MOST_PIXELS

FORMAT = 1
# A manifest of format 1 has no checksum.
MANIFEST_FORMAT = 2
_RUN_LIMIT, _MANIFEST_LIMIT = 1_000_000, 32_000_000  # bytes; a manifest has a row for each epoch
_LARGEST_NUMBER = 4096  # of what a network is built with: VGG's fully connected layers have that
# Settings that came to be with another default than what trainings had done before.
_BEFORE = {"logit_adjustment": 0.0}
_NONE_YET = "0" * 64
_DIGEST = r"^[0-9a-f]{64}$"

_Digest = Annotated[str, Field(pattern=_DIGEST)]
_Side = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0, le=10**15)]


class DamagedFileError(ValueError):
    """A file of a run is not what kseg wrote; `exit_code` is what the command line ends with."""

    exit_code = 4


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Spec(_Record):
    builder: str
    arguments: dict[str, Any]


class _Classes(_Record):
    names: list[str]
    colors: list[list[int]]


class _Source(_Record):
    source: str
    fingerprint: str


class _Pace(_Record):
    steps: Annotated[int, Field(ge=1, le=10**9)]
    parts: Annotated[int, Field(ge=1, le=10**6)]
    validate_every: Annotated[int, Field(ge=1, le=10**6)]
    final: Annotated[float, Field(ge=0, le=10**9)]


class _RunRecord(_Record):
    """What run.json holds; a run of an older kseg may lack what has a default here."""

    format: int
    spec: _Spec | None
    # The classes were a label map before kseg 0.2.
    classes: _Classes = Field(validation_alias=AliasChoices("classes", "label_map"))
    size: Annotated[list[_Side], Field(min_length=2, max_length=2)] | None
    recipe: dict[str, Any] | None = None
    pace: _Pace | None = None
    asked: dict[str, Any] | None = None
    data: _Source | None = None
    backend: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    teacher: _Spec | str | None = None
    loss: str | None = None
    digests: dict[str, _Digest] = Field(default_factory=dict)
    saw_val: bool = False
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    things: list[Annotated[int, Field(ge=0, le=254)]] = Field(default_factory=list)
    checksum: _Digest | None = None


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    epoch: _Count
    step: _Count
    loss: float
    mean_iou: _Fraction | None
    pixel_accuracy: _Fraction | None
    seconds: float


class _Weights(_Record):
    weights: Annotated[_Digest, Field(alias="weights.h5")]


class _Manifest(BaseModel):
    """What manifest.json holds."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    format: Annotated[int, Field(ge=1, le=MANIFEST_FORMAT)]
    step: _Count
    sha256: _Weights
    epoch: _Count = 0
    batch: _Count = 0
    average_steps: _Count = 0
    mean_iou: _Fraction | None
    pq: _Fraction | None = None
    history: list[_Row] = Field(default_factory=list)
    pace: dict[str, int | float] | None = None
    checksum: _Digest | None = None


def sealed(record: dict[str, Any]) -> str:
    """Returns a record as the text of a file that holds its own checksum.

    It is the sha256 of the whole text with 64 zeros in place of the checksum.
    """
    text = json.dumps({**record, "checksum": _NONE_YET}, indent=1) + "\n"
    return text.replace(_NONE_YET, hashlib.sha256(text.encode()).hexdigest())


def read_run_record(path: Path) -> dict[str, Any]:
    """Reads run.json.

    Args:
        path: The run folder.

    Returns:
        The record, with every key that a run of today has, and without the checksum.

    Raises:
        ValueError: If the folder has no run.json, or one of a newer kseg.
        DamagedFileError: If run.json was changed, or is not as kseg writes it.
    """
    file = path / "run.json"
    try:
        record = read_json(file, limit=_RUN_LIMIT)
    except ValueError as error:
        why = str(error).rstrip(".")
        raise ValueError(
            f"{path} is not a kseg run folder: it has no readable run.json ({why})."
        ) from None
    version = record.get("format") if isinstance(record, dict) else None
    if type(version) is not int:
        raise ValueError(
            f"{path} is not a kseg run folder: it has no readable run.json (it names no format)."
        )
    if version != FORMAT:
        raise ValueError(
            f"{path} has run format {version}; this kseg reads format {FORMAT}. Update kseg."
        )
    checked = _checked(_RunRecord, record, file, _RUN_LIMIT)
    _check_network(checked["spec"], file)
    size = checked["size"]
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise DamagedFileError(
            f"{file} is not as kseg writes it: the size {size[0]} x {size[1]} is over "
            f"{MOST_PIXELS:,} pixels."
        )
    checked["recipe"] = checked["recipe"] or {}
    for settings in filter(None, (checked["recipe"], checked["asked"])):
        settings.update(_BEFORE | settings)
    return checked


def read_manifest(file: Path) -> dict[str, Any]:
    """Reads the manifest of a checkpoint.

    Raises:
        ValueError: If it is missing, was changed, or is not as kseg writes it.
    """
    record = read_json(file, limit=_MANIFEST_LIMIT)
    checked = _checked(_Manifest, record, file, _MANIFEST_LIMIT)
    if checked["format"] == MANIFEST_FORMAT and "checksum" not in record:
        raise DamagedFileError(f"{file} was changed: its checksum is gone.")
    return checked


def _checked(schema: type[BaseModel], record: Any, file: Path, limit: int) -> dict[str, Any]:
    try:
        checked = schema.model_validate(record)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "the whole"
        raise DamagedFileError(
            f"{file} is not as kseg writes it: {place}: {problem['msg']}."
        ) from None
    stated = checked.checksum  # type: ignore[attr-defined]
    text = read_text(file, limit=limit) if stated else ""
    if stated and hashlib.sha256(text.replace(stated, _NONE_YET, 1).encode()).hexdigest() != stated:
        raise DamagedFileError(f"{file} was changed after kseg wrote it: its checksum is wrong.")
    return checked.model_dump(mode="json", by_alias=True, exclude={"checksum"})


def _check_network(spec: dict[str, Any] | None, file: Path) -> None:
    """Refuses numbers with which a network would fill any memory."""
    waiting: list[Any] = list(spec["arguments"].values()) if spec else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | dict):
            values = list(value.values() if isinstance(value, dict) else value)
            if len(values) > 64:
                raise DamagedFileError(f"{file} is not as kseg writes it: spec has a long list.")
            waiting += values
        elif isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER:
            raise DamagedFileError(
                f"{file} is not as kseg writes it: spec has the number {value:.6g}; networks are "
                f"built with numbers up to {_LARGEST_NUMBER}."
            )
