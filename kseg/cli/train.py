"""`kseg train`: trains a network into a run folder."""

import math
import time
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

import kseg
from kseg.cli.evaluate import print_object_scores, print_scores
from kseg.cli.options import NETWORK, DataFile, Flag, NetworkOptions, Settings, Size, one_of, record
from kseg.cli.output import say, say_aside

if TYPE_CHECKING:
    import keras

    from kseg.data import Data

_RUN = Group("Run folder", sort_key=1)
_IMAGES = Group("Images", sort_key=3)
_TRAINING = Group("Training", sort_key=4)
_LATE = 1.05  # times the minutes, after which no further image is scored
_LENGTH = Group("length", show=False, validator=one_of)


@record
class TrainOptions:
    """What `kseg train` takes; what is not given is chosen, and said before the first step.

    Attributes:
        out: The run folder to write.
        resume: Go on with the training in the run folder.
        model: The network: one that `kseg models` lists, or a .keras file of your own, which starts
            from the weights in it. Default: the one of --weights, or fcn8s.
        weights: Where to start: imagenet, none, a run folder, hf://user/name or a trained model.
            Default: imagenet for networks with a backbone, none for the others.
        teacher: A run folder, a trained model or a .keras file with the same classes. Its scores
            are learnt as well as the labels. May be repeated: then the mean of their probabilities
            is learnt.
        teacher_flip: Let teachers look at the mirror image too.
        freeze: Keep the backbone as it is up to this endpoint, c1 to c5; none trains all of it. c2
            makes a step a fifth faster.
        size: The working size: images are scaled to fit into it.
        crop: The size of training crops, multiples of 32.
        with_val: Train on the validation images too, for a last training. Nothing is scored then.
        epochs: How often each image is seen.
        minutes: Train for this many minutes instead.
        batch_size: Images in a step.
        learning_rate: The highest learning rate.
        validate_every: Epochs from one evaluation to the next.
        patience: End after so many evaluations without a better score.
        class_weights: Whether rare classes weigh more (auto) or all pixels alike (none).
        devices: Train on all, or on so many, of the GPUs, or of the CPUs that the backend shows.
        seed: The seed of everything that is random.
        recipe: Another setting of kseg.Recipe, such as color=0.1. May be repeated.
        track: Follow the training in TensorBoard (RUN/tensorboard), Weights & Biases or MLflow.
    """

    out: Annotated[Path, Parameter(metavar="RUN", group=_RUN)]
    resume: Annotated[Flag, Parameter(group=_RUN)] = False
    model: Annotated[str | None, Parameter(metavar="NAME", group=NETWORK)] = None
    weights: Annotated[str | None, Parameter(metavar="START", group=NETWORK)] = None
    teacher: Annotated[
        tuple[str, ...], Parameter(metavar="MODEL", group=NETWORK, show_default=False)
    ] = ()
    teacher_flip: Annotated[Flag, Parameter(group=NETWORK)] = False
    freeze: Annotated[str | None, Parameter(metavar="ENDPOINT", group=NETWORK)] = None
    size: Annotated[Size, Parameter(group=_IMAGES)] = None
    crop: Annotated[Size, Parameter(group=_IMAGES)] = None
    with_val: Annotated[Flag, Parameter(group=_IMAGES)] = False
    epochs: Annotated[int | None, Parameter(group=(_TRAINING, _LENGTH))] = None
    minutes: Annotated[float | None, Parameter(group=(_TRAINING, _LENGTH))] = None
    batch_size: Annotated[int | None, Parameter(group=_TRAINING)] = None
    learning_rate: Annotated[float | None, Parameter(group=_TRAINING)] = None
    validate_every: Annotated[int | None, Parameter(group=_TRAINING)] = None
    patience: Annotated[int | None, Parameter(group=_TRAINING)] = None
    class_weights: Annotated[Literal["auto", "none"] | None, Parameter(group=_TRAINING)] = None
    devices: Annotated[str, Parameter(metavar="all|N", group=_TRAINING)] = "1"
    seed: Annotated[int, Parameter(group=_TRAINING)] = 0
    recipe: Annotated[Settings, Parameter(group=_TRAINING)] = ()
    track: Annotated[Literal["tensorboard", "wandb", "mlflow"] | None, Parameter(group=_RUN)] = None


def train(
    data: DataFile, /, *, options: TrainOptions, network: NetworkOptions = NetworkOptions()
) -> None:
    """Trains a network into a run folder."""
    started = time.monotonic()
    if not (options.devices == "all" or options.devices.isdecimal()):
        raise ValueError(f"--devices must be all or a number; got {options.devices}.")
    wanted = options.devices if options.devices == "all" else int(options.devices)
    import keras

    from kseg.cli.opening import warn_if_val_was_seen
    from kseg.training.planning import Wishes
    from kseg.training.report import report_on_run
    from kseg.training.tracking import Tracking

    tracking = Tracking(options.track, options.out) if options.track else None
    images = kseg.load_data(data)
    given = _given(options)
    with_val = kseg.Recipe(**given).with_val  # wrong values are refused before a network is built
    keras.utils.set_random_seed(options.seed)
    for seen in filter(None, (options.weights, *options.teacher)):
        if not with_val:
            warn_if_val_was_seen(seen, images)
    with kseg.on_devices(wanted):
        model, start = _network(options, network, images.classes.num_classes)
    teacher = _teacher(options, images)
    wishes = Wishes(given, start, say_aside, started)
    try:
        run = kseg.fit(
            model,
            images,
            wishes,
            run_dir=options.out,
            resume=options.resume,
            teacher=teacher,
            callbacks=[tracking] if tracking else [],
        )
    finally:
        if tracking:
            tracking.close()
    if not with_val:
        minutes = given.get("minutes") or math.inf
        report = report_on_run(run, model, images, until=started + _LATE * 60 * minutes)
        if report.scores.images < len(images.files("val")):
            say_aside(
                f"scored on {report.scores.images} of {len(images.files('val'))} images, as the "
                f"{minutes:g} minutes are over; kseg evaluate {run.path} {data} scores all"
            )
        if report.objects:
            print_object_scores(report.objects)
        else:
            print_scores(report.scores)
    network_file = f"--model {options.model} " if run.record["spec"] is None else ""
    say(
        f"best weights are in {run.path}; next: kseg export {run.path} {network_file}--data {data} "
        f"--out {run.path.name}.tflite"
    )


