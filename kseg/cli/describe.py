"""`kseg describe`: what a network costs."""

import json
from argparse import Namespace
from pathlib import Path

import keras

import kseg
from kseg.analysis import costs_table, describe_networks, layer_table, summary
from kseg.analysis import describe as count
from kseg.analysis.tables import SIZE
from kseg.cli.opening import network_arguments, pair
from kseg.models import MODELS, TRAINED, build, check_choice
from kseg.training.run import find_trained, open_run


def describe(arguments: Namespace) -> None:
    """Prints params, MACs, receptive fields and memory of a network."""
    model, own_size = _find(arguments)
    size = pair(arguments.size) or own_size or SIZE
    description = count(model, size, effective=arguments.effective)
    if arguments.json:
        print(json.dumps(description.to_json()))
        return
    print(summary(description))
    if arguments.layers:
        print(f"\n{layer_table(description)}")


def print_costs(arguments: Namespace) -> None:
    """Prints what every network costs, as README's table or as JSON."""
    descriptions = describe_networks()
    if not arguments.json:
        print(costs_table(descriptions))
        return
    facts = {name: description.to_json() for name, description in descriptions.items()}
    for entry in facts.values():
        del entry["layers"]
    print(json.dumps(facts))


def _find(arguments: Namespace) -> tuple[keras.Model, tuple[int, int] | None]:
    """Returns a model and the size that it works at, where it has one."""
    name = arguments.model
    if name in MODELS:
        network = network_arguments(arguments, arguments.num_classes)
        return build(name, {**network, "weights": None}), None
    if Path(name).suffix == ".tflite":
        raise ValueError(f"{name} is exported already; name the run folder it came from.")
    if name not in TRAINED and not Path(name).is_dir():
        check_choice("model", name, [*MODELS, *TRAINED, "a run folder"])
    if arguments.backbone or arguments.num_classes or arguments.set:
        raise ValueError(f"{name} is trained: leave out --backbone and --num-classes, and --set.")
    found = find_trained(name) or open_run(name)
    return kseg.load(name), found.size
