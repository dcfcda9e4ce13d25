"""Which layers quantization harms most, and keeping them in float.

TensorFlow can set a float twin beside every int8 op, both on the same input, so that the noise of a
layer is its own and not that of the layers before it.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow.lite.python.convert import mlir_quantize

from export.errors import GateError
from export.graph.converter import Calibration, named_converter, telling_of_ops
from export.recipes import QuantizationRecipe
from export.tflite.reader import ModelFile, read_model

_VERIFY = "NumericVerify"  # the op that compares a quantized tensor with its float twin
_LEAST = 1e-9  # a loss below this, 90 dB, is none: ops that only move numbers


@dataclass(frozen=True)
class LayerNoise:
    """What quantization does to one op.

    Attributes:
        tensor: The op's output in the file.
        layer: The layer it comes from.
        signal_to_noise: Power of its output by the power of its error, in dB. The mean over its
            channels, none of which counts as worse than lost: one loud channel, the usual cause
            of harm, would hide in the power of the whole.
    """

    tensor: str
    layer: str
    signal_to_noise: float


class CalibratedModel:
    """A model calibrated once: its int8 file, its layers by noise, and files with some in float.

    Attributes:
        content: The file with all layers in int8, the same as `to_tflite` makes.
    """

    def __init__(
        self,
        fixed: keras.Model,
        recipe: QuantizationRecipe,
        head: str,
        calibration: Calibration,
        images: int = 4,
    ):
        """Calibrates.

        Args:
            fixed: The model, with a batch of 1 and a fixed size.
            recipe: A recipe that `export.full_integer` made.
            head: One of `export.targets.HEADS`.
            calibration: Gives the images to take ranges from.
            images: How many of them to measure on.
        """
        with tempfile.TemporaryDirectory() as folder:
            converter = named_converter(fixed, recipe, head, calibration, folder)
            # TensorFlow's own debugger of quantization sets it too; then it quantizes as here.
            converter._experimental_calibrate_only = True
            with telling_of_ops():
                self._calibrated = converter.convert()
        self._recipe, self._inputs = recipe, [*islice(calibration(), images)]
        self.content = self._quantized()
        self._graph = _read(self.content)
        self._readers = _readers(self._graph)

    def _quantized(self, *, in_float: Sequence[str] = (), twins: bool = False) -> bytes:
        ends = tf.float32 if twins else tf.as_dtype(self._recipe.ends)
        content = mlir_quantize(
            self._calibrated,
            disable_per_channel=not self._recipe.per_channel,
            input_data_type=ends,
            output_data_type=ends,
            enable_numeric_verify=twins,
            denylisted_nodes=list(in_float),
        )
        return bytes(content)

    @cached_property
    def layers(self) -> list[LayerNoise]:
        """All layers, the noisiest first."""
        names = [self._graph.tensors[t].name for op in self._graph.ops for t in op.outputs]
        losses = {
            _plain(name, names): loss
            for name, loss in _measure(self._quantized(twins=True), self._inputs).items()
        }
        return [
            LayerNoise(tensor, layer_of(tensor), -10 * float(np.log10(loss)))
            for tensor, loss in sorted(losses.items(), key=lambda item: -item[1])
            if loss > _LEAST
        ]

    @property
    def movable(self) -> list[LayerNoise]:
        """The layers that can be kept in float: the bytes at both ends stay bytes."""
        return [layer for layer in self.layers if layer.tensor in self._readers]

    def in_float(self, kept: Sequence[LayerNoise]) -> list[str]:
        """Returns the tensors that ops must make in float to keep these layers' outputs so.

        An output stays in float only if the ops that read it compute in float too.
        """
        tensors = [t for layer in kept for t in (layer.tensor, *self._readers[layer.tensor])]
        return list(dict.fromkeys(tensors))

    def with_float(self, kept: Sequence[LayerNoise]) -> bytes:
        """Returns a file of bytes in and out that keeps the outputs of these layers in float."""
        return self._quantized(in_float=self.in_float(kept))


def fewest_in_float(
    calibrated: CalibratedModel, passes: Callable[[bytes], bool]
) -> tuple[bytes, list[str]]:
    """Finds the fewest of the noisiest layers that must stay in float.

    Doubles their number until the gate holds, then halves the gap.

    Args:
        calibrated: The model.
        passes: Whether a file is good enough.

    Returns:
        The file, and the names of all layers that compute in float in it.

    Raises:
        GateError: If not even all of them in float are enough.
    """
    layers = calibrated.movable
    few, many = 0, min(1, len(layers))  # few: known to be too few
    while not passes(content := calibrated.with_float(layers[:many])):
        if many == len(layers):
            raise GateError(
                f"Even with {many} layers in float the file loses too much mean IoU. Nothing was "
                "written. Export with --quantization float16."
            )
        few, many = many, min(2 * many, len(layers))
    while many - few > 1:
        middle = (few + many) // 2
        fewer = calibrated.with_float(layers[:middle])
        if passes(fewer):
            many, content = middle, fewer
        else:
            few = middle
    return content, [layer_of(tensor) for tensor in calibrated.in_float(layers[:many])]


def _measure(content: bytes, inputs: list[list[np.ndarray]]) -> dict[str, float]:
    """Runs a file with float twins and returns the loss of each quantized tensor, by name.

    TensorFlow's QuantizationDebugger reads tensors whose memory other ops have used since.
    """
    graph = _read(content)
    interpreter = Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    losses: dict[str, list[float]] = {}
    for (image,) in inputs:
        interpreter.set_tensor(graph.inputs[0], image)
        interpreter.invoke()
        for op in graph.ops:
            if op.custom_name == _VERIFY:
                quantized, expected = (interpreter.get_tensor(t) for t in op.inputs)
                tensor = graph.tensors[op.inputs[0]]
                lost = _lost(expected, quantized, tensor.scales[0], tensor.zero_points[0])
                losses.setdefault(tensor.name, []).append(lost)
    return {name: float(np.mean(values)) for name, values in losses.items()}


def _lost(expected, quantized, scale, zero_point) -> float:
    """Returns the mean share of a channel's power that its error has; 1 at most."""
    expected = np.asarray(expected, "float64").reshape(-1, expected.shape[-1])
    got = scale * (quantized.astype("float64").reshape(expected.shape) - zero_point)
    signal, noise = (np.mean(np.square(a), axis=0) for a in (expected, got - expected))
    live = signal > 0
    return float(np.mean(np.minimum(1, noise[live] / signal[live]))) if live.any() else 0.0


