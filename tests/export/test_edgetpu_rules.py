"""One rule of the Edge TPU compiler at a time, on hand-made files of one op."""

import json
from pathlib import Path

import numpy as np
import pytest

import kseg
from export import check
from export.devices.edgetpu.limits import LIMIT
from export.devices.edgetpu.rules import MAPPED, VERSION

DTYPE = "Operation is working on an unsupported data type"
UNSUPPORTED = "Operation not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
TWO_D = "For example, a fully-connected or softmax layer with 2D output"


def tensor(*shape, dtype="int8", data=None, signature=None):
    """A tensor to be; `data` makes it a constant."""
    return shape, dtype, data, signature


def weights(*shape):
    return tensor(*shape, data=np.ones(shape, "int8"))


def bias(size):
    return tensor(size, dtype="int32", data=np.zeros(size, "int32"))


def numbers(*values):
    return tensor(len(values), dtype="int32", data=np.array(values, "int32"))


@pytest.fixture
def one_op(write_graph):
    """Checks a file of one op: (name, version, inputs, output, options) -> CheckResult."""

    def one_op(name, version, inputs, output, **options):
        tensors = {f"i{place}": made for place, made in enumerate(inputs)} | {"y": output}
        moving = [n for n, (_, _, data, _) in tensors.items() if data is None and n != "y"]
        op = (name, version, [f"i{place}" for place in range(len(inputs))], ["y"], options)
        return check(write_graph(tensors, [op], inputs=moving))

    return one_op


X = tensor(1, 8, 8, 4)
KERNEL = [weights(4, 3, 3, 4), bias(4)]
DEPTHWISE = [weights(1, 3, 3, 4), bias(4)]
RESIZE = "RESIZE_BILINEAR"


