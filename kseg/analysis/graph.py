"""A functional model as steps over tensors of known size, without running it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from kseg.layers import CropLike
from kseg.models.endings import is_network

# From (name, operation, positional arguments, keyword arguments) of a call to its outputs.
Visit = Callable[[str, keras.Operation, tuple, dict[str, Any]], Any]


@dataclass(frozen=True)
class Step:
    """A layer at one place of the graph.

    Attributes:
        name: Of the layer; layers of a model inside the model are "inner/layer".
        layer: Usually a layer; a bare `keras.ops` call is an operation that is none.
        inputs: Indices of the tensors whose values it reads.
        outputs: Indices of tensors.
        repeated: Whether an earlier step has the same layer, and so the same weights.
        arguments: What the layer is called with, tensors and plain values in order.
        reference: Index of a tensor of which only the size is read; None for most layers.
        training: Whether the model always calls it as in training.
    """

    name: str
    layer: keras.Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    repeated: bool
    arguments: tuple[Any, ...] = field(default=(), repr=False)
    reference: int | None = None
    training: bool = False


@dataclass(frozen=True)
class Graph:
    """A model at a fixed image size, with a batch of 1.

    Attributes:
        shapes: Of all tensors, (1, H, W, C) for maps.
        steps: In the order in which the model runs them.
        image: Index of the tensor that comes in.
        outputs: Indices of the tensors that go out.
        names: What the model calls them; empty where it does not give a dict.
    """

    shapes: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    image: int
    outputs: tuple[int, ...]
    names: tuple[str, ...] = ()

    def shapes_of(self, indices: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Returns the shapes of tensors."""
        return [self.shapes[index] for index in indices]

    def consumers(self) -> dict[int, list[int]]:
        """Returns tensor to the numbers of the steps that read it."""
        found: dict[int, list[int]] = {index: [] for index in range(len(self.shapes))}
        for number, step in enumerate(self.steps):
            for index in set(step.inputs):
                found[index].append(number)
        return found

    def makers(self) -> dict[int, int]:
        """Returns tensor to the number of the step that makes it."""
        return {index: number for number, step in enumerate(self.steps) for index in step.outputs}


def walk(model: keras.Model, inputs: Any, visit: Visit, *, prefix: str = "") -> Any:
    """Sends tensors through a model call by call; models inside the model are entered.

    Args:
        model: One that `is_network`.
        inputs: Its input, or a list of them: whatever `visit` works on.
        visit: Makes each call. Layers of a model inside the model are named "inner/layer".
        prefix: Of the names.

    Returns:
        What the calls made of the model's outputs.
    """
    network = model._functional if isinstance(model, keras.Sequential) else model

    def enter(operation: keras.Operation) -> Callable:
        name = prefix + operation.name

        def call(*args: Any, **kwargs: Any) -> Any:
            # A model that is called for training is one call: what it does depends on the batch.
            if is_network(operation) and not kwargs.get("training"):
                return walk(
                    operation, args[0] if args else kwargs["inputs"], visit, prefix=f"{name}/"
                )
            return visit(name, operation, args, kwargs)

        return call

    # Keras's own walk: it knows shared layers, several outputs, and arguments by name.
    return network._run_through_graph(inputs, operation_fn=enter)


