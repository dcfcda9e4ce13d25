"""Descriptions as text: of one network, layer by layer, and of all networks side by side."""

import inspect
from collections.abc import Collection, Mapping

from tabulate import tabulate

from kseg.analysis.description import Description, describe
from kseg.analysis.receptive_field import ReceptiveField
from kseg.models import MODELS, build

SIZE = (360, 480)


def summary(description: Description) -> str:
    """Returns what a network costs in total, as text with a line for each number."""
    height, width = description.size
    macs = _giga(description)
    if description.not_counted:
        unknown = [f"{layer.name} ({layer.kind})" for layer in description.not_counted]
        macs = f"at least {macs}; not counted: {', '.join(unknown)}"
    rows = [
        ["image", f"{height} x {width}"],
        ["params", f"{description.params / 1e6:.3f} M"],
        ["MACs", macs],
        ["weights at int8", f"{description.weights_bytes / 1e6:.2f} MB"],
        ["peak activations at int8", f"{description.peak_activation_bytes / 1e6:.2f} MB"],
    ]
    for level, field in description.receptive_field.items():
        text = _field(field) + (" pixels" if isinstance(field, tuple) else "")
        if description.effective is not None:
            text += f", effective {description.effective[level]:.0f}"
        rows.append([f"receptive field, {level}", text])
    return tabulate(rows, tablefmt="plain", disable_numparse=True)


def layer_table(description: Description) -> str:
    """Returns what each layer costs, as text with a line for each layer."""
    rows = [
        [
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.output_shape)),
            layer.params,
            "?" if layer.macs is None else layer.macs,
            layer.weights_bytes,
            layer.live_bytes or "",
        ]
        for layer in description.layers
    ]
    headers = ["layer", "kind", "output", "params", "MACs", "weights, bytes", "live, bytes"]
    return tabulate(rows, headers)


def describe_networks(
    names: Collection[str] = MODELS, size: tuple[int, int] = SIZE
) -> dict[str, Description]:
    """Describes networks as their builders make them by default.

    Args:
        names: Names of networks in `kseg.models.MODELS`; by default all.
        size: Height and width of the image in pixels.

    Returns:
        Name of each network to its description.
    """
    return {name: describe(build(name, {"weights": None}), size) for name in names}


def costs_table(descriptions: Mapping[str, Description]) -> str:
    """Returns what networks cost, as a Markdown table.

    Args:
        descriptions: What `describe_networks` returns.

    Returns:
        A table with a row for each network: its default backbone, params, GMACs, receptive field of
        the logits and megabytes of weights at int8.
    """
    sizes = {" x ".join(map(str, description.size)) for description in descriptions.values()}
    headers = [
        "network", "backbone", "params, M", f"GMACs at {', '.join(sizes)}", "receptive field",
        "int8 weights, MB",
    ]  # fmt: skip
    rows = []
    for name, description in descriptions.items():
        fields = description.receptive_field
        backbone = inspect.signature(MODELS[name]).parameters.get("backbone")
        rows.append(
            [
                name,
                (backbone.default if backbone is not None else None) or "its own",
                f"{description.params / 1e6:.2f}",
                "?" if description.macs is None else f"{description.macs / 1e9:.2f}",
                _field(fields["semantic" if "semantic" in fields else "logits"]),
                f"{description.weights_bytes / 1e6:.2f}",
            ]
        )
    align = ["left", "left", *["right"] * 4]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=align)


def _giga(description: Description) -> str:
    return f"{sum(layer.macs or 0 for layer in description.layers) / 1e9:.3f} G"


def _field(field: ReceptiveField) -> str:
    if isinstance(field, tuple):
        return str(field[0]) if len(set(field)) == 1 else " x ".join(map(str, field))
    return "not known" if field is None else "whole image"