@pytest.mark.parametrize(
    ("op", "options", "placement", "reason"),
    [
        (("CONV_2D", 3, [X, *KERNEL], X), {}, "tpu", MAPPED),
        (("CONV_2D", 3, [X, *KERNEL], X), {"dilationHFactor": 2, "dilationWFactor": 2},
         "tpu", MAPPED),
        (("CONV_2D", 3, [X, *KERNEL], X), {"dilationHFactor": 2}, "cpu", LIMIT),
        (("DEPTHWISE_CONV_2D", 3, [X, tensor(1, 3, 3, 4), bias(4)], X), {}, "cpu", NOT_CONSTANT),
        (("CONV_2D", 5, [X, *KERNEL], X), {}, "uncertain", VERSION),
        (("DEPTHWISE_CONV_2D", 3, [X, *DEPTHWISE], X), {"dilationWFactor": 2}, "cpu", LIMIT),
        (("DEPTHWISE_CONV_2D", 3, [X, *DEPTHWISE], X), {}, "tpu", MAPPED),
        (("ADD", 2, [X, X], X), {}, "tpu", MAPPED),
        (("ADD", 1, [X, tensor(1, 8, 8, 4, dtype="float32")], tensor(1, 8, 8, 4, dtype="float32")),
         {}, "cpu", DTYPE),
        (("ADD", 4, [X, tensor(1, 8, dtype="int16")], tensor(1, 8, dtype="int16")),
         {}, "cpu", DTYPE),
        # Dilation means nothing along an axis on which the kernel is one weight wide.
        (("CONV_2D", 3, [X, weights(4, 3, 1, 4), bias(4)], X), {"dilationHFactor": 4},
         "tpu", MAPPED),
        (("CONV_2D", 3, [X, weights(4, 1, 3, 4), bias(4)], X), {"dilationWFactor": 2},
         "tpu", MAPPED),
        (("CONV_2D", 3, [X, weights(4, 1, 1, 4), bias(4)], X), {"dilationWFactor": 2},
         "tpu", MAPPED),
        (("DEPTHWISE_CONV_2D", 3, [X, weights(1, 3, 1, 4), bias(4)], X), {"dilationHFactor": 2},
         "tpu", MAPPED),
        (("ADD", 2, [tensor(1, 2, 8, 8, 4)] * 2, tensor(1, 2, 8, 8, 4)), {}, "cpu", RANK),
        (("ADD", 2, [tensor(1, 1, 8, 8, 4)] * 2, tensor(1, 1, 8, 8, 4)), {}, "tpu", MAPPED),
        (("LEAKY_RELU", 1, [X], X), {}, "cpu", UNSUPPORTED),
        (("HARD_SWISH", 1, [X], X), {}, "cpu", UNSUPPORTED),
        (("ARG_MAX", 2, [X, numbers(3)], tensor(1, 8, 8, dtype="int32")), {}, "cpu", DTYPE),
        (("QUANTIZE", 1, [tensor(1, 8, dtype="uint8")], tensor(1, 8)), {}, "tpu", MAPPED),
        (("QUANTIZE", 1, [tensor(1, 8, dtype="float32")], tensor(1, 8)), {}, "cpu", LIMIT),
        (("DEQUANTIZE", 2, [tensor(1, 8)], tensor(1, 8, dtype="float32")), {}, "cpu", DTYPE),
        (("AVERAGE_POOL_2D", 2, [X], tensor(1, 4, 4, 4)), {}, "tpu", MAPPED),
        (("AVERAGE_POOL_2D", 2, [X], tensor(1, 4, 4, 4)), {"fusedActivationFunction": 1},
         "cpu", LIMIT),
        (("CONCATENATION", 2, [X, X], tensor(1, 8, 8, 8)), {}, "tpu", MAPPED),
        (("CONCATENATION", 2, [X, weights(1, 8, 8, 4)], tensor(1, 8, 8, 8)), {}, "cpu", LIMIT),
        (("CONCATENATION", 2, [X, tensor(1, 8, 8, 4, data=np.zeros(256, "int8"))],
          tensor(1, 8, 8, 8)), {}, "tpu", MAPPED),
        (("CONCATENATION", 2, [X, X], tensor(1, 8, 8, 8)), {"fusedActivationFunction": 3},
         "cpu", LIMIT),
        (("FULLY_CONNECTED", 4, [tensor(1, 8), weights(3, 8), bias(3)], tensor(1, 3)), {},
         "tpu", MAPPED),
        (("FULLY_CONNECTED", 4, [tensor(6, 8), weights(3, 8), bias(3)], tensor(6, 3)), {},
         "cpu", TWO_D),
        (("FULLY_CONNECTED", 5, [X, weights(3, 4), bias(3)], tensor(1, 8, 8, 3)),
         {"keepNumDims": True}, "cpu", TWO_D),
        (("FULLY_CONNECTED", 4, [tensor(1, 8), weights(3, 8), bias(3)], tensor(1, 3)),
         {"weightsFormat": 1}, "cpu", LIMIT),
        (("SOFTMAX", 2, [tensor(1, 16_384)], tensor(1, 16_384)), {}, "tpu", MAPPED),
        (("SOFTMAX", 2, [tensor(1, 16_385)], tensor(1, 16_385)), {}, "uncertain", LIMIT),
        (("SOFTMAX", 2, [X], X), {}, "cpu", TWO_D),
        ((RESIZE, 3, [X, numbers(8, 8)], X), {}, "tpu", MAPPED),
        ((RESIZE, 3, [X, numbers(16, 16)], tensor(1, 16, 16, 4)), {}, "tpu", MAPPED),
        ((RESIZE, 3, [tensor(1, 33, 33, 4), numbers(67, 67)], tensor(1, 67, 67, 4)), {},
         "tpu", MAPPED),
        ((RESIZE, 3, [X, numbers(64, 64)], tensor(1, 64, 64, 4)), {}, "uncertain", LIMIT),
        ((RESIZE, 3, [tensor(1, 1, 1, 4), numbers(8, 8)], X), {}, "cpu", LIMIT),
        ((RESIZE, 3, [tensor(1, 256, 256, 24), numbers(512, 512)], tensor(1, 512, 512, 24)), {},
         "cpu", LIMIT),
        ((RESIZE, 3, [tensor(1, 256, 256, 8), numbers(512, 512)], tensor(1, 512, 512, 8)), {},
         "uncertain", LIMIT),
        (("MEAN", 2, [tensor(1, 7, 7, 6), numbers(1, 2)], tensor(1, 6)), {}, "tpu", MAPPED),
        (("MEAN", 2, [tensor(1, 7, 7, 6), numbers(-1)], tensor(1, 7, 7)), {}, "cpu", LIMIT),
        (("MEAN", 2, [tensor(1, 7, 7, 1), numbers(3)], tensor(1, 7, 7)), {}, "tpu", MAPPED),
        (("MEAN", 2, [tensor(1, 7, 7, 8), numbers(3)], tensor(1, 7, 7)), {}, "tpu", MAPPED),
        (("MEAN", 2, [tensor(1, 256, 128, 3), numbers(1, 2)], tensor(1, 3)), {}, "cpu", LIMIT),
        (("MEAN", 2, [tensor(1, 64, 64, 3), numbers(1, 2)], tensor(1, 3)), {}, "uncertain", LIMIT),
        (("TILE", 1, [tensor(1, 1, 1, 4), numbers(1, 8, 8, 1)], X), {}, "tpu", MAPPED),
        (("PACK", 2, [tensor(1, 4), tensor(1, 4)], tensor(1, 2, 4)), {"axis": 1}, "tpu", MAPPED),
        (("PACK", 2, [tensor(4)], tensor(1, 4)), {"axis": 0}, "tpu", MAPPED),
        (("PACK", 2, [tensor(4), tensor(4)], tensor(2, 4)), {"axis": 0}, "cpu", LIMIT),
        (("PACK", 2, [X, X], tensor(1, 8, 8, 2, 4)), {"axis": 3}, "cpu", RANK),
        (("PRELU", 1, [X, weights(1, 1, 4)], X), {}, "tpu", MAPPED),
        (("PRELU", 1, [X, weights(8, 8, 4)], X), {}, "cpu", LIMIT),
        (("STRIDED_SLICE", 2, [X, numbers(0, 0, 0, 0), numbers(1, 4, 4, 4), numbers(1, 1, 1, 1)],
          tensor(1, 4, 4, 4)), {}, "tpu", MAPPED),
        (("STRIDED_SLICE", 2, [X, numbers(0, 0, 0, 0), numbers(1, 8, 8, 4), numbers(1, 2, 2, 1)],
          tensor(1, 4, 4, 4)), {}, "cpu", LIMIT),
        (("STRIDED_SLICE", 2, [X, numbers(0, 0, 0, 0), numbers(1, 8, 8, 4), numbers(1, 1, 1, 1)],
          X), {"newAxisMask": 1}, "cpu", LIMIT),
        (("STRIDED_SLICE", 2, [X, numbers(0, 0, 0, 0), numbers(1, 8, 8, 4), numbers(2, 1, 1, 1)],
          X), {}, "uncertain", LIMIT),
        (("SPLIT", 2, [numbers(3), X], tensor(1, 8, 8, 2)), {}, "tpu", MAPPED),
        (("SPLIT", 2, [numbers(0), tensor(2, 8)], tensor(2, 8)), {}, "tpu", MAPPED),  # one part
        (("TRANSPOSE", 2, [tensor(1, 8, 1, 4), numbers(0, 2, 1, 3)], tensor(1, 1, 8, 4)), {},
         "tpu", MAPPED),
        (("TRANSPOSE", 2, [X, numbers(0, 3, 1, 2)], tensor(1, 4, 8, 8)), {}, "uncertain", LIMIT),
        (("REDUCE_MAX", 2, [X, numbers(1, 2)], tensor(1, 4)), {}, "tpu", MAPPED),
        (("TRANSPOSE_CONV", 3, [numbers(1, 16, 16, 4), weights(4, 2, 2, 4), X, bias(4)],
          tensor(1, 16, 16, 4)), {}, "tpu", MAPPED),
    ],
)  # fmt: skip
def test_rules_of_single_ops(one_op, op, options, placement, reason):
    result = one_op(*op, **options)
    assert result.compiles
    assert [(o.placement, o.reason) for o in result.ops] == [(placement, reason)]
    assert result.subgraphs == (placement == "tpu")