def _plain(name: str, names: list[str]) -> str:
    """Returns a tensor's name in the file without float twins, which make a number follow it."""
    fit = [n for n in names if name.startswith(n) and (name[len(n) :] or "0").isdecimal()]
    return max(fit, key=len, default=name)


def _read(content: bytes) -> ModelFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.tflite"
        path.write_bytes(content)
        return read_model(path)


def _readers(graph: ModelFile) -> dict[str, list[str]]:
    """Returns each tensor inside the graph with the outputs of the ops that read it.

    Without those of which an op reads the image or writes the result: at these ends int8 files
    convert bytes, which float ops would not take.
    """
    names = [tensor.name for tensor in graph.tensors]
    ends = {
        op.index
        for op in graph.ops
        if op.name in ("QUANTIZE", "DEQUANTIZE")
        and {*op.inputs, *op.outputs} & {*graph.inputs, *graph.outputs}
    }
    inside = [op for op in graph.ops if op.index not in ends]
    made = {t for index in ends for t in graph.ops[index].outputs}
    read = {t for index in ends for t in graph.ops[index].inputs}
    readers: dict[str, list[str]] = {}
    for op in inside:
        for output in op.outputs:
            following = [other for other in inside if output in other.inputs]
            at_end = made & set(op.inputs) or output in read
            at_end = at_end or any(read & set(other.outputs) for other in following)
            if not at_end:
                readers[names[output]] = [names[other.outputs[0]] for other in following]
    return readers


def layer_of(tensor: str) -> str:
    """Returns the layer's name from a tensor's, such as "net_1/score_c4_1/BiasAdd;..."."""
    parts = tensor.split(";")[0].split("/")
    if len(parts) == 1:  # the last op's tensor is named by the signature
        return "output"
    return re.sub(r"_\d+$", "", parts[1])  # a number that the clone's scope gets
