"""`kseg export`: makes a verified .tflite file."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

import kseg
from export.recipes import RECIPES
from export.targets import HEADS, TARGETS
from kseg.cli.file_sizes import file_size
from kseg.cli.options import Flag, Json, OwnNetwork, Size, record
from kseg.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    import keras

_FILE = Group("The file", sort_key=1)
_QUANTIZATION = Group("Quantization", sort_key=3)
_REPORT = Group("Report", sort_key=4)
_WITH_IMAGES = ("int8", "int16x8")


@record
class ExportOptions:
    """What `kseg export` takes.

    Attributes:
        out: The .tflite file to write.
        overwrite: Replace an earlier export of this name.
        target: The kind of device.
        size: The size of the file's input. Default: the run's, or the images'.
        head: What the file gives for each pixel: a score for each class, the number of the best
            class, or a probability for each class.
        stride: End before the last upsampling, with one output for N x N pixels.
        data: The YAML file of a data set. Its train images set the ranges of the numbers, its val
            images judge the file.
        quantization: The numbers that the file computes with. int8: integers throughout. int16x8:
            16 bits between layers. none: float32.
        per_tensor: Give each kernel one scale, for accelerators that need that. int8 only.
        qat_epochs: First train this many epochs more with int8's rounding (quantization-aware
            training). 0: none.
        with_val: Train on the val images too in these epochs, for a network whose last training
            did so. Else its best epoch is chosen by images that it knows.
        rescue: Where int8 loses too much, keep the layers with the most noise in float. android
            only.
        runtimes: all: before it is written, run the file in every runtime that is installed, as
            `kseg verify` does. quick: in LiteRT, with XNNPACK and with its reference kernels.
        quick: Leave out what other heads and strides would cost, and which layers have the most
            noise.
        model: The network of a run that was trained from one of your own.
        json: Print one JSON object and nothing else.
    """

    out: Annotated[Path, Parameter(metavar="FILE", group=_FILE)]
    overwrite: Annotated[Flag, Parameter(group=_FILE)] = False
    target: Annotated[str, Parameter(choices=tuple(TARGETS), group=_FILE)] = "android"
    size: Annotated[Size, Parameter(group=_FILE)] = None
    head: Annotated[str, Parameter(choices=HEADS, group=_FILE)] = "logits"
    stride: Annotated[int, Parameter(metavar="N", group=_FILE)] = 1
    data: Annotated[Path | None, Parameter(metavar="DATA", group=_QUANTIZATION)] = None
    quantization: Annotated[str, Parameter(choices=tuple(RECIPES), group=_QUANTIZATION)] = "int8"
    per_tensor: Annotated[Flag, Parameter(group=_QUANTIZATION)] = False
    qat_epochs: Annotated[int, Parameter(metavar="N", group=_QUANTIZATION)] = 0
    with_val: Annotated[Flag, Parameter(group=_QUANTIZATION)] = False
    rescue: Annotated[Flag, Parameter(group=_QUANTIZATION)] = False
    runtimes: Annotated[Literal["quick", "all"], Parameter(group=_REPORT)] = "quick"
    quick: Annotated[Flag, Parameter(group=_REPORT)] = False
    model: OwnNetwork = None
    json: Json = False


def export(
    run: Annotated[
        str, Parameter(help="A run folder, a .keras file, or the name of a trained model.")
    ],
    /,
    *,
    options: ExportOptions,
) -> None:
    """Makes a verified .tflite file."""
    import keras

    from kseg.cli.loading import find_model, is_keras_file
    from kseg.cli.opening import warn_if_names_differ, warn_if_val_was_seen

    _check(options)
    data = kseg.load_data(options.data) if options.data else None
    model, classes, size = find_model(run, network=options.model)
    if not isinstance(model, keras.Model):
        raise ValueError(f"{run} is exported already; name the run folder it came from.")
    if is_keras_file(run) and data is not None:
        classes = data.classes  # the file has no names
    if data is not None:
        chooses = options.qat_epochs and not options.with_val
        advice = "--qat-epochs would choose its best epoch by them: add --with-val."
        warn_if_val_was_seen(run, data, advice if chooses else "")
        warn_if_names_differ(run, classes, data)
    input_size = options.size or file_size(model, data, size)
    working_size = (options.size or size) if size is not None else None
    recorded = _recorded(run, data, size) if options.size in (None, size) else None
    choices = _choices(options, classes, working_size, recorded)
    if options.qat_epochs and data is not None:
        from export.refusals import check_qat_request

        check_qat_request(model, options.target, input_size, options.out, data, choices)
        make = _quantization_aware(run, options, model, data, input_size).convert
    else:
        from export import convert

        make = partial(convert, model, _recipe(options, data))
    result = make(
        target=options.target,
        input_size=input_size,
        path=options.out,
        validation=data,
        options=choices,
    )
    if options.json:
        print_json(result.report)
    else:
        _print_report(result.report)


def _check(options: ExportOptions) -> None:
    try:
        str(options.out).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"--out {options.out}: this name is not UTF-8, so the report could not name the file; "
            "take another name."
        ) from None
    if options.data is None and options.quantization in _WITH_IMAGES:
        raise ValueError(
            f"{options.quantization} needs images to take ranges from: name a data set with "
            "--data, or pass --quantization float16."
        )
    if options.with_val and not options.qat_epochs:
        raise ValueError("--with-val is for --qat-epochs N; without them nothing is trained.")
    for flag in ("qat_epochs", "per_tensor"):
        if getattr(options, flag) and options.quantization != "int8":
            name = flag.replace("_", "-")
            raise ValueError(f"--{name} is for int8; got {options.quantization}.")


def _recorded(run: str, data: "kseg.Data | None", size: tuple[int, int] | None) -> float | None:
    """Returns the mean IoU that a run recorded for all of these validation images, or None."""
    from kseg.data import check_data
    from kseg.training.checkpoints import read_checkpoint
    from kseg.training.run import is_run, open_run

    if data is None or not is_run(run):
        return None
    opened = open_run(run)
    trained_on = opened.record["data"]
    if opened.size != size or trained_on["source"] != data.source.name:
        return None
    if trained_on["fingerprint"] != check_data(data).fingerprint:
        return None
    part = opened.record["recipe"].get("validate_images")
    if part and part < len(data.files("val")):
        return None
    _, manifest, _ = read_checkpoint(opened.path, "best", {})
    return manifest["mean_iou"]


def _choices(
    options: ExportOptions,
    classes: "kseg.Classes",
    size: tuple[int, int] | None,
    recorded: float | None,
) -> Any:
    """Returns the options of `export.convert`."""
    import export

    more: dict[str, Any] = {}
    if options.runtimes == "all":
        from export.proof.runtimes import RUNTIMES

        more["runtimes"] = tuple(RUNTIMES)
    return export.ExportOptions(
        head=options.head,
        stride=options.stride,
        overwrite=options.overwrite,
        rescue=options.rescue,
        explain=not options.quick and not options.qat_epochs,
        classes=classes,
        working_size=size,
        recorded=recorded,
        **more,
    )


def _quantization_aware(
    run: str,
    options: ExportOptions,
    model: "keras.Model",
    data: "kseg.Data",
    size: tuple[int, int],
) -> Any:
    """Trains on as the run was trained (or as runs are), at a tenth of its rate.

    Images are of the file's size, whatever that of the run was.
    """
    from export import quantization_aware
    from kseg.training.run import is_run, open_run

    recipe = kseg.Recipe()
    if is_run(run):
        recipe = kseg.Recipe(**open_run(run).record["recipe"])
    rate, crop = recipe.learning_rate / 10, recipe.crop
    recipe = replace(
        recipe,
        size=size,
        crop=crop if crop and crop[0] <= size[0] and crop[1] <= size[1] else None,
        epochs=options.qat_epochs,
        learning_rate=rate,
        minutes=None,
        freeze=None,
        patience=None,
        validate_every=1,
        validate_images=None,
        with_val=options.with_val,
    )
    return quantization_aware(model, data, recipe, per_channel=not options.per_tensor)


def _recipe(options: ExportOptions, data: "kseg.Data | None") -> Any:
    make = RECIPES[options.quantization]
    if options.quantization not in _WITH_IMAGES or data is None:
        return make()
    images = data.images("train", 100)
    if options.quantization == "int8":
        return make(images, per_channel=not options.per_tensor)
    return make(images)


def _print_report(report: dict) -> None:
    from export.proof.report import (
        CHOICES,
        OBJECTS,
        RUNTIMES,
        choice_rows,
        class_rows,
        noise_rows,
        object_rows,
        op_rows,
        runtime_rows,
        summary,
    )

    print_table(summary(report), disable_numparse=True)
    tables = [
        ("Runtimes that ran the file:", runtime_rows(report), RUNTIMES),
        ("", class_rows(report), ("class", "IoU float", "IoU file", "change")),
        ("", object_rows(report), OBJECTS),
        ("What other heads and strides cost:", choice_rows(report), CHOICES),
        (
            "Layers that quantization harms most:",
            noise_rows(report),
            ("layer", "signal to noise, dB"),
        ),
        # On a phone's CPU every op is alike; elsewhere those that stay behind matter.
        (
            "Ops that the accelerator leaves or may leave:",
            [row for row in op_rows(report) if row[4] in ("cpu", "uncertain", "dead")],
            ("", "op", "version", "output", "placement", "why", "advice"),
        ),
    ]
    for title, rows, headers in tables:
        if rows:
            say(f"\n{title}" if title else "")
            print_table(rows, headers, disable_numparse=True)
    page = report["file"]["name"].removesuffix(".tflite") + ".html"
    say(f"\npictures and the table of ops are in {page} beside the file")
