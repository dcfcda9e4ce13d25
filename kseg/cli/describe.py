"""`kseg describe`: what a network costs."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import kseg
from kseg.cli.options import NETWORK, Flag, Json, NetworkOptions, OwnNetwork, Size, record
from kseg.cli.output import print_json, say

if TYPE_CHECKING:
    import keras


@record
class DescribeOptions:
    """What `kseg describe` takes.

    Attributes:
        num_classes: The number of classes of a network. Default: 21.
        size: The size of the image. Default: the run's, or 360 480.
        effective: Measure the effective receptive fields too. Networks have random weights.
        layers: Print a line for each layer too.
        model: The network of a run that was trained from one of your own.
        json: Print one JSON object and nothing else.
    """

    num_classes: Annotated[int | None, Parameter(group=NETWORK)] = None
    size: Size = None
    effective: Flag = False
    layers: Flag = False
    model: OwnNetwork = None
    json: Json = False


def describe(
    name: Annotated[
        str,
        Parameter(help="A network, a run folder, a .keras file, or the name of a trained model."),
    ],
    /,
    *,
    network: NetworkOptions = NetworkOptions(),
    options: DescribeOptions = DescribeOptions(),
) -> None:
    """Counts parameters, multiply-adds, receptive fields and memory of a network."""
    from kseg.analysis import describe as count
    from kseg.analysis import layer_table, summary
    from kseg.analysis.tables import SIZE

    model, own_size = _find(name, network, options)
    size = options.size or own_size or SIZE
    description = count(model, size, effective=options.effective)
    if options.json:
        print_json(description.to_json())
        return
    say(summary(description))
    if options.layers:
        say(f"\n{layer_table(description)}")


def _find(
    name: str, network: NetworkOptions, options: DescribeOptions
) -> tuple["keras.Model", tuple[int, int] | None]:
    """Returns a model and the size that it works at, where it has one."""
    from kseg.cli.loading import is_keras_file, load_own
    from kseg.cli.opening import network_arguments
    from kseg.models import MODELS, TRAINED, build, check_choice
    from kseg.training.run import find_trained, is_run, open_run

    if name in MODELS and not is_run(name):
        if options.model:
            raise ValueError(f"--model is for runs; leave it out for the network {name}.")
        named = Namespace(model=name, backbone=network.backbone, set=network.set)
        arguments = network_arguments(named, options.num_classes)
        return build(name, {**arguments, "weights": None}), None
    if Path(name).suffix == ".tflite":
        raise ValueError(f"{name} is exported already; name the run folder it came from.")
    known = name in TRAINED or is_run(name) or Path(name).is_dir() or is_keras_file(name)
    if not known:
        check_choice("model", name, [*MODELS, *TRAINED, "a run folder", "a .keras file"])
    if network.backbone or options.num_classes or network.set:
        raise ValueError(f"{name} is trained: leave out --backbone and --num-classes, and --set.")
    model = load_own(name, options.model)
    if model is not None and is_keras_file(name):
        height, width = model.input_shape[1:3]
        return model, (height, width) if height and width else None
    found = find_trained(name) or open_run(name)
    return model or kseg.load(name), found.size