def trace(model: keras.Model, size: tuple[int, int]) -> Graph:
    """Follows an image of a size through a model by shapes alone.

    The model stays as it is: no weight is made and no layer is called.

    Args:
        model: Functional or Sequential, with one image (N, H, W, C) as its input.
        size: (height, width) of the image in pixels.

    Returns:
        Every layer with its shapes.

    Raises:
        ValueError: If the model is not of this kind, or takes no images of this size.
    """
    if not is_network(model):
        raise ValueError(
            "The model must be a functional or a built Sequential one, so that its layers can be "
            "followed; write it as keras.Model(inputs, outputs)."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tensor.shape) for tensor in model.inputs)
        raise ValueError(f"The model must take one image (N, H, W, C); its inputs are {shapes}.")
    _, *wanted, channels = model.inputs[0].shape
    sizes = tuple(size)
    if len(sizes) != 2 or not all(isinstance(side, int) and side > 0 for side in sizes):
        raise ValueError(f"size must be (height, width) in pixels; got {size}.")
    if any(side not in (None, given) for side, given in zip(wanted, sizes, strict=True)):
        raise ValueError(
            f"The model takes images of {wanted[0]} x {wanted[1]} pixels only; got size {size}. "
            "Build it with sizes of None."
        )
    try:
        return _Tracer().trace(model, keras.KerasTensor((1, *sizes, channels or 3)))
    except Exception as error:  # a layer says in its own words what it cannot take
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"The model cannot take an image of {sizes[0]} x {sizes[1]}: {why}."
        ) from error


def follow(model: keras.Model) -> Graph:
    """Follows an image through a model as `trace` does, at the sizes that it is written for.

    Sides that it leaves open are None in the shapes.

    Raises:
        ValueError: If the model is not of that kind.
    """
    if not is_network(model) or len(model.inputs) != 1:
        raise ValueError("The model must be a functional or a built Sequential one of one image.")
    return _Tracer().trace(model, keras.KerasTensor((1, *model.inputs[0].shape[1:])))


class _Tracer:
    """Gives tensors indices and keeps them alive, so that `id` tells them apart."""

    def __init__(self) -> None:
        self.tensors: list[keras.KerasTensor] = []
        self.numbers: dict[int, int] = {}
        self.steps: list[Step] = []
        self.seen: set[int] = set()

    def trace(self, model: keras.Model, image: keras.KerasTensor) -> Graph:
        self._add(image)
        made = walk(model, image, self._step)
        shapes = tuple(tuple(tensor.shape) for tensor in self.tensors)
        numbers = tuple(self.numbers[id(x)] for x in keras.tree.flatten(made))
        names = tuple(sorted(made)) if isinstance(made, dict) else ()  # the order of `flatten`
        return Graph(shapes, tuple(self.steps), 0, numbers, names)

    def _step(self, name: str, layer: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
        arguments = keras.tree.flatten((args, kwargs))
        read = [self.numbers[id(x)] for x in arguments if keras.backend.is_keras_tensor(x)]
        reference = read.pop() if isinstance(layer, CropLike) else None
        if isinstance(layer, layers.Concatenate):
            _check_joined(name, layer, [self.tensors[index].shape for index in read])
        # Neither computes nor adds to the model's graph, as a call would.
        outputs = layer.compute_output_spec(*args, **kwargs)
        made = tuple(self._add(tensor) for tensor in keras.tree.flatten(outputs))
        repeated = id(layer) in self.seen
        always = kwargs.get("training") is True
        step = Step(name, layer, tuple(read), made, repeated, tuple(arguments), reference, always)
        self.steps.append(step)
        self.seen.add(id(layer))
        return outputs

    def _add(self, tensor: keras.KerasTensor) -> int:
        self.numbers[id(tensor)] = len(self.tensors)
        self.tensors.append(tensor)
        return self.numbers[id(tensor)]


def _check_joined(name: str, layer: layers.Concatenate, shapes: list[tuple[int, ...]]) -> None:
    """Refuses maps that differ on another axis than that on which they are joined.

    Keras finds that out only where the size of the image is written into the model.
    """
    axis = layer.axis % len(shapes[0])
    others = {(*shape[1:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(others) > 1:
        sizes = " and ".join(" x ".join(map(str, shape[1:])) for shape in shapes)
        raise ValueError(f"the layer {name} (Concatenate) is to join {sizes}")


CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
NORMS = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.RMSNormalization,
)


def same_padding(size: int, kernel_size: int, stride: int, dilation_rate: int) -> tuple[int, int]:
    """Returns what "same" pads (before, after) an axis of `size` positions."""
    reach = (kernel_size - 1) * dilation_rate + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