@pytest.mark.parametrize(
    ("op", "refusal", "advice"),
    [
        (("CONV_2D", 6, [X, *KERNEL], X), "CONV_2D of version 6, only up to 5", "use one group"),
        (("TRANSPOSE_CONV", 4, [numbers(1, 8, 8, 4), weights(4, 2, 2, 4), X, bias(4)], X),
         "TRANSPOSE_CONV of version 4, only up to 3", "put an Add between"),
        (("TILE", 3, [X, numbers(1, 1, 1, 1)], X), "TILE of version 3", "one RESIZE op"),
        (("EXP", 2, [X], X), "EXP of version 2", "SiLU"),
        (("GELU", 1, [X], X), "cannot parse GELU of version 1", "SiLU"),
        (("CAST", 2, [X], X), "CAST of version 2", None),
    ],
)  # fmt: skip
def test_an_op_version_of_after_2021_refuses_the_file(one_op, op, refusal, advice):
    result = one_op(*op)
    assert not result.compiles
    assert refusal in result.refusal
    (placed,) = result.ops
    assert (placed.placement, placed.reason) == ("cpu", VERSION)
    assert placed.advice is None if advice is None else advice in placed.advice
    assert (result.subgraphs, result.parameter_bytes) == (0, 0)


@pytest.mark.parametrize("axis", [0, -2])
def test_a_split_along_the_batch_stays_on_the_cpu(write_graph, axis):
    tensors = {"axis": numbers(axis), "x": tensor(2, 8), "y": tensor(1, 8), "z": tensor(1, 8)}
    ops = [("SPLIT", 2, ["axis", "x"], ["y", "z"], {})]
    (op,) = check(write_graph(tensors, ops, outputs=("y", "z"))).ops
    assert (op.placement, op.reason) == ("cpu", LIMIT)


