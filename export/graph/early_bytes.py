"""Turning int8 into the uint8 of an output before the last resize, not after it.

The converter computes in int8 and turns the result into uint8 at the end, value by value: at full
size that takes longer than all the additions of a network. The same bytes come of turning the
coarse scores and enlarging those, because a resize interpolates between stored values and both
kinds store the same steps, 128 apart.
"""

import copy
from typing import Any

import flatbuffers
from ai_edge_litert.schema_py_generated import BuiltinOperator, Model, ModelT, TensorType

_APART = 128
_CARRIES = (
    BuiltinOperator.RESIZE_BILINEAR,
    BuiltinOperator.RESIZE_NEAREST_NEIGHBOR,
    BuiltinOperator.STRIDED_SLICE,
    BuiltinOperator.SLICE,
)
_RESIZES = _CARRIES[:2]


def quantize_early(content: bytes) -> bytes:
    """Moves the last QUANTIZE of a file before the resizes and slices that lead to it.

    Args:
        content: A .tflite file, without anything appended.

    Returns:
        The file; the same where it does not end so.
    """
    tree = ModelT.InitFromObj(Model.GetRootAs(content))
    graph = tree.subgraphs[0]
    if len(tree.subgraphs) > 1 or len(graph.outputs) > 1:
        return content
    chain = _chain(tree, graph)
    kinds = [tree.operatorCodes[op.opcodeIndex].builtinCode for op in chain]
    if not set(kinds) & set(_RESIZES):
        return content
    last, *carriers = chain  # from the end to the front
    first = carriers[-1]
    source, output = first.inputs[0], graph.outputs[0]
    early = copy.deepcopy(graph.tensors[output])
    early.name = bytes(graph.tensors[source].name) + b";uint8"
    early.shape, early.shapeSignature = graph.tensors[source].shape, None
    graph.tensors.append(early)
    for op in carriers[1:]:
        tensor = graph.tensors[op.outputs[0]]
        tensor.type, tensor.quantization = TensorType.UINT8, copy.deepcopy(early.quantization)
    first.inputs = [len(graph.tensors) - 1, *first.inputs[1:]]
    carriers[0].outputs = [output]
    last.inputs, last.outputs = [source], [len(graph.tensors) - 1]
    graph.operators.remove(last)
    graph.operators.insert(graph.operators.index(first), last)
    builder = flatbuffers.Builder()
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _chain(tree: Any, graph: Any) -> list[Any]:
    """Returns the QUANTIZE that makes the output and what carries scores to it, from the end."""
    makers = {op.outputs[0]: op for op in graph.operators}
    users = [t for op in graph.operators for t in op.inputs]
    last = makers.get(graph.outputs[0])
    if last is None or not _turns_bytes(tree, graph, last):
        return []
    chain, tensor = [last], last.inputs[0]
    while (op := makers.get(tensor)) is not None and users.count(tensor) == 1:
        if tree.operatorCodes[op.opcodeIndex].builtinCode not in _CARRIES:
            break
        if not _same_steps(graph.tensors[op.inputs[0]], graph.tensors[tensor]):
            break
        chain.append(op)
        tensor = op.inputs[0]
    return chain


def _turns_bytes(tree: Any, graph: Any, op: Any) -> bool:
    if tree.operatorCodes[op.opcodeIndex].builtinCode != BuiltinOperator.QUANTIZE:
        return False
    before, after = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    if (before.type, after.type) != (TensorType.INT8, TensorType.UINT8):
        return False
    points = after.quantization.zeroPoint[0] - before.quantization.zeroPoint[0]
    return points == _APART and before.quantization.scale[0] == after.quantization.scale[0]


def _same_steps(a: Any, b: Any) -> bool:
    return all(
        getattr(a.quantization, key)[0] == getattr(b.quantization, key)[0]
        for key in ("scale", "zeroPoint")
    )