def _network(
    options: TrainOptions, network: NetworkOptions, num_classes: int
) -> tuple["keras.Model", str]:
    """Returns the network, and where its weights come from."""
    from kseg.cli.loading import is_keras_file, load_own
    from kseg.cli.opening import network_arguments
    from kseg.models import build, copy_weights

    for taken, instead in {"weights": "--weights", "num_classes": "the names in DATA"}.items():
        if any(setting.partition("=")[0] == taken for setting in network.set):
            raise ValueError(f"--set takes no {taken}; that is for {instead} to say.")
    name, source, like = options.model, None, dict[str, Any]()
    if name and is_keras_file(name):
        return _own(name, options.weights, network)
    if options.weights not in (None, "imagenet", "none"):
        if is_keras_file(options.weights):
            raise ValueError(
                f"--weights takes runs and trained models; to train on the network in "
                f"{options.weights}, with its weights, name it with --model."
            )
        load_own(options.weights, None)  # refuses a run of a network that kseg did not build
        source = kseg.load(options.weights)
        spec: Any = source.kseg_spec
        if name in (None, spec["builder"]):
            name, like = spec["builder"], spec["arguments"]
    named = Namespace(model=name or "fcn8s", backbone=network.backbone, set=network.set)
    built_with = like | network_arguments(named, num_classes)
    start = options.weights or built_with["weights"] or "none"
    model = build(
        named.model, {**built_with, "weights": "imagenet" if start == "imagenet" else None}
    )
    if source:
        copied = copy_weights(source, model)
        say_aside(f"{copied} of {len(model.weights)} weights taken over")
    return model, start


def _own(name: str, weights: str | None, network: NetworkOptions) -> tuple["keras.Model", str]:
    """Returns the network of a .keras file, with its weights or with those of a run of it."""
    from kseg.cli.loading import load_own

    if network.backbone or network.set:
        raise ValueError(f"--backbone and --set are for kseg's networks; {name} is built already.")
    if weights in ("imagenet", "none"):
        raise ValueError(
            f"--weights {weights} is for kseg's networks; {name} holds the weights to start from. "
            "Leave it out, or name a run of this network."
        )
    model: Any = load_own(weights, Path(name)) if weights else load_own(name, None)
    return model, weights or name


def _teacher(options: TrainOptions, data: "Data") -> "keras.Model | None":
    """Returns the network that teaches, which may stand for several; None where there is none."""
    import keras

    from kseg.cli.loading import find_model
    from kseg.cli.opening import warn_if_names_differ
    from kseg.data.upright import warn_of_mirrors
    from kseg.models import ensemble
    from kseg.training.run import is_run, open_run

    if options.teacher_flip and not options.teacher:
        raise ValueError("--teacher-flip needs a --teacher.")
    networks = []
    for name in options.teacher:
        if is_run(name) and open_run(name).record["spec"] is None:
            raise ValueError(
                f"--teacher {name} is a run of a network that kseg did not build, which a run "
                "folder does not hold; save it with model.save, and name the .keras file."
            )
        network, classes, _ = find_model(name)
        if not isinstance(network, keras.Model):
            raise ValueError(
                f"--teacher takes run folders, trained models and .keras files; got {name}."
            )
        warn_if_names_differ(name, classes, data)
        networks.append(network)
    if options.teacher_flip:
        warn_of_mirrors(data.classes.names, "--teacher-flip")
    if len(networks) > 1 or options.teacher_flip:
        return ensemble(networks, flip=options.teacher_flip)
    return networks[0] if networks else None


def _given(options: TrainOptions) -> dict[str, Any]:
    """Returns the settings that were given, as fields of `kseg.Recipe`."""
    from kseg.cli.opening import settings

    if options.with_val and options.patience:
        raise ValueError("--patience counts evaluations, and with --with-val there are none.")
    flags = {field.name for field in fields(kseg.Recipe) if hasattr(options, field.name)}
    own = {name: getattr(options, name) for name in flags}
    own = {name: value for name, value in own.items() if value is not None}
    own |= {name: None for name in ("class_weights", "freeze") if own.get(name) == "none"}
    other = settings(options.recipe)
    names = [field.name for field in fields(kseg.Recipe) if field.name not in flags]
    for name in other.keys() - set(names):
        flag = f"; that has a flag, --{name.replace('_', '-')}" if name in flags else ""
        raise ValueError(f"--recipe takes {', '.join(names)}; got {name!r}{flag}.")
    return {**own, **other}
