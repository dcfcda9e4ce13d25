"""Arguments that several verbs take."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from cyclopts import ArgumentCollection, Group, Parameter


def _above_0(type_: Any, size: tuple[int, int] | None) -> None:
    """Refuses a size without pixels; cyclopts calls it."""
    if size is not None and min(size) < 1:
        raise ValueError(f"sizes must be above 0; got {size[0]} {size[1]}.")


NETWORK = Group("Network", sort_key=2)
OUTPUT = Group("Output", sort_key=8)
OWN = Group("Networks of your own", sort_key=7)
FILES = Group("Files made elsewhere", sort_key=6)

ModelName = Annotated[
    str,
    Parameter(
        help="A run folder, hf://user/name, a .tflite or .keras file, or the name of a trained "
        "model; `kseg models` lists those."
    ),
]
DataFile = Annotated[Path, Parameter(help="The YAML file of a data set, or its folder.")]
Size = Annotated[tuple[int, int] | None, Parameter(metavar="H W", validator=_above_0)]
Flag = Annotated[bool, Parameter(show_default=False)]
Json = Annotated[Flag, Parameter(group=OUTPUT, help="Print one JSON object and nothing else.")]
Delegate = Annotated[str | None, Parameter(metavar="LIB", group=FILES)]
Kernels = Annotated[Literal["default", "plain", "reference"] | None, Parameter(group=FILES)]
Signature = Annotated[str | None, Parameter(metavar="NAME", group=FILES)]
OwnNetwork = Annotated[Path | None, Parameter(metavar="FILE.keras", group=OWN)]
Settings = Annotated[tuple[str, ...], Parameter(metavar="NAME=VALUE", show_default=False)]

_Record = TypeVar("_Record")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[_Record]) -> type[_Record]:
    """Makes a class of options: a frozen dataclass whose docstring holds the help texts."""
    cls.__doc__ = re.sub(r"\n {12,}", " ", cls.__doc__ or "")  # one line for each option
    return Parameter(name="*")(dataclass(frozen=True, kw_only=True)(cls))


@record
class FileOptions:
    """How a .tflite file is run that another program made.

    Attributes:
        normalization: The range of pixels that a float file wants: 0..1, -1..1, imagenet, or
            MEAN STD. Default: what the file's metadata say.
        output: The name of the output to use, where a file has several.
        signature: The name of the function to run, where a file holds several.
        kernels: LiteRT's kernels: default is XNNPACK, the fastest.
    """

    normalization: Annotated[
        str | None, Parameter(metavar="RANGE", group=FILES, allow_leading_hyphen=True)
    ] = None
    output: Annotated[str | None, Parameter(metavar="NAME", group=FILES)] = None
    signature: Signature = None
    kernels: Kernels = None

    def given(self) -> dict[str, Any]:
        """Returns what was named on the command line, as keyword arguments."""
        options: dict[str, Any] = {k: v for k, v in asdict(self).items() if v is not None}
        if self.normalization is not None:
            options["normalization"] = tuple(self.normalization.split())
        return options


@record
class NetworkOptions:
    """Which network is built.

    Attributes:
        backbone: The backbone; `kseg models` lists them. Default: the network's own.
        set: Another argument of the network's builder, such as filters=128. May be repeated.
    """

    backbone: Annotated[str | None, Parameter(metavar="NAME", group=NETWORK)] = None
    set: Annotated[Settings, Parameter(group=NETWORK)] = ()


def one_of(arguments: ArgumentCollection) -> None:
    """Refuses two options of a group that exclude each other.

    Raises:
        ValueError: If both are given.
    """
    given = [argument.name for argument in arguments if argument.tokens]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other; give one of them.")


def check_threshold(height: float | None) -> None:
    """Refuses a --threshold that no peak of a heatmap can be compared with."""
    if height is not None and not 0 <= height <= 1:
        raise ValueError(f"--threshold must be from 0 to 1; got {height:g}.")
