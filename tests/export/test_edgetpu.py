"""From verdicts on ops to where they run; Google's own outcomes."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from export import ModelFileError, check
from export.devices.edgetpu.rules import MAPPED, SUBGRAPH

UNSUPPORTED = "Operation not supported"


def tensor(*shape, dtype="int8", data=None):
    """A tensor to be; `data` makes it a constant."""
    return shape, dtype, data, None


def weights(*shape):
    return tensor(*shape, data=np.ones(shape, "int8"))


def bias(size):
    return tensor(size, dtype="int32", data=np.zeros(size, "int32"))


def numbers(*values):
    return tensor(len(values), dtype="int32", data=np.array(values, "int32"))


X = tensor(1, 8, 8, 4)


def chain(write_graph, *ops, dtype="int8"):
    """A file of ops in a row, each given by name and version."""
    tensors = {"x": X} | {f"t{place}": X for place in range(len(ops) - 1)} | {"y": X}
    names = list(tensors)
    rows = [(op, 1, [names[i]], [names[i + 1]], {}) for i, op in enumerate(ops)]
    return check(write_graph(tensors, rows))


def placements(result):
    return [op.placement for op in result.ops]


def test_what_follows_a_cpu_op_stays_on_the_cpu(write_graph):
    result = chain(write_graph, "RELU", "ELU", "TANH", "RELU6")
    assert placements(result) == ["tpu", "cpu", "cpu", "cpu"]
    assert [op.reason for op in result.ops] == [MAPPED, UNSUPPORTED, SUBGRAPH, SUBGRAPH]
    assert [op.advice for op in result.ops] == [None, "use ReLU, ReLU6, PReLU or SiLU", None, None]


def test_cpu_ops_at_the_beginning_do_no_harm(write_graph):
    assert placements(chain(write_graph, "ELU", "ELU", "RELU", "TANH")) == [
        "cpu",
        "cpu",
        "tpu",
        "tpu",
    ]
    # After the first subset of CPU ops and the one of Edge TPU ops comes no other.
    assert placements(chain(write_graph, "ELU", "RELU", "ELU", "TANH")) == [
        "cpu",
        "tpu",
        "cpu",
        "cpu",
    ]


def test_branches_are_taken_by_dependency_and_not_by_order(write_graph):
    tensors = dict.fromkeys(("x", "a", "b", "c", "d", "y"), X)
    ops = [
        ("RELU", 1, ["x"], ["a"], {}),
        ("ELU", 1, ["a"], ["b"], {}),
        ("TANH", 1, ["a"], ["c"], {}),  # does not depend on ELU
        ("ADD", 1, ["b", "c"], ["d"], {}),
        ("LOGISTIC", 1, ["c"], ["y"], {}),
    ]
    result = check(write_graph(tensors, ops, outputs=("d", "y")))
    assert placements(result) == ["tpu", "cpu", "tpu", "cpu", "tpu"]


def test_an_unsupported_op_beside_a_supported_first_one_is_not_leading(write_graph):
    # The first op sets the kind of the first subset: ELU is ready, too, but comes second, and
    # what needs both comes third.
    tensors = dict.fromkeys(("x", "z", "a", "b", "y"), X)
    ops = [
        ("RELU", 1, ["x"], ["a"], {}),
        ("ELU", 1, ["z"], ["b"], {}),
        ("ADD", 1, ["a", "b"], ["y"], {}),
    ]
    assert placements(check(write_graph(tensors, ops, inputs=("x", "z")))) == ["tpu", "cpu", "cpu"]
    ops = [ops[1], ops[0], ops[2]]
    assert placements(check(write_graph(tensors, ops, inputs=("x", "z")))) == ["cpu", "tpu", "tpu"]


def test_an_uncertain_op_makes_uncertain_what_follows(write_graph):
    tensors = dict.fromkeys(("x", "a", "b", "y"), X) | {"order": numbers(0, 2, 1, 3)}
    ops = [
        ("RELU", 1, ["x"], ["a"], {}),
        ("TRANSPOSE", 2, ["a", "order"], ["b"], {}),
        ("RELU", 1, ["b"], ["y"], {}),
    ]
    result = check(write_graph(tensors, ops))
    assert placements(result) == ["tpu", "uncertain", "uncertain"]
    assert result.subgraphs == 1
    ops.insert(1, ("ELU", 1, ["a"], ["c"], {}))
    ops[2] = ("TRANSPOSE", 2, ["c", "order"], ["b"], {})
    assert placements(check(write_graph(tensors | {"c": X}, ops))) == ["tpu", "cpu", "cpu", "cpu"]


def test_what_nothing_uses_is_dead(write_graph):
    tensors = dict.fromkeys(("x", "a", "b", "y"), X)
    ops = [
        ("ELU", 1, ["x"], ["a"], {}),
        ("RELU", 1, ["a"], ["b"], {}),
        ("RELU", 1, ["x"], ["y"], {}),
    ]
    assert placements(check(write_graph(tensors, ops))) == ["dead", "dead", "tpu"]


def test_a_scalar_shape_is_a_constant_without_bytes(write_graph):
    tensors = {"x": tensor(1, 1), "shape": numbers(), "y": tensor()}
    result = check(write_graph(tensors, [("RESHAPE", 1, ["x", "shape"], ["y"], {})]))
    assert result.compiles
    assert placements(result) == ["tpu"]


def test_multiply_adds_and_parameters_are_those_of_the_edge_tpu(write_graph):
    tensors = {
        "x": X, "a": X, "b": X, "c": tensor(1, 16, 16, 2), "d": tensor(1, 16, 16, 2),
        "flat": tensor(1, 512), "y": tensor(1, 10),
        "kernel": weights(4, 3, 3, 4), "bias": bias(4), "depth": weights(1, 3, 3, 4),
        "size": numbers(1, 16, 16, 2), "up": weights(2, 2, 2, 4),
        "dense": weights(10, 512), "to": numbers(1, 512),
    }  # fmt: skip
    ops = [
        ("CONV_2D", 3, ["x", "kernel", "bias"], ["a"], {}),  # 8*8*4 results of 3*3*4
        ("DEPTHWISE_CONV_2D", 3, ["a", "depth", None], ["b"], {}),  # 8*8*4 of 3*3
        ("TRANSPOSE_CONV", 2, ["size", "up", "b"], ["c"], {}),  # 8*8*4 inputs, each to 2*2*2
        ("ELU", 1, ["c"], ["d"], {}),
        ("RESHAPE", 1, ["d", "to"], ["flat"], {}),
        ("FULLY_CONNECTED", 4, ["flat", "dense", None], ["y"], {}),  # 512 * 10
    ]
    result = check(write_graph(tensors, ops))
    on_tpu = 256 * 36 + 256 * 9 + 256 * 8
    assert result.macs_on_tpu == pytest.approx(on_tpu / (on_tpu + 5120))
    assert result.parameter_bytes == 144 + 4 * 4 + 36 + 32  # no shapes, nothing of the CPU


def test_mends_name_the_stride(write_graph):
    tensors = {"x": tensor(1, 128, 128, 3), "k": weights(400, 3, 3, 3), "bias": bias(400)}
    tensors |= {
        "a": tensor(1, 16, 16, 400),
        "size": numbers(128, 128),
        "y": tensor(1, 128, 128, 400),
    }
    ops = [
        ("CONV_2D", 3, ["x", "k", "bias"], ["a"], {}),
        ("RESIZE_BILINEAR", 3, ["a", "size"], ["y"], {}),
    ]
    result = check(write_graph(tensors, ops))
    assert result.ops[1].advice == "resize output 6.6 MB: export with --stride 8"


def test_an_op_without_its_inputs_is_damage(write_graph):
    with pytest.raises(ModelFileError, match="an op lacks an input or an output"):
        check(write_graph({"x": X, "y": X}, [("CONV_2D", 3, ["x"], ["y"], {})]))


def test_needs_no_tensorflow_and_no_keras(write_graph):
    path = write_graph({"x": X, "y": X}, [("RELU", 1, ["x"], ["y"], {})])
    code = (
        "import sys, export\n"
        f"assert export.check({str(path)!r}).compiles\n"
        "heavy = {'tensorflow', 'keras', 'kseg', 'jax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_exported_file_ends_on_the_cpu_only_with_its_argmax(int8_argmax):
    result = check(int8_argmax.path)
    assert result.compiles
    assert [op.name for op in result.ops if op.placement == "cpu"] == ["ARG_MAX"]
    assert result.macs_on_tpu > 0


@pytest.mark.data
def test_google_outcomes_op_by_op(edgetpu_pairs):
    truth = json.loads((edgetpu_pairs / "truth.json").read_text())
    assert len(truth) == 14
    for name, outcome in truth.items():
        start = time.perf_counter()
        result = check(edgetpu_pairs / name)
        assert time.perf_counter() - start < 10
        assert result.compiles, name
        expected = [{True: "tpu", False: "cpu", None: "dead"}[m] for m in outcome["mapped"]]
        assert placements(result) == expected, name
