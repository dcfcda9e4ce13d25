"""The programs that run .tflite files: how each labels images, and what it needs to be there."""

import importlib
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ModelFileError
from export.tflite.runtime import TFLiteModel
from kseg.classes import Classes
from kseg.inference import predict

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
Labels = Sequence[np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A file, and the images that it is asked about.

    Attributes:
        path: The .tflite file.
        images: Images (H, W, channels), 0..255.
        size: (height, width) that images are fitted into before the file sees them, or None.
        classes: Names and colours, for a page in the browser; None where they are not known.
        options: How the file is read, as for `export.load_tflite`: normalization and output.
    """

    path: Path
    images: Sequence[np.ndarray] = field(repr=False)
    size: tuple[int, int] | None = None
    classes: Classes | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Runtime:
    """A program that runs .tflite files.

    Attributes:
        name: The word of `kseg verify --runtime`.
        title: What reports call it.
        run: From a subject to its label maps, each of its image's size.
        needs: Modules that must be there.
        install: What installs them.
        programs: Programs on PATH, of each group one.
    """

    name: str
    title: str
    run: Callable[[Subject], Labels]
    needs: tuple[str, ...] = ()
    install: str = ""
    programs: tuple[tuple[str, ...], ...] = ()

    def missing(self) -> str:
        """Returns what would install the runtime; "" where it is there."""
        there = all(map(_is_installed, self.needs))
        there = there and all(any(map(shutil.which, names)) for names in self.programs)
        return "" if there else self.install


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


class Pictures(TFLiteModel):
    """A file in a runtime that is handed pixels and scales them itself."""

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Turns images (1, H, W, C), 0..255, into whole numbers of the input's kind."""
        return np.asarray(np.rint(images), self.input.dtype)


def _in_process(kernels: str, subject: Subject) -> Labels:
    kind = Pictures if kernels == "mediapipe" else TFLiteModel
    with kind(subject.path, kernels=kernels, **subject.options) as file:
        if file.kernels != kernels:
            raise ModelFileError("XNNPACK refuses the file; LiteRT's plain kernels run it.")
        return [predict(file, image, size=subject.size) for image in subject.images]


def _elsewhere(place: str, subject: Subject) -> Labels:
    """Calls "module:function" of a room that imports this one, or that is slow to import."""
    module, function = place.split(":")
    return getattr(importlib.import_module(module), function)(subject)


_IREE = ("tosa_converter_for_tflite", "iree.compiler", "iree.runtime")
_IN_BROWSER: dict[str, Any] = {
    "needs": ("playwright",),
    "install": "pip install playwright; apt-get install chromium npm",
    "programs": (BROWSERS, ("npm",)),
}
RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime("xnnpack", "LiteRT, XNNPACK", partial(_in_process, "default")),
        Runtime("reference", "LiteRT, reference kernels", partial(_in_process, "reference")),
        Runtime("compiled", "LiteRT, CompiledModel", partial(_in_process, "compiled")),
        Runtime(
            "micro",
            "TensorFlow Lite Micro",
            partial(_in_process, "micro"),
            ("tflite_micro",),
            "pip install tflite-micro",
        ),
        Runtime(
            "mediapipe",
            "MediaPipe, Python",
            partial(_in_process, "mediapipe"),
            ("mediapipe",),
            "pip install mediapipe",
        ),
        Runtime(
            "litert-js",
            "LiteRT.js, Chromium",
            partial(_elsewhere, "export.web.browser:label_by_litert"),
            **_IN_BROWSER,
        ),
        Runtime(
            "mediapipe-js",
            "MediaPipe, Chromium",
            partial(_elsewhere, "export.web.browser:label_by_mediapipe"),
            **_IN_BROWSER,
        ),
        Runtime(
            "iree",
            "IREE, of TOSA",
            partial(_elsewhere, "export.devices.coral_npu:label"),
            _IREE,
            "pip install kseg[coral-npu]",
        ),
    )
}
QUICK = ("xnnpack", "reference")
