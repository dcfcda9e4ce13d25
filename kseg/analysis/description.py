"""What a network costs at an image size."""

from dataclasses import dataclass
from typing import Any

import keras

from kseg.analysis.costs import count_macs, count_params, count_weights_bytes
from kseg.analysis.effective import effective_side, influence_map
from kseg.analysis.graph import trace
from kseg.analysis.memory import fuse, live_bytes
from kseg.analysis.receptive_field import ReceptiveField, theoretical_receptive_field


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        name: Name of the layer, written "inner/layer" in a model inside the model.
        kind: Class of the layer, such as "Conv2D".
        output_shape: Shape of its output without the batch, (H, W, C) for maps.
        params: How many weights it has, moving statistics of batch norms included; 0 where a layer
            is called again.
        macs: Multiply-adds for one image, or None if they are not known for this kind.
        weights_bytes: Bytes of its weights in an int8 file; 0 for a batch norm that is folded.
        live_bytes: Bytes of int8 activations in memory while it runs, its inputs and outputs among
            them; 0 for a layer that the converter folds into another.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int | None
    weights_bytes: int
    live_bytes: int


@dataclass(frozen=True)
class Description:
    """What a network costs at an image size.

    Attributes:
        size: (height, width) of the image in pixels.
        params: How many weights it has, moving statistics of batch norms included.
        macs: Multiply-adds for one image, in convolutions of every kind and dense layers, or None
            if those of a layer are not known.
        receptive_field: Receptive field of each endpoint of the backbone, by level, and of the
            model's output, as "logits"; of several named outputs, of each by its name. It is
            (height, width) in pixels, not cut at the border; "image" if the whole image counts,
            however large it is; None if a layer on the way is not known.
        effective: Side in pixels of a square as large as the effective receptive field, for the
            same maps; None if it was not asked for.
        weights_bytes: Bytes of the weights in an int8 file, with int8 kernels, int32 biases and
            batch norms folded.
        peak_activation_bytes: Bytes of int8 activations in memory at the moment when there are
            most.
        layers: Each layer, in the order in which the model runs them.
    """

    size: tuple[int, int]
    params: int
    macs: int | None
    receptive_field: dict[str, ReceptiveField]
    effective: dict[str, float] | None
    weights_bytes: int
    peak_activation_bytes: int
    layers: tuple[LayerCost, ...]

    @property
    def not_counted(self) -> tuple[LayerCost, ...]:
        """The layers whose MACs are not known, which `macs` therefore lacks."""
        return tuple(layer for layer in self.layers if layer.macs is None)

    def to_json(self) -> dict[str, Any]:
        """Returns what `kseg describe --json` prints."""
        facts: dict[str, Any] = {
            "params": self.params,
            "macs": self.macs,
            "receptive_field": {
                level: list(field) if isinstance(field, tuple) else field
                for level, field in self.receptive_field.items()
            },
            "weights_bytes": self.weights_bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "layers": [
                {**vars(layer), "output_shape": list(layer.output_shape)} for layer in self.layers
            ],
        }
        if self.effective is not None:
            facts["effective_receptive_field"] = self.effective
        return facts


def describe(model: keras.Model, size: tuple[int, int], *, effective: bool = False) -> Description:
    """Counts what a network costs, without running it.

    Args:
        model: A functional or Sequential model, kseg's or your own, with one image (N, H, W, C)
            of any number of channels as its input; its own sizes may be None. Its endpoints are
            read from `kseg_endpoints` (level to layer name), where it has them.
        size: (height, width) of the image in pixels.
        effective: Whether to measure the effective receptive fields too. This does run the
            network, on four images of random pixels, with the weights that it has.

    Returns:
        Params, MACs, receptive fields, bytes of weights and of activations at int8, in total and
        layer by layer. `Description` and `kseg.analysis.count_macs` say how they are counted.

    Raises:
        ValueError: If the model is not of this kind, or takes no images of this size.
    """
    graph = trace(model, size)
    fusion = fuse(graph)
    live, peak = live_bytes(graph, fusion)
    costs = []
    for number, step in enumerate(graph.steps):
        inputs, outputs = graph.shapes_of(step.inputs), graph.shapes_of(step.outputs)
        norm, folded = fusion.norms.get(number), fusion.folds(step)
        costs.append(
            LayerCost(
                name=step.name,
                kind=type(step.layer).__name__,
                output_shape=outputs[0][1:],
                params=0 if step.repeated else count_params(step.layer),
                macs=count_macs(step.layer, inputs, outputs),
                weights_bytes=count_weights_bytes(step, norm, folded),
                live_bytes=live[number],
            )
        )
    macs = [cost.macs for cost in costs]
    tensors = {step.name: step.outputs[0] for step in graph.steps}
    endpoints = dict(getattr(model, "kseg_endpoints", {}))
    fields = {
        level: theoretical_receptive_field(graph, tensors[layer])
        for level, layer in endpoints.items()
    }
    named: list[str] = list(model.output) if isinstance(model.output, dict) else []
    names = named or ["logits"]
    tensor_of = dict(zip(sorted(names), graph.outputs, strict=False))  # in the names' order
    for name in names:
        fields[name] = theoretical_receptive_field(graph, tensor_of[name])
    sides = None
    if effective:
        maps = {**endpoints, **{name: name if named else None for name in names}}
        sides = {k: effective_side(influence_map(model, size, v)) for k, v in maps.items()}
    return Description(
        size=(size[0], size[1]),
        params=model.count_params(),
        macs=None if None in macs else sum(count for count in macs if count),
        receptive_field=fields,
        effective=sides,
        weights_bytes=sum(cost.weights_bytes for cost in costs),
        peak_activation_bytes=peak,
        layers=tuple(costs),
    )
