"""The model as it is converted: batch 1, one image size, maybe without its ends.

Batch and size are fixed because from any other model the converter makes SPACE_TO_BATCH_ND, SHAPE,
PACK and unfolded batch norms. The scaling is left out of integer files, whose input's quantization
does its work, and the last upsampling where a coarser output is asked for.

The model is called again, layer by layer, on an image of that size. Each layer has a twin there
that holds the very same variables, so that no weight is copied, and none to a wrong place.
"""

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.src.models.functional import Functional

from export.graph.ends import end_at, own_stride
from export.graph.rewrites import rewrite
from export.graph.scaling import Scaling, scaling_steps
from export.tflite.maps import Maps, as_maps
from export.tflite.runtime import FixedSize
from kseg.analysis.graph import Graph, trace, walk
from kseg.inference import channels_of
from kseg.layers import CropLike

_FEW = 8  # images that take less time as they come than a compilation takes
_SAME = 1e-5  # of the largest value

Operation = TypeVar("Operation", bound=keras.Operation)


class Original(FixedSize):
    """The model that was handed in, called as it is: what every file is compared with.

    Attributes:
        model: From images (N, H, W, channels), 0..255, to logits, or to a dict of three maps.
        output_names: The names of the maps, where it gives a dict.
    """

    def __init__(self, model: keras.Model, input_size: tuple[int, int]):
        """Wraps a model.

        Args:
            model: The model.
            input_size: (height, width) of a file's input; smaller images are padded as there.
        """
        self.model, self.input_size, self.channels = model, input_size, channels_of(model)
        self._call: Callable[[np.ndarray], Maps] = partial(call_original, model)
        self._seen = 0
        graph = trace(model, input_size)
        self.stride, self.output_names = own_stride(graph), graph.names

    def logits(self, images: np.ndarray) -> Maps:
        """Maps images float32 (1, H, W, channels), 0..255, to logits, or to a dict of maps."""
        self._seen += 1
        if self._seen == _FEW:
            self._call = _quickest(self.model, images)
        return self._call(images)


class FixedModel(FixedSize):
    """A model at the file's size, in float: what is converted.

    Attributes:
        model: From a scaled image (1, H, W, channels) to logits (1, ceil(H / stride),
            ceil(W / stride), num_classes), or to a dict of three maps.
        scaling: (factor, offset) of the scaling of the input that the model lacks.
        stride: Pixels of the input for one of the output.
        tensors: What each call of the original makes here; None where it is left out, and where
            that is at another grid.
        names: The names of the layers that are called.
        ends: The calls before the first that is left out, of each map; None where the model ends
            as the original does.
    """

    def __init__(
        self,
        model: keras.Model,
        scaling: Scaling,
        stride: int,
        tensors: tuple[Any, ...],
        names: tuple[str, ...],
        ends: tuple[int, ...] | None,
    ):
        """Wraps a model that `fix_model` made."""
        self.model, self.scaling, self.stride = model, scaling, stride
        self.tensors, self.names, self.ends = tensors, names, ends
        height, width, self.channels = model.inputs[0].shape[1:]
        self.input_size = (height, width)

    def logits(self, images: np.ndarray) -> Maps:
        """Maps images float32 (1, H, W, channels), 0..255, to logits, or to a dict of maps."""
        found = as_maps(self.model(self.scale(images), training=False))
        return keras.tree.map_structure(lambda x: np.asarray(x, "float32"), found)

    def scale(self, images: np.ndarray) -> np.ndarray:
        """Returns images as the model takes them."""
        return np.asarray(images, "float32") * np.float32(self.scaling[0]) + np.float32(
            self.scaling[1]
        )


def call_original(model: keras.Model, image: np.ndarray) -> Maps:
    """Calls a model as it is on one image (1, H, W, channels); returns its maps in float32."""
    return _taken_out(model(_put_in(model, image), training=False))


def _quickest(model: keras.Model, image: np.ndarray) -> Callable[[np.ndarray], Maps]:
    """Returns a compiled call of a model, if it does the same on an image; else the plain one.

    It takes a third of the time. Layers that compute in NumPy or decide by what they see cannot be
    compiled.
    """
    plain = partial(call_original, model)
    compiled = tf.function(partial(model, training=False), autograph=False)

    def quick(image: np.ndarray) -> Maps:
        return _taken_out(compiled(_put_in(model, image)))

    try:
        pairs = zip(*(keras.tree.flatten(call(image)) for call in (plain, quick)), strict=True)
        same = all(np.abs(a - b).max() <= _SAME * np.abs(a).max() for a, b in pairs)
    except Exception:  # from any layer of anybody
        return plain
    return quick if same else plain


