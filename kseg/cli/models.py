"""`kseg models`: lists networks, backbones and trained models."""

from typing import Annotated

from cyclopts import Parameter

from kseg.cli.options import Flag, Json
from kseg.cli.output import print_json, print_table, say


def models(
    *,
    costs: Annotated[
        Flag, Parameter(help="Print what each network costs instead, as a Markdown table.")
    ] = False,
    json: Json = False,
) -> None:
    """Lists networks, backbones and trained models."""
    from kseg.backbones import BACKBONES
    from kseg.models import MODELS, TRAINED

    if costs:
        _print_costs(json)
        return
    trained = {
        name: {
            "network": record.builder,
            "data": record.data,
            "mean_iou": record.mean_iou,
            "size": list(record.size),
            "licence": record.licence,
        }
        for name, record in TRAINED.items()
    }
    if json:
        print_json({"networks": list(MODELS), "backbones": list(BACKBONES), "trained": trained})
        return
    say(f"networks:  {', '.join(MODELS)}\nbackbones: {', '.join(BACKBONES)}")
    rows = [[name, *facts.values()] for name, facts in trained.items()]
    if rows:
        print_table(rows, ["trained", "network", "data", "val mIoU", "size", "licence"])


def _print_costs(as_json: bool) -> None:
    """Prints what every network costs, as README's table or as JSON."""
    from kseg.analysis import costs_table, describe_networks

    descriptions = describe_networks()
    if not as_json:
        say(costs_table(descriptions))
        return
    facts = {name: description.to_json() for name, description in descriptions.items()}
    for entry in facts.values():
        del entry["layers"]
    print_json(facts)
