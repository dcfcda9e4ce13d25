"""`kseg verify`: runs a file in every runtime that is there, and compares their labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

import kseg
from kseg.cli.options import FILES, OWN, Json, Signature, record
from kseg.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    import keras
    import numpy as np

    from export.proof.runtimes import Subject
    from export.proof.trials import Trial

_IMAGES = Group("Images", sort_key=3)
_COLORS = {"passed": "green", "failed": "red", "refused": "yellow", "not run": "yellow"}
_COLORS |= {"reference": "yellow"}
_HEADERS = ("runtime", "", "like the model", "like the reference kernels", "remark")

RuntimeName = Literal[
    "xnnpack",
    "reference",
    "compiled",
    "micro",
    "mediapipe",
    "litert-js",
    "mediapipe-js",
    "iree",
]


@record
class VerifyOptions:
    """What `kseg verify` takes.

    Attributes:
        data: A data set: its YAML file or folder. Its val images are labelled. Default: made-up
            images.
        count: How many of them, taken evenly.
        model: What the file was made of: a run folder, a .keras file or the name of a trained
            model. Default: of a trained model's file, that model.
        network: The .keras file of the network, for a run of one of your own.
        runtime: Runtimes that must run the file. Default: all that are installed.
        normalization: The range of pixels that a float file wants: 0..1, -1..1, imagenet, or
            MEAN STD. Default: what the file's metadata say.
        output: The name of the output to use, where a file has several.
        signature: The name of the function to run, where a file holds several.
        json: Print one JSON object and nothing else.
    """

    data: Annotated[Path | None, Parameter(metavar="DATA", group=_IMAGES)] = None
    count: Annotated[int, Parameter(metavar="N", group=_IMAGES)] = 4
    model: Annotated[str | None, Parameter(metavar="RUN", group=_IMAGES)] = None
    network: Annotated[Path | None, Parameter(metavar="FILE.keras", group=OWN)] = None
    runtime: Annotated[
        tuple[RuntimeName, ...], Parameter(consume_multiple=True, show_default=False)
    ] = ()
    normalization: Annotated[
        str | None, Parameter(metavar="RANGE", group=FILES, allow_leading_hyphen=True)
    ] = None
    output: Annotated[str | None, Parameter(metavar="NAME", group=FILES)] = None
    signature: Signature = None
    json: Json = False


@dataclass(frozen=True)
class _Asked:
    """What the command line names.

    Attributes:
        subject: The file and the images.
        model: The Keras model, or None.
        name: What the command calls it.
        label_maps: The right labels, or None.
    """

    subject: "Subject"
    model: Any
    name: str | None
    label_maps: "list[np.ndarray] | None"


def verify(
    file: Annotated[str, Parameter(help="A .tflite file, or the name of a trained model.")],
    /,
    *,
    options: VerifyOptions = VerifyOptions(),
) -> None:
    """Runs a file in every runtime that is there, and compares their labels.

    At least 0.99 of the labels must be those of the Keras model. Where rounding to integers moves
    more of them, the file must score as well as the model, and each runtime must label like
    LiteRT's reference kernels.
    """
    from export.proof.runtimes import RUNTIMES
    from export.proof.trials import MIN_AGREEMENT, check_trials, prove

    names: tuple[str, ...] = options.runtime or tuple(RUNTIMES)
    for name in options.runtime:
        if missing := RUNTIMES[name].missing():
            raise ValueError(f"--runtime {name} is not installed: {missing}.")
    asked = _asked(file, options)
    trials = prove(asked.subject, names, model=asked.model, label_maps=asked.label_maps)
    if options.json:
        print_json(
            {
                "file": str(asked.subject.path),
                "reference": asked.name or "LiteRT's reference kernels",
                "images": str(options.data) if options.data else "made up",
                "min_agreement": MIN_AGREEMENT,
                "runtimes": [trial.to_json() for trial in trials],
            }
        )
    else:
        _print(asked, trials, options)
    check_trials(trials, asked.subject.path, all_must_run=bool(options.runtime))


def _asked(name: str, options: VerifyOptions) -> _Asked:
    """Finds the file, the model and the images.

    Raises:
        ValueError: If one of them is not there, or they do not go together.
    """
    from export.graph.calibration import stand_ins
    from export.graph.fixed import Original
    from export.proof.runtimes import Subject
    from export.proof.verification import shared_size
    from export.tflite.runtime import load_tflite
    from kseg.cli.tflite_facts import file_facts
    from kseg.models.trained import best_int8, packaged
    from kseg.training.run import find_trained

    if options.count < 1:
        raise ValueError(f"--count must be 1 or more; got {options.count}.")
    path, model = Path(name), options.model
    record = None if path.suffix == ".tflite" else find_trained(name) or best_int8(name)
    if record is not None:
        path = Path(str(packaged(str(record.int8_file), str(record.int8_sha256))))
        model = model or record.file.removesuffix(".npz")
    elif path.suffix != ".tflite":
        raise ValueError(f"{name} is neither a .tflite file nor the name of a trained model.")
    if options.data is None and options.model is not None:
        raise ValueError("--model is compared on real images; name a data set with --data.")
    if options.network is not None and options.model is None:
        raise ValueError("--network is for the run that --model names; leave it out.")
    given = {"normalization": _range(options.normalization), "output": options.output}
    given["signature"] = options.signature
    with load_tflite(path, **given) as opened:
        classes, size = file_facts(path, opened)
        channels, input_size = opened.channels, opened.input_size
    if record is not None:
        classes, size = record.classes, record.working_size
    if options.data is None:
        images = stand_ins(size or input_size, channels, options.count)
        return _Asked(Subject(path, images, size, classes, given), None, None, None)
    images, label_maps = _pairs(options.data, options.count)
    subject = Subject(path, images, size, classes, given)
    if model is None:
        return _Asked(subject, None, None, None)
    found = _model(model, options.network)
    if size is None:
        subject = Subject(path, images, shared_size(opened, found), classes, given)
    # Smaller images go on for the model as they do for the file.
    return _Asked(subject, Original(found, input_size), model, label_maps)


def _model(name: str, network: Path | None) -> "keras.Model":
    """Finds the model that a file was made of.

    Raises:
        ValueError: If there is none of that name, or it is a file itself.
    """
    import keras

    from kseg.cli.loading import find_model

    found, _, _ = find_model(name, network=network)
    if not isinstance(found, keras.Model):
        found.close()
        raise ValueError(
            "--model must be what the file was made of: a run folder, a .keras file or the name of "
            f"a trained network; {name} is a .tflite file."
        )
    return found


def _range(given: str | None) -> Any:
    return None if given is None else tuple(given.split())


def _pairs(data: Path, count: int) -> "tuple[list[np.ndarray], list[np.ndarray]]":
    """Returns images of the split "val", taken evenly, and their label maps."""
    images = kseg.load_data(data)
    files = images.files("val")
    count = min(count, len(files))
    chosen = [files[index * len(files) // count] for index in range(count)]
    pairs = [images.read(pair) for pair in dict.fromkeys(chosen)]
    return [image for image, _ in pairs], [label_map for _, label_map in pairs]


def _print(asked: _Asked, trials: "tuple[Trial, ...]", options: VerifyOptions) -> None:
    rows = [
        [t.title, t.status, _share(t.like_model), _share(t.like_kernels), t.reason] for t in trials
    ]
    print_table(rows, _HEADERS, colors=_COLORS, disable_numparse=True)
    count = len(asked.subject.images)
    said = f"{count} image(s) of {options.data}" if options.data else f"{count} made-up images"
    if asked.name is None:
        said += (
            "; no Keras model was named (--model), so labels are compared with those of LiteRT's "
            "reference kernels"
        )
    else:
        said += f"; the model is {asked.name}"
    say(f"\n{said}")
    if options.data is None:
        say("Name real ones with --data.")


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.4f}"