FLOAT, INT16 = (tensor(1, 8, 8, 4, dtype=dtype) for dtype in ("float32", "int16"))


@pytest.mark.parametrize(
    "op",
    [
        ("RELU", 1, [FLOAT], FLOAT),
        ("CONV_2D", 3, [FLOAT, *KERNEL], FLOAT),  # dynamic range: weights alone are integers
        ("CONV_2D", 4, [INT16, *KERNEL], INT16),
        ("CAST", 1, [tensor(1, 8, 8, 4, dtype="uint8")], FLOAT),  # a float network of image bytes
    ],
)
def test_a_file_that_computes_nothing_in_8_bits_is_refused(one_op, op):
    result = one_op(*op)
    assert not result.compiles
    assert "it is not quantized" in result.refusal
    assert {o.placement for o in result.ops} == {"cpu"}


def test_custom_ops(write_graph):
    tensors = dict.fromkeys(("x", "a", "y"), X)

    def custom(name):
        ops = [("RELU", 1, ["x"], ["a"], {}), ("CUSTOM", 1, ["a"], ["y"], {"custom": name})]
        return check(write_graph(tensors, ops))

    for name in ("FlexErf", "Convolution2DTransposeBias", "mine"):
        result = custom(name)
        assert not result.compiles
        assert f"op 1 is {name}, a custom op that compiler 16.0 does not know" in result.refusal
        assert [op.placement for op in result.ops] == ["cpu", "cpu"]
    for name in ("TFLite_Detection_PostProcess", "PosenetDecoderOp"):
        assert [op.placement for op in custom(name).ops] == ["tpu", "cpu"]


def test_open_sizes_and_batches_refuse_the_file(one_op, write_graph):
    opened = tensor(1, 1, 1, 4, signature=[1, -1, -1, 4])
    assert "open size" in one_op("RELU", 1, [opened], X).refusal
    assert "a batch of 2" in one_op("RELU", 1, [tensor(2, 8, 8, 4)], tensor(2, 8, 8, 4)).refusal
    computed = one_op("RESHAPE", 1, [X, tensor(2, dtype="int32")], tensor(1, 256))
    assert "op 0, RESHAPE, has a size that is only known as it runs" in computed.refusal
    # Keras leaves the batch open; the compiler takes it as 1 where no op asks for it.
    batch = tensor(1, 8, 8, 4, signature=[-1, 8, 8, 4])
    assert one_op("RELU", 1, [batch], batch).compiles
    compiled = write_graph(
        {"x": X, "y": X}, [("CUSTOM", 1, ["x"], ["y"], {"custom": "edgetpu-custom-op"})]
    )
    assert "compiled for the Edge TPU already" in check(compiled).refusal


def test_last_resize_is_left_to_the_app_with_its_padding():
    # 360 x 480 is padded to 384 x 480 in the file, and cut again.
    result = check(Path(kseg.__file__).parent / "weights/fcn8s_camvid.tflite")
    (advice,) = {op.advice for op in result.ops} - {None}
    assert advice == "resize output 2.0 MB: export with --stride 8"


def test_json_has_the_documented_form(one_op):
    report = one_op("SOFTMAX", 2, [X], X).to_json()
    assert json.loads(json.dumps(report)) == {
        "compiles": True,
        "refusal": None,
        "ops": [
            {
                "index": 0, "name": "SOFTMAX", "placement": "cpu", "reason": TWO_D,
                "advice": "end at logits (--head logits)",
            }
        ],
        "macs_on_tpu": None,
        "parameter_bytes": 0,
        "subgraphs": 0,
    }  # fmt: skip
