"""Which layers quantization harms most, and keeping them in float.

TensorFlow's QuantizationDebugger sets a float twin beside every int8 op, both on the same input, so
that the noise of a layer is its own and not that of the layers before it.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow.lite.python.util import modify_model_io_type

from export.errors import GateError
from export.graph.converter import Calibration, draft_converter, named_converter
from export.graph.fixed import FixedModel
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


class NoisyLayers:
    """A model calibrated once: its layers by noise, and int8 files with some of them in float.

    Attributes:
        layers: The noisiest first.
    """

    def __init__(
        self,
        fixed: FixedModel,
        recipe: QuantizationRecipe,
        head: str,
        calibration: Calibration,
        images: int = 4,
    ):
        """Calibrates and measures.

        Args:
            fixed: The model.
            recipe: A recipe that `export.full_integer` made.
            head: One of `export.targets.HEADS`.
            calibration: Gives the images to take ranges from.
            images: How many of them to measure on.
        """
        asked = fixed.model, recipe, head, calibration
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # "tf.lite.Interpreter is deprecated": the debugger knows no other.
            warnings.simplefilter("ignore", UserWarning)
            # Of several outputs, only their names tell which is which.
            several = len(fixed.model.outputs) > 1
            converter = named_converter(*asked, folder) if several else draft_converter(*asked)
            self._debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
        graph = _read(self._debugger.get_nondebug_quantized_model())
        names = [graph.tensors[t].name for op in graph.ops for t in op.outputs]
        losses = {
            _plain(name, names): loss
            for name, loss in _measure(
                self._debugger.quant_model, [*islice(calibration(), images)]
            ).items()
        }
        self.layers = [
            LayerNoise(tensor, layer_of(tensor), -10 * float(np.log10(loss)))
            for tensor, loss in sorted(losses.items(), key=lambda item: -item[1])
            if loss > _LEAST
        ]
        self._readers = _readers(graph)

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._debugger.options = tf.lite.experimental.QuantizationDebugOptions(
                denylisted_nodes=self.in_float(kept)
            )
            content = self._debugger.get_nondebug_quantized_model()
        return modify_model_io_type(bytes(content), tf.uint8, tf.uint8)


def fewest_in_float(noisy: NoisyLayers, passes: Callable[[bytes], bool]) -> tuple[bytes, list[str]]:
    """Finds the fewest of the noisiest layers that must stay in float.

    Doubles their number until the gate holds, then halves the gap.

    Args:
        noisy: The layers.
        passes: Whether a file is good enough.

    Returns:
        The file, and the names of all layers that compute in float in it.

    Raises:
        GateError: If not even all of them in float are enough.
    """
    layers = noisy.movable
    few, many = 0, min(1, len(layers))  # few: known to be too few
    while not passes(content := noisy.with_float(layers[:many])):
        if many == len(layers):
            raise GateError(
                f"Even with {many} layers in float the file loses too much mean IoU. Nothing was "
                "written. Export with --quantization float16."
            )
        few, many = many, min(2 * many, len(layers))
    while many - few > 1:
        middle = (few + many) // 2
        fewer = noisy.with_float(layers[:middle])
        if passes(fewer):
            many, content = middle, fewer
        else:
            few = middle
    return content, [layer_of(tensor) for tensor in noisy.in_float(layers[:many])]


def _measure(content: bytes, inputs: list[list[np.ndarray]]) -> dict[str, float]:
    """Runs a file with float twins and returns the loss of each quantized tensor, by name.

    Not by the debugger's own run: it reads tensors whose memory other ops have used since.
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
    return parts[1].removesuffix("_1")  # added by the clone
