"""What an export may be asked for, and what it gives back: pure data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.targets import HEADS
from kseg.classes import Classes


@dataclass(frozen=True)
class ExportOptions:
    """Choices that most exports leave alone.

    Attributes:
        head: "logits" (1, h, w, num_classes); "argmax", a class map int32 (1, h, w); or
            "softmax", scores (1, h, w, num_classes). A model that ends in a softmax itself gives
            "softmax" for "logits". Of three outputs it is that of "semantic"; "center" and
            "offset" stay as they are.
        stride: 1 for an output of the model's own size; or a stride at which the network can end,
            for h = ceil(H / stride): the last upsampling is then left to the app.
        min_ratio: Smallest score of the file as a fraction of the model's: of the mean IoU, or,
            where objects are told apart, of the panoptic quality of all classes and of things.
        max_drop: Largest loss of it, 0..1.
        overwrite: Whether files of an earlier export may be replaced.
        rescue: Whether layers may be kept in float where int8 loses too much, on android.
        explain: Whether the report says what other heads and strides would cost, and which
            layers quantization harms most. Takes several conversions more.
        classes: Names for labels.txt where there is no validation data to take them from.
        working_size: (height, width) that images are fitted into before the file sees them, for
            calibration, scores and the report. None takes the file's input size where the model
            carries a working size, `model.kseg_size`, and leaves images that fit as they are where
            it does not.
        recorded: Mean IoU that the training recorded for the validation images at this size; a
            model far below it is not exported.
        things: Ids of the classes whose objects are told apart, for a model of three outputs;
            None takes those that the model carries, or else those of the validation data.
        runtimes: In which runtimes the file is run before it is written: keys of
            `export.proof.runtimes.RUNTIMES`. Those that a target needs are added.
    """

    head: str = "logits"
    stride: int = 1
    min_ratio: float = 0.97
    max_drop: float = 0.015
    overwrite: bool = False
    rescue: bool = False
    explain: bool = False
    classes: Classes | None = None
    working_size: tuple[int, int] | None = None
    recorded: float | None = None
    things: tuple[int, ...] | None = None
    runtimes: tuple[str, ...] = ("xnnpack", "reference")

    def __post_init__(self) -> None:
        """Checks the head, the limits and the runtimes.

        Raises:
            ValueError: If one is unknown, or no such limit.
        """
        if not self.min_ratio >= 0:
            raise ValueError(f"min_ratio must be 0 or more; got {self.min_ratio!r}.")
        if not 0 <= self.max_drop <= 1:
            raise ValueError(
                f"max_drop must be from 0 to 1 (1.5 points are 0.015); got {self.max_drop!r}."
            )
        if isinstance(self.runtimes, str):
            raise ValueError(f"runtimes must be a tuple of names; got {self.runtimes!r}.")
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}; got {self.head!r}.")


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how good it is.

    Attributes:
        path: The .tflite file.
        report: What the .json file beside it says.
        certified: Whether it was scored on labelled images and passed the gate.
        agreement: Share of the pixels that the file and the model label alike.
        mean_iou_float: Mean IoU of the model, 0..1; None without validation.
        mean_iou: Mean IoU of the file, 0..1; None without validation.
        pq_float: Panoptic quality of the model, 0..1; None without validation, and where no
            objects are told apart.
        pq: Panoptic quality of the file, likewise.
    """

    path: Path
    report: dict[str, Any]
    certified: bool
    agreement: float
    mean_iou_float: float | None
    mean_iou: float | None
    pq_float: float | None = None
    pq: float | None = None
