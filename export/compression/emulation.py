"""A network with the roundings of its integer file, as a callable."""

import keras
import numpy as np
import tensorflow as tf

from export.compression.bridge import build, read_graph
from export.compression.bridge_own import one_scale
from export.compression.qat_graph import has_one_scale, lower, rounded
from export.compression.qat_state import State
from export.graph.ends import own_stride
from export.tflite.maps import Maps, as_maps
from export.tflite.runtime import FixedSize
from kseg.analysis.graph import trace
from kseg.seeing import channels_of, working_size


class Emulation(FixedSize):
    """The network with the roundings of its integer file, at one size.

    Attributes:
        network: tf_keras model from scaled images (1, H, W, channels) to logits, or to three maps.
        scaling: (factor, offset) of the scaling that it lacks.
        output_names: The names of the maps, where it gives a dict.
        kseg_size: Its input size where the model carries a working size, or else None.
        kseg_things: Ids of the classes whose objects the model tells apart, or None.
        kseg_bits: The bits of the 16-bit images that it was trained on, or None.
    """

    def __init__(self, model: keras.Model, state: State, input_size: tuple[int, int]):
        """Builds the network at `input_size`, (height, width), from what was trained."""
        self.input_size = (input_size[0], input_size[1])
        self.channels = channels_of(model)
        self.stride = own_stride(trace(model, self.input_size))
        self.kseg_size = self.input_size if working_size(model) is not None else None
        self.kseg_things = getattr(model, "kseg_things", None)
        self.kseg_bits = getattr(model, "kseg_bits", None)
        self._graph, self.scaling = lower(read_graph(model, self.input_size))
        graph = rounded(self._graph, state, self.scaling)
        self.output_names = graph.names
        self.network = build(
            graph,
            batch_size=1,
            wrap=lambda node, layer: (
                one_scale(layer) if has_one_scale(node.kind, state.per_channel) else layer
            ),
        )
        self._call = tf.function(self.network, jit_compile=False)

    def set_state(self, state: State) -> None:
        """Sets weights and ranges."""
        for node in rounded(self._graph, state, self.scaling).nodes:
            if node.weights:
                self.network.get_layer(node.name).set_weights(node.weights)

    def logits(self, images: np.ndarray) -> Maps:
        """Maps images float32 (1, H, W, channels), 0..255, to logits, or to a dict of maps."""
        scaled = np.asarray(images, "float32") * np.float32(self.scaling[0])
        found = self._call(tf.constant(scaled + np.float32(self.scaling[1])))
        return keras.tree.map_structure(np.asarray, as_maps(found))
