"""What running a file may take, read off its graph: bytes, seconds and multiply-adds.

A process that runs a file of unknown origin gets limits that an honest file of that size keeps.
"""

import math

from export.tflite.reader import ModelFile, Op, Tensor

_ITEM_BYTES = {"bool": 1, "float16": 2, "float64": 8, "complex64": 8, "complex128": 16}
_ITEM_BYTES |= {f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)}
_BASE_BYTES = 3 << 30  # addresses of Python, numpy, LiteRT and the stacks of threads
_SECONDS = 120.0  # for a small file on a busy machine
_MACS_A_SECOND = 2e7  # of LiteRT's reference kernels on a slow core
_MOST_SECONDS = 1800.0


def count_macs(op: Op, graph: ModelFile) -> int:
    """Counts the multiply-adds of a convolution or fully connected op.

    Args:
        op: One of the ops of `graph`.
        graph: What `read_model` returns.

    Returns:
        Their number; 0 for other ops.
    """
    if op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        return 0
    kernel = _sizes(graph.tensors[op.inputs[1]])
    result = math.prod(_sizes(graph.tensors[op.outputs[0]]))
    if op.name == "TRANSPOSE_CONV":  # each input value meets each weight of its channel
        return math.prod(_sizes(graph.tensors[op.inputs[2]])) * math.prod(kernel[:3])
    if op.name == "DEPTHWISE_CONV_2D":
        return result * math.prod(kernel[1:3])
    return result * math.prod(kernel[1:])


def bytes_of(tensor: Tensor) -> int:
    """Returns how many bytes the values of a tensor take."""
    return math.prod(max(1, size) for size in _sizes(tensor)) * _ITEM_BYTES.get(tensor.dtype, 4)


def memory_need(graph: ModelFile, times: float = 1.0) -> int:
    """Returns bytes of addresses that are enough to run a file.

    Args:
        graph: What `read_model` returns.
        times: How much larger its input is than the file stores it, where its size is open.

    Returns:
        Enough for all its tensors at once, and for constants three times over: as they are in the
        file, as kernels pack them, and in float.
    """
    computed = sum(bytes_of(graph.tensors[t]) for t in graph.computed if t >= 0)
    return _BASE_BYTES + int(2 * computed * times) + 6 * graph.size_bytes


def seconds_need(graph: ModelFile, times: float = 1.0) -> float:
    """Returns seconds that are enough to run a file once; see `memory_need`."""
    macs = times * sum(count_macs(op, graph) for op in graph.ops)
    return min(_MOST_SECONDS, _SECONDS + macs / _MACS_A_SECOND)


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    return tensor.default_shape or tensor.shape
