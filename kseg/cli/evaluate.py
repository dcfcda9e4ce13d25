"""`kseg evaluate`: scores a model on labelled images."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

import kseg
from kseg.cli.options import (
    OUTPUT,
    DataFile,
    FileOptions,
    Flag,
    Json,
    ModelName,
    OwnNetwork,
    Size,
    check_threshold,
    one_of,
    record,
)
from kseg.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from kseg.instances import PanopticScores
    from kseg.metrics import Scores
    from kseg.training.evaluation import Look

_IMAGES = Group("Images", sort_key=3)
_GEOMETRY = Group("geometry", show=False, validator=one_of)


@record
class EvaluateOptions:
    """What `kseg evaluate` takes.

    Attributes:
        split: Which images of the data set.
        size: The working size. Default: the model's own.
        pad_to: Continue the images at the bottom and right by their mirror image, to this size.
        crop_to: Cut the images at the bottom and right to this size first.
        flip: Score the mean of the logits of each image and its mirror image.
        scales: Score the mean of the logits at these multiples of the working size, such as
            0.75 1 1.25. Default: 1.
        threshold: Height above which a peak of the heatmap is an object, where objects are told
            apart. Default: 0.1.
        model: The network of a run that was trained from one of your own.
        report: A folder for report.html, scores.json and confusion.csv: scores by class, what is
            taken for what, how sure the model is, the best and the worst images.
        overwrite: Replace a report that is there.
        json: Print one JSON object and nothing else.
    """

    split: Annotated[Literal["train", "val", "test"], Parameter(group=_IMAGES)] = "val"
    size: Annotated[Size, Parameter(group=_IMAGES)] = None
    pad_to: Annotated[Size, Parameter(group=(_IMAGES, _GEOMETRY))] = None
    crop_to: Annotated[Size, Parameter(group=(_IMAGES, _GEOMETRY))] = None
    flip: Annotated[Flag, Parameter(group=_IMAGES)] = False
    scales: Annotated[
        tuple[float, ...],
        Parameter(metavar="X", group=_IMAGES, consume_multiple=True, show_default=False),
    ] = (1.0,)
    threshold: Annotated[float | None, Parameter(metavar="0..1", group=_IMAGES)] = None
    model: OwnNetwork = None
    report: Annotated[Path | None, Parameter(metavar="FOLDER", group=OUTPUT)] = None
    overwrite: Annotated[Flag, Parameter(group=OUTPUT)] = False
    json: Json = False


def evaluate(
    model: ModelName,
    data: DataFile,
    /,
    *,
    options: EvaluateOptions = EvaluateOptions(),
    file: FileOptions = FileOptions(),
) -> None:
    """Scores a model on labelled images."""
    from kseg.cli.loading import find_model
    from kseg.cli.opening import warn_if_names_differ, warn_if_val_was_seen
    from kseg.data.upright import warn_of_mirrors
    from kseg.instances import tells_objects_apart
    from kseg.training.evaluation import Look, judge
    from kseg.training.report import examine, prepare_folder, write_report

    if options.report is not None:
        prepare_folder(options.report, options.overwrite)
    images = kseg.load_data(data)
    count = images.classes.num_classes  # for a class map that does not say it
    found, classes, size = find_model(
        model, network=options.model, num_classes=count, **file.given()
    )
    differ = warn_if_names_differ(model, classes, images)
    if options.split == "val":
        warn_if_val_was_seen(model, images)
    if options.flip:
        warn_of_mirrors(images.classes.names, "--flip")
    if images.things and tells_objects_apart(found):
        _evaluate_objects(found, images, options, options.size or size)
        return
    if options.threshold is not None:
        raise ValueError(
            "--threshold is for networks that tell objects apart, on data with `instances`."
        )
    look = Look(options.size or size, options.pad_to, options.crop_to, options.flip, options.scales)
    if options.report is None:
        scores = kseg.evaluate(found, images, split=options.split, progress=True, **asdict(look))
    else:
        judged = judge(found, images, look, split=options.split, progress=True)
        report = examine(judged, images.classes)
        scores = report.scores
        title = f"{Path(model).name or model} on {data.name}, {options.split}"
        facts = _facts(model, data, options, look, file)
        if differ:
            names = ", ".join(classes.names)
            facts.append(("the model's own classes, compared by their place", names))
        write_report(options.report, report, title, facts)
    if options.json:
        print_json(scores.to_json())
        return
    print_scores(scores)
    if options.report is not None:
        say(f"report: {options.report / 'report.html'}")


def _evaluate_objects(
    model: Any, data: "kseg.Data", options: EvaluateOptions, size: tuple[int, int] | None
) -> None:
    from kseg.instances import HEIGHT

    for option, given in (
        ("pad-to", options.pad_to),
        ("crop-to", options.crop_to),
        ("scales", options.scales != (1.0,)),
        ("report", options.report),
    ):
        if given:
            raise ValueError(
                f"--{option} is for networks that label classes alone; leave it out. To score the "
                "classes of this one alone, take data without `instances`."
            )
    check_threshold(options.threshold)
    scores = kseg.evaluate_instances(
        model,
        data,
        split=options.split,
        size=size,
        flip=options.flip,
        threshold=HEIGHT if options.threshold is None else options.threshold,
        progress=True,
    )
    if options.json:
        print_json(scores.to_json())
    else:
        print_object_scores(scores)


def print_object_scores(scores: "PanopticScores") -> None:
    """Prints a table of panoptic quality by class, and the other scores of objects."""

    def cells(quality: Any) -> list[str]:
        return ["n/a"] * 3 if quality is None else [f"{value:.4f}" for value in quality]

    rows = [[name, *cells(quality)] for name, quality in scores.per_class.items()]
    groups = {"things": scores.things, "stuff": scores.stuff, "all": scores.all}
    rows += [[name, *cells(quality)] for name, quality in groups.items()]
    print_table(rows, [f"class ({scores.images} images)", "PQ", "SQ", "RQ"], disable_numparse=True)
    shares = {f"{iou:g}": share for iou, share in scores.tp_over_all.items()}
    shown = {
        "AP, IoU 0.5 to 0.95": scores.ap,
        "AP, IoU 0.5": scores.ap50,
        **{f"TP / (TP + FP + FN), IoU {iou}": shares[iou] for iou in ("0.5", "0.7", "0.9")},
        "mean IoU of classes": scores.mean_iou,
    }
    say()
    print_table(
        [[name, "n/a" if value is None else f"{value:.4f}"] for name, value in shown.items()]
        + [["objects", str(scores.objects)], ["found", str(scores.found)]],
        disable_numparse=True,
    )


def _facts(
    model: str, data: Path, options: EvaluateOptions, look: "Look", file: FileOptions
) -> list[tuple[str, str]]:
    """Returns what the page says of the model, the data and how it was looked at."""
    facts = [("model", model), ("data", f"{data}, {options.split}")]
    facts += [(f"--{option}", str(value)) for option, value in asdict(file).items() if value]
    if look.size is not None:
        facts.append(("working size", f"{look.size[0]} x {look.size[1]}"))
    for what, size in (("cut to", look.crop_to), ("padded to", look.pad_to)):
        if size is not None:
            facts.append((f"images {what}", f"{size[0]} x {size[1]}"))
    if look.flip or look.scales != (1.0,):
        mirrored = ", each with its mirror image" if look.flip else ""
        scales = " ".join(f"{scale:g}" for scale in look.scales)
        facts.append(("mean of the logits of", f"scales {scales}{mirrored}"))
    return [*facts, ("kseg", kseg.__version__)]


def print_scores(scores: "Scores") -> None:
    """Prints a table of scores."""
    rows = [
        [name, "n/a" if iou is None else f"{iou:.4f}"] for name, iou in scores.iou_per_class.items()
    ]
    rows += [["mean IoU", f"{scores.mean_iou:.4f}"]]
    rows += [["pixel accuracy", f"{scores.pixel_accuracy:.4f}"]]
    print_table(rows, ["class", f"IoU ({scores.images} images)"], disable_numparse=True)
