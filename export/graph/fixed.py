"""The model as it is converted: batch 1, one image size, maybe without its ends.

Batch and size are fixed because from any other model the converter makes SPACE_TO_BATCH_ND, SHAPE,
PACK and unfolded batch norms. The scaling layer is left out of integer files, whose input's
quantization does its work, and the last upsampling where a coarser output is asked for.
"""

import keras
import numpy as np
from keras import layers

from export.graph.rewrites import rewrite
from export.tflite.runtime import FixedSize
from kseg.layers import CropLike, Resize

_LARGEST_DIFFERENCE = 1e-4  # of a rewritten model's logits, as a share of the largest


class FixedModel(FixedSize):
    """A model at the file's size, in float: what the file is compared with.

    Attributes:
        model: From a scaled image (1, H, W, 3) to logits (1, ceil(H / stride), ceil(W / stride),
            num_classes).
        scaling: (factor, offset) of the scaling of the input that the model lacks.
        stride: Of the output.
    """

    def __init__(self, model: keras.Model, scaling: tuple[float, float], stride: int = 1):
        """Wraps a model that `fix_model` made."""
        self.model, self.scaling, self.stride = model, scaling, stride
        self.input_size = tuple(model.inputs[0].shape[1:3])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Maps images float32 (1, H, W, 3), 0..255, to logits."""
        return np.asarray(self.model(images * self.scaling[0] + self.scaling[1], training=False))


def fix_model(
    model: keras.Model, size: tuple[int, int], *, keep_scaling: bool, stride: int = 1
) -> FixedModel:
    """Rebuilds a model with a batch of 1 and a fixed size, its weights copied.

    Args:
        model: From images (N, H, W, 3), 0..255, to logits.
        size: (height, width) of the input.
        keep_scaling: Whether the layer that scales the input stays.
        stride: One of `strides(model)`; the upsampling that follows it is left out.

    Returns:
        The model, in which layers that the converter turns into ops that devices lack are replaced
        by others of equal outputs.

    Raises:
        ValueError: If the model cannot end at this stride.
        RuntimeError: If a replaced layer does not give equal outputs: a bug.
    """
    left_out, scaling = set(end_at(model, stride)), (1.0, 0.0)
    first = None if keep_scaling else _scaling_layer(model)
    if first is not None:
        left_out.add(first.name)
        scaling = (float(first.scale), float(first.offset))
    coarse = tuple(-(-side // stride) for side in size)
    rewritten: list[str] = []

    def call(layer, *args, **kwargs):
        if layer.name in left_out:
            if not isinstance(layer, CropLike):
                return args[0]
            return layers.Cropping2D(_excess(args[0][0], coarse), name=layer.name)(args[0][0])
        replaced = rewrite(layer, model.get_layer(layer.name), args)
        if replaced is None:
            return layer(*args, **kwargs)
        rewritten.append(layer.name)
        return replaced

    image = keras.Input(batch_shape=(1, *size, 3), name="image")
    # A compiled model would be cloned with its optimizer and loss; a second view of it is not.
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    fixed = keras.models.clone_model(plain, input_tensors=image, call_function=call)
    _copy_weights(model, fixed)
    if tuple(fixed.outputs[0].shape[1:3]) != coarse:
        raise ValueError(
            f"The model makes {tuple(fixed.outputs[0].shape[1:3])} logits of an image of {size}; "
            f"with a stride of {stride} there must be {coarse}."
        )
    result = FixedModel(fixed, scaling, stride)
    if rewritten and stride == 1:
        _check_equal(plain, result, rewritten)
    return result


def end_at(model: keras.Model, stride: int) -> frozenset[str]:
    """Returns the names of the layers that are left out, or cut, at a stride.

    Raises:
        ValueError: If the model cannot end there.
    """
    ends = strides(model)
    if stride not in ends:
        raise ValueError(
            f"stride must be one at which this network can end, {' or '.join(map(str, ends))}; "
            f"got {stride}."
        )
    return ends[stride]


def strides(model: keras.Model) -> dict[int, frozenset[str]]:
    """Returns the strides at which a model can end.

    Walks back from the logits through layers that only enlarge, crop or mix channels: without the
    enlarging ones the same logits come out, at a coarser grid.

    Args:
        model: From images to logits.

    Returns:
        Stride to the names of the layers that are then left out or cut to the coarser grid; 1
        is always there.
    """
    ends: dict[int, frozenset[str]] = {1: frozenset()}
    left_out: set[str] = set()
    stride, mixed, tensor = 1, False, model.outputs[0]
    while True:
        layer, node = tensor._keras_history[:2]
        inputs = layer._inbound_nodes[node].input_tensors if layer._inbound_nodes else ()
        if not inputs or len(layer._inbound_nodes) != 1:  # a shared layer stays
            return ends
        factor = _factor(layer, inputs[0])
        # A crop before an upsampling would need a grid of its own; a learnt upsampling and a
        # mixture of channels do not commute.
        crop = isinstance(layer, CropLike)
        if factor is None or (crop and stride > 1) or (factor > 1 and mixed and _learnt(layer)):
            return ends
        mixed |= isinstance(layer, layers.Conv2D)
        stride *= factor
        if crop or factor > 1:
            left_out.add(layer.name)
        if factor > 1:
            ends[stride] = frozenset(left_out)
        tensor = inputs[0]


def _copy_weights(model, fixed) -> None:
    # By path: the clone's order of weights may differ once a layer is left out. Rewritten layers
    # have their weights, and paths of their own.
    sources = {variable.path: variable for variable in model.weights}
    for variable in fixed.weights:
        if variable.path in sources:
            variable.assign(sources[variable.path])


def _factor(layer, x) -> int | None:
    """Returns by how much a layer enlarges; None if it does more than the end of a network may."""
    if isinstance(layer, Resize):
        return layer.scale
    if isinstance(layer, layers.UpSampling2D):
        return layer.size[0] if layer.size[0] == layer.size[1] else None
    if isinstance(layer, layers.Conv2DTranspose):
        plain = _is_linear(layer) and not layer.use_bias and layer.padding == "same"
        square = layer.strides[0] == layer.strides[1] and layer.filters == x.shape[-1]
        return layer.strides[0] if plain and square else None
    if isinstance(layer, layers.Conv2D):
        pointwise = (*layer.kernel_size, *layer.strides) == (1, 1, 1, 1)
        return 1 if pointwise and _is_linear(layer) else None
    if isinstance(layer, layers.Activation):
        return 1 if _is_linear(layer) else None
    return 1 if isinstance(layer, CropLike | layers.Dropout | layers.SpatialDropout2D) else None


def _is_linear(layer) -> bool:
    return layer.activation is keras.activations.linear


def _learnt(layer) -> bool:
    return isinstance(layer, layers.Conv2DTranspose)


def _excess(x, size) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns how much of x to cut at the bottom and right, as Cropping2D wants it."""
    return (0, x.shape[1] - size[0]), (0, x.shape[2] - size[1])


def _scaling_layer(model) -> layers.Rescaling | None:
    """Returns the layer that scales the input, where one factor serves all channels."""
    for layer in model.layers:
        if isinstance(layer, layers.Rescaling) and layer.input is model.inputs[0]:
            return layer if np.ndim(layer.scale) == np.ndim(layer.offset) == 0 else None
    return None


def _check_equal(model, fixed: FixedModel, rewritten: list[str]) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (1, *fixed.input_size, 3)).astype("float32")
    expected = np.asarray(model(image, training=False))
    difference = float(np.abs(expected - fixed.logits(image)).max())
    if difference > _LARGEST_DIFFERENCE * max(1.0, float(np.abs(expected).max())):
        raise RuntimeError(
            f"Rewriting {', '.join(rewritten)} for the converter changed logits by "
            f"{difference:.3g}."
        )