def _put_in(model: keras.Model, image: np.ndarray) -> Any:
    batch = model.inputs[0].shape[0] if getattr(model, "inputs", None) else None
    images: Any = tf.constant(np.repeat(np.asarray(image, "float32"), batch or 1, axis=0))
    if isinstance(model, Functional):  # which may take its image in a list or under a name
        images = keras.tree.map_structure(lambda _: images, model._inputs_struct)
    return images


def _taken_out(found: Any) -> Maps:
    return keras.tree.map_structure(lambda x: np.asarray(x[:1], "float32"), as_maps(found))


def fix_model(
    model: keras.Model, size: tuple[int, int], *, keep_scaling: bool, stride: int = 1
) -> FixedModel:
    """Rebuilds a model with a batch of 1 and a fixed size; it has the model's own variables.

    Args:
        model: From images (N, H, W, channels), 0..255, to logits, or to a dict of three maps.
        size: (height, width) of the input.
        keep_scaling: Whether what scales the input stays.
        stride: One of `strides`; the upsampling that follows it is left out.

    Returns:
        The model, in which layers that the converter turns into ops that devices lack are replaced
        by others of equal outputs.

    Raises:
        ValueError: If the model cannot end at this stride.
    """
    graph = trace(model, size)
    stride, left_out = end_at(graph, stride)
    scaling_numbers, scaling = (frozenset(), (1.0, 0.0)) if keep_scaling else scaling_steps(graph)
    coarse = tuple(-(-side // stride) for side in size)
    moved = _moved(graph, left_out)
    tensors: list[Any] = []
    names: list[str] = []
    twins = _Twins()

    def visit(name: str, operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
        number = len(tensors)
        names.append(name)
        if number in scaling_numbers or number in left_out:
            tensors.append(None)
            result = keras.tree.flatten(args)[0]
            if isinstance(operation, CropLike):
                crop = layers.Cropping2D(
                    _excess(result, coarse), name=free_name(operation.name), dtype="float32"
                )
                result = crop(result)
            return result
        twin = twins.of(operation, name)
        result = rewrite(twin, args)
        result = twin(*args, **kwargs) if result is None else result
        tensors.append(None if number in moved else result)
        return result

    channels = graph.shapes[graph.image][-1]
    image = keras.Input(batch_shape=(1, *size, channels), name="image")
    fixed = keras.Model(image, as_maps(walk(model, image, visit)), name=free_name(model.name))
    ends = tuple(n for n in _before(graph, moved) if tensors[n] is not None) if moved else None
    return FixedModel(fixed, scaling, stride, tuple(tensors), tuple(names), ends)


def _moved(graph: Graph, left_out: frozenset[int]) -> set[int]:
    """Returns the steps whose results are at another grid: those left out, and all behind them."""
    steps, tensors = set(left_out), {t for n in left_out for t in graph.steps[n].outputs}
    for number, step in enumerate(graph.steps):
        if not tensors.isdisjoint(step.inputs):
            steps.add(number)
            tensors.update(step.outputs)
    return steps


def _before(graph: Graph, moved: set[int]) -> list[int]:
    """Returns the steps whose results the moved ones take, and that are not moved themselves."""
    makers = graph.makers()
    read = {makers[t] for number in moved for t in graph.steps[number].inputs if t in makers}
    return sorted(read - moved)


class _Twins:
    """Layers with the variables of others and places of their own in a graph."""

    def __init__(self) -> None:
        self.twins: dict[int, Any] = {}
        self.taken: set[str] = {"image"}

    def of(self, operation: Operation, name: str) -> Operation:
        """Returns the twin of a layer, one for all calls of it."""
        if id(operation) not in self.twins:
            own = free_name(name, self.taken)
            self.taken.add(own)
            self.twins[id(operation)] = _twin(operation, own)
        return self.twins[id(operation)]


def free_name(name: str, taken: Collection[str] = ()) -> str:
    """Returns a name that TensorFlow takes, of a layer that may be inside another model.

    Args:
        name: Such as "inner/conv 1".
        taken: Names that other layers have.
    """
    name = re.sub(r"[^A-Za-z0-9_.\\>-]", "_", name)
    name = name if re.match("[A-Za-z0-9.]", name) else f"layer{name}"
    while name in taken:
        name += "_again"
    return name


def _twin(operation: Operation, name: str) -> Operation:
    # Not by `get_config`, which layers of one's own may lack, nor by copy, which Keras turns into
    # saving. Without nodes: those are the places in the original's graph.
    twin = object.__new__(type(operation))
    own = {"name": name, "_inbound_nodes": [], "_outbound_nodes": []}
    vars(twin).update(vars(operation) | own)
    if isinstance(twin, keras.Layer) and twin.compute_dtype != twin.variable_dtype:
        vars(twin)["_dtype_policy"] = keras.DTypePolicy(twin.variable_dtype)
    return twin


def _excess(x: Any, size: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns how much of x to cut at the bottom and right, as Cropping2D wants it."""
    return (0, x.shape[1] - size[0]), (0, x.shape[2] - size[1])
