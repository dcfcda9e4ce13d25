"""Comparisons of bytes, which TOSA has not, as comparisons of int32, with equal outputs.

SegNet's unpooling finds its switches by comparing neighbours. In an integer file both sides have
one scale and one zero point, so that the bytes compare as the numbers do, and so do the same bytes
as int32: a CAST before each side. LiteRT takes no longer over it. Steps under 1/256 are left alone:
LiteRT compares multiples of 1/256, in which neighbours of such steps are equal.
"""

from typing import Any

import flatbuffers
from ai_edge_litert.schema_py_generated import (
    BuiltinOperator,
    BuiltinOptions,
    CastOptionsT,
    Model,
    ModelT,
    OperatorCodeT,
    OperatorT,
    TensorT,
    TensorType,
)

from export.devices.tosa import COMPARISONS

_CODES = frozenset(getattr(BuiltinOperator, name) for name in COMPARISONS)
_FINEST = 1 / 256
_MOST_DEPRECATED = 127  # what the schema's old field for the kind of op holds


def widen_comparisons(content: bytes) -> bytes:
    """Casts what an int8 file compares to int32.

    Args:
        content: A .tflite file, without anything appended.

    Returns:
        The file; the same where it compares no bytes.
    """
    model = Model.GetRootAs(content)
    kinds = {model.OperatorCodes(i).BuiltinCode(): i for i in range(model.OperatorCodesLength())}
    if not kinds.keys() & _CODES:
        return content
    tree = ModelT.InitFromObj(model)
    if BuiltinOperator.CAST not in kinds:
        kinds[BuiltinOperator.CAST] = len(tree.operatorCodes)
        tree.operatorCodes.append(_cast_code())
    changed = False
    for graph in tree.subgraphs:
        operators = []
        for op in graph.operators:
            code = tree.operatorCodes[op.opcodeIndex].builtinCode
            if code in _CODES and _compares_bytes([graph.tensors[i] for i in op.inputs]):
                casts = [_cast(graph, i, kinds[BuiltinOperator.CAST]) for i in op.inputs]
                op.inputs = [cast.outputs[0] for cast in casts]
                operators += casts
                changed = True
            operators.append(op)
        graph.operators = operators
    if not changed:
        return content
    builder = flatbuffers.Builder()
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _compares_bytes(tensors: list[Any]) -> bool:
    """Says whether tensors are int8 of one scale, coarse enough, and one zero point."""
    if any(t.type != TensorType.INT8 or t.quantization is None for t in tensors):
        return False
    scales = {
        (tuple(t.quantization.scale), tuple(t.quantization.zeroPoint))
        for t in tensors
        if t.quantization.scale is not None
    }
    return len(scales) == 1 and min(min(scales)[0]) >= _FINEST


def _cast_code() -> Any:
    code = OperatorCodeT()
    code.builtinCode, code.version = BuiltinOperator.CAST, 1
    code.deprecatedBuiltinCode = min(BuiltinOperator.CAST, _MOST_DEPRECATED)
    return code


def _cast(graph: Any, source: int, code: int) -> Any:
    """Returns an op that casts a tensor to int32; the graph gets the result."""
    tensor = graph.tensors[source]
    made = TensorT()
    made.name, made.shape = bytes(tensor.name) + b";int32", tensor.shape
    made.shapeSignature, made.type, made.buffer = tensor.shapeSignature, TensorType.INT32, 0
    graph.tensors.append(made)
    op, options = OperatorT(), CastOptionsT()
    options.inDataType, options.outDataType = TensorType.INT8, TensorType.INT32
    op.opcodeIndex, op.inputs, op.outputs = code, [source], [len(graph.tensors) - 1]
    op.builtinOptionsType, op.builtinOptions = BuiltinOptions.CastOptions, options
    return op
