"""What quantization-aware training changes, and how it travels between processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class State:
    """What quantization-aware training changes.

    Attributes:
        weights: Layer to its weights, batch norms folded in.
        ranges: Layer to the range that its int8 output stands for.
        per_channel: Whether each output channel of a kernel has a scale of its own.
    """

    weights: dict[str, list[np.ndarray]] = field(repr=False)
    ranges: dict[str, Range] = field(repr=False)
    per_channel: bool = True


def pack(state: State) -> dict[str, Any]:
    """Returns weights and ranges as named arrays, for `np.savez`."""
    arrays: dict[str, Any] = {f"range|{name}": np.array(r) for name, r in state.ranges.items()}
    for name, values in state.weights.items():
        arrays |= {f"weight|{name}|{index:02d}": value for index, value in enumerate(values)}
    return arrays | {"per_channel": np.array(state.per_channel)}


def unpack(arrays: Mapping[str, np.ndarray]) -> State:
    """Returns weights and ranges of what `pack` made."""
    state = State({}, {}, bool(arrays["per_channel"]))
    for key in sorted(arrays):
        kind, *name = key.split("|")
        if kind == "range":
            state.ranges[name[0]] = (float(arrays[key][0]), float(arrays[key][1]))
        elif kind == "weight":
            state.weights.setdefault(name[0], []).append(arrays[key])
    return state
