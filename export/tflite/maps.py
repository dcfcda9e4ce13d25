"""What a network gives for an image: one map of logits, or the three that tell objects apart.

A model, its copies and its files are functions from an image to maps. `keras.tree` goes through
maps of both kinds alike: one map is a leaf of it, three are a dict of leaves.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kseg.analysis.graph import Graph
from kseg.instances.predicting import OUTPUTS

LOGITS = "logits"  # what an only map is called
NAMES = tuple(OUTPUTS)
SEMANTIC, _, OFFSET = NAMES
CHANNELS = {name: channels for name, channels in OUTPUTS.items() if channels is not None}
Maps = np.ndarray | dict[str, np.ndarray]


def as_maps(found: Any) -> Any:
    """Returns what a call of a model gives: the three maps by name, or the only map."""
    if isinstance(found, Mapping) and set(found) == set(NAMES):
        return {name: found[name] for name in NAMES}
    return keras.tree.flatten(found)[0]


def logits_of(maps: Any) -> Any:
    """Returns the logits of the classes."""
    return maps[SEMANTIC] if isinstance(maps, Mapping) else maps


def outputs_of(graph: Graph) -> dict[str, int]:
    """Returns the tensors that a model gives, by the names of its maps, those of classes first."""
    if set(graph.names) == set(NAMES):
        return {name: graph.outputs[graph.names.index(name)] for name in NAMES}
    return {LOGITS: graph.outputs[0]}


def named(maps: Any) -> dict[str, Any]:
    """Returns the maps by their names."""
    return dict(maps) if isinstance(maps, Mapping) else {LOGITS: maps}
