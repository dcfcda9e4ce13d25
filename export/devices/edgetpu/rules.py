"""What Google's Edge TPU compiler 16.0 says to one op, taken by itself.

Sources: as in `export.devices.edgetpu.limits`, which has the limits of single ops. Reasons are the
compiler's own status words.
"""

from export.devices.edgetpu.limits import BATCH, LIMIT, LIMITS, LOGITS, Verdict, shape_of
from export.tflite.reader import ModelFile, Op, Tensor

MAPPED = "Mapped to Edge TPU"
SUBGRAPH = "More than one subgraph is not supported"
VERSION = "Operation version not supported"
_DTYPE = "Operation is working on an unsupported data type"
_UNSUPPORTED = "Operation not supported"
_RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
_NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"

# Supported op: the highest version of its 8-bit form that is known to be mapped.
_SUPPORTED = {
    **dict.fromkeys(("EXPAND_DIMS", "PRELU", "RELU_N1_TO_1", "RESHAPE", "SQUEEZE"), 1),
    **dict.fromkeys(("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "L2_NORMALIZATION"), 2),
    **dict.fromkeys(("LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL"), 2),
    **dict.fromkeys(("PACK", "PAD", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU"), 2),
    **dict.fromkeys(("RELU6", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT"), 2),
    **dict.fromkeys(("SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH"), 2),
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "TILE": 2,  # not in the table, but mapped in deeplab_mobilenet_edgetpu_slim_cityscapes_quant
    "TRANSPOSE": 4,
    "TRANSPOSE_CONV": 3,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
}
# Inputs that must be constant; the others are data.
_PARAMETERS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SLICE"), (1, 2)),
    **dict.fromkeys(("EXPAND_DIMS", "MEAN", "PAD", "PRELU", "REDUCE_MAX", "REDUCE_MIN"), (1,)),
    **dict.fromkeys(("RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), (1,)),
    **dict.fromkeys(("SUM", "TILE", "TRANSPOSE"), (1,)),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "TRANSPOSE_CONV": (0, 1, 3),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 18)),
}
_BYTES = ("int8", "uint8")
_ACTIVATION = "use ReLU, ReLU6, PReLU or SiLU"
_INTEGER = "give the file integer inputs and outputs (--quantization int8)"
_RESIZE = "resize with one RESIZE op (kseg.layers.Resize)"
# What helps where the op itself is the trouble.
_ADVICE = {
    **dict.fromkeys(("ARG_MAX", "LOG_SOFTMAX"), LOGITS),
    **dict.fromkeys(("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "SHAPE"), BATCH),
    **dict.fromkeys(("ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU"), _ACTIVATION),
    **dict.fromkeys(("BROADCAST_TO", "DEPTH_TO_SPACE"), _RESIZE),
    **dict.fromkeys(("MIRROR_PAD", "PADV2"), "pad with zeros"),
    "DIV": "multiply by the reciprocal",
}
# What helps where only its version is.
_VERSION_ADVICE = {
    "CONV_2D": "use one group, or a depthwise convolution",
    "FULLY_CONNECTED": "use a 1x1 convolution",
    "TILE": _RESIZE,
    "TRANSPOSE_CONV": "put an Add between the transposed convolution and its ReLU",
}


def judge(op: Op, graph: ModelFile) -> Verdict:
    """Says whether the Edge TPU can do an op, whatever comes before and after it.

    Args:
        op: One of the ops of `graph`.
        graph: What `read_model` returns.

    Returns:
        The verdict.
    """
    tensors = graph.tensors
    results = [tensors[t] for t in op.outputs if t >= 0]
    if any(tensor.dtype not in _BYTES for tensor in results):
        return Verdict("cpu", _DTYPE, _dtype_mend(op, results))
    if op.name not in _SUPPORTED:
        return Verdict("cpu", _UNSUPPORTED, _ADVICE.get(op.name))
    places = _PARAMETERS.get(op.name, ())
    used = [(p, t) for p, t in enumerate(op.inputs) if t >= 0 and not tensors[t].is_variable]
    data = [t for place, t in used if place not in places]
    moving = [tensors[t] for t in data if t in graph.computed] + results
    if any(size != 1 for tensor in moving for size in shape_of(tensor)[:-3]):
        return Verdict("cpu", _RANK, _RESIZE if op.name in ("PACK", "TILE") else BATCH)
    if any(tensors[t].dtype not in _BYTES for t in data):
        return Verdict("cpu", LIMIT if op.name == "QUANTIZE" else _DTYPE, _INTEGER)
    if any(place in places and t in graph.computed for place, t in used):
        return Verdict("cpu", _NOT_CONSTANT)
    limit = LIMITS.get(op.name)
    verdict = limit(op, graph) if limit else None
    if op.version > _SUPPORTED[op.name] and not (verdict and verdict.placement == "cpu"):
        return Verdict("uncertain", VERSION, version_advice(op.name))
    return verdict or Verdict("tpu", MAPPED)


def version_advice(name: str) -> str | None:
    """Returns what helps against an op or op version that the compiler does not know.

    Args:
        name: Builtin name, such as "TILE".

    Returns:
        The advice; None if there is none.
    """
    return _VERSION_ADVICE.get(name, _ADVICE.get(name))


def _dtype_mend(op: Op, results: list[Tensor]) -> str | None:
    if op.name == "CUSTOM":  # post-processing, which belongs on the host
        return None
    floats = any(tensor.dtype.startswith("float") for tensor in results)
    return _INTEGER if floats else _ADVICE.get(op.name)
