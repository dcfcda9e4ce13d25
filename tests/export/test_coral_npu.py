"""The Coral NPU: what TOSA says, comparisons as int32, IREE's labels, Synaptics' compiler."""

import importlib.util
import json
import os
import re
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from export import ExportOptions, convert, load_tflite
from export.devices import coral_npu
from export.devices.coral_npu import on_coral_npu, to_tosa
from export.devices.torq import read_failure, run_torq
from export.devices.tosa import CANNOT, check_tosa
from export.errors import GateError
from export.graph.comparisons import widen_comparisons
from export.proof.runtimes import RUNTIMES
from export.targets import TARGETS
from export.tflite.engines import iree
from export.tflite.reader import read_model
from export.web.facts import zoo
from kseg.cli.app import main

SHAPE = (1, 8, 8, 3)
needs_converter = pytest.mark.skipif(
    not coral_npu.is_installed(), reason="pip install tosa-converter-for-tflite"
)
needs_iree = pytest.mark.skipif(
    importlib.util.find_spec("iree") is None, reason="pip install iree-base-compiler"
)
# What torq-compile 2.3.0 prints (AssignAddressesPass.cpp) for a resize of 23 x 30 x 128.
OVERFLOW = """\
First overflow at operation : %alloc_2 = memref.alloc() : memref<1x2x60x2xi16, #torq.enc<dtcm>>
Memory allocated at first overflow:
   size: 8 value: %alloc_1 = memref.alloc() : memref<1x2x2x2xi8, #torq_hl.enc<mem = dtcm>>
   size: 88320 value: %alloc_0 = memref.alloc() : memref<1x23x30x128xi8, #torq_hl.enc<mem = dtcm>>

Peak operation at operation : %alloc_2 = memref.alloc() : memref<1x2x60x2xi16, #torq.enc<dtcm>>

Memory allocated at peak:
   size: 99999 value: %alloc_9 = memref.alloc() : memref<1x99999xi8, #torq_hl.enc<mem = dtcm>>
Peak memory usage of 99999 bytes at: %alloc_2 = memref.alloc() : memref<1x2x60x2xi16>
<unknown>:0: error: Memory usage: 88328 exceeds dtcm size 32256 bytes
<unknown>:0: error: failed to run translation of source executable to target executable
"""


@pytest.fixture
def compared(write_graph):
    """A file that gives x where it is at least 4 (stored: 8), and that elsewhere."""
    four = np.full(SHAPE, 8, "int8")
    tensors = {
        "x": (SHAPE, "int8", None, None),
        "c": (SHAPE, "int8", four, None),
        "is_more": (SHAPE, "bool", None, None),
        "y": (SHAPE, "int8", None, None),
    }
    ops = [
        ("GREATER_EQUAL", 2, ["x", "c"], ["is_more"], {}),
        ("SELECT_V2", 1, ["is_more", "x", "c"], ["y"], {}),
    ]
    return write_graph(tensors, ops)


def placements(path):
    return [op.placement for op in check_tosa(path).ops]


def test_every_trained_network_can_be_said():
    for model in zoo():
        assert check_tosa(model.path).legal, model.title


def test_bytes_cannot_be_compared_and_int32_can(compared, tmp_path):
    first, second = check_tosa(compared).ops
    assert (first.placement, first.reason) == ("cpu", "TOSA compares no bytes")
    assert "--target coral-npu" in first.advice and second.placement == "npu"
    widened = tmp_path / "wide.tflite"
    widened.write_bytes(widen_comparisons(compared.read_bytes()))
    assert [op.name for op in read_model(widened).ops] == [
        "CAST",
        "CAST",
        "GREATER_EQUAL",
        "SELECT_V2",
    ]
    assert placements(widened) == ["npu"] * 4
    x = np.arange(-96, 96, dtype="int8").reshape(SHAPE)
    for path in (compared, widened):
        with load_tflite(path, normalization="0..255") as file:
            np.testing.assert_array_equal(file.run(x)[0], np.maximum(x, 8))
    assert widen_comparisons(widened.read_bytes()) == widened.read_bytes()


def test_other_scales_and_other_ops_stay_as_they_are(compared, int8):
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(compared.read_bytes())
    model = schema.Model.GetRootAs(content)
    scale = model.Subgraphs(0).Tensors(1).Quantization().ScaleAsNumpy()
    scale[0] = 0.25  # 8 steps are 2 now, and bytes no longer compare as numbers do
    assert widen_comparisons(bytes(content)) == content
    plain = int8.path.read_bytes()
    assert widen_comparisons(plain) == plain


def test_floats_open_sizes_and_unknown_ops(write_graph, made):
    float_file = check_tosa(made(lambda x: tf.nn.relu(x) * 2.0, (1, 8, 8, 3)))
    assert {op.reason for op in float_file.ops} == {"it computes with floats"}
    assert not float_file.legal and "--quantization int8" in float_file.ops[0].advice
    open_size = ((1, 8, 8, 3), "int8", None, (1, -1, 8, 3))
    (op,) = check_tosa(
        write_graph({"x": open_size, "y": open_size}, [("RELU", 1, ["x"], ["y"], {})])
    ).ops
    assert (op.placement, op.reason) == ("cpu", "its size is known only at run time")
    tensors = {name: (SHAPE, "int8", None, None) for name in ("x", "a", "b", "y")}
    ops = [
        ("ABS", 1, ["x"], ["a"], {}),
        ("ROUND", 1, ["a"], ["b"], {}),
        ("RELU", 1, ["b"], ["y"], {}),
    ]
    assert placements(write_graph(tensors, ops)) == ["cpu", "uncertain", "npu"]


@pytest.mark.parametrize(("channels", "placement"), [(46, "npu"), (48, "uncertain")])
def test_large_inputs_of_a_bilinear_resize(write_graph, channels, placement):
    # 23 * 30 * 46 = 31,740 bytes and 23 * 30 * 48 = 33,120; Torq has 32,256.
    tensors = {
        "x": ((1, 23, 30, channels), "int8", None, None),
        "size": ((2,), "int32", np.array([46, 60], "int32"), None),
        "y": ((1, 46, 60, channels), "int8", None, None),
    }
    path = write_graph(tensors, [("RESIZE_BILINEAR", 3, ["x", "size"], ["y"], {})])
    (op,) = check_tosa(path).ops
    assert op.placement == placement
    assert ("33,120" in op.reason) == (placement == "uncertain")
    assert ("--set upsampling=nearest" in op.advice) == (placement == "uncertain")


def test_check_for_the_coral_npu(compared, capsys):
    assert main(["check", str(compared), "--target", "coral-npu"]) == 0
    said = capsys.readouterr().out
    assert "TOSA compares no bytes" in said and "1 of 2" in said and "advice (op 0)" in said
    assert main(["check", str(compared), "--target", "coral-npu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["legal"], [op["placement"] for op in found["ops"]]) == (False, ["cpu", "npu"])


def test_a_file_that_tosa_cannot_say_is_not_placed(compared, tmp_path):
    with pytest.raises(GateError, match=r"cannot say GREATER_EQUAL \(TOSA compares no bytes; exp"):
        on_coral_npu(compared, TARGETS["coral-npu"], tmp_path, True)


def test_an_export_without_the_converter_says_so(
    trained, recipe, data, tmp_path, nothing_installed, no_torq
):
    options = ExportOptions(runtimes=("xnnpack",))
    path = tmp_path / "street.tflite"
    placement = on_coral_npu(_exported(trained, recipe, data, path, options), None, tmp_path, True)
    assert "Arm's converter is not installed (pip install kseg[coral-npu])" in placement.sentence
    assert re.match(r"TOSA can say (\d+) of \1 ops", placement.sentence)
    assert not path.with_suffix(".mlirbc").exists()
    report = json.loads(path.with_suffix(".json").read_text())
    assert report["target"] == "coral-npu" and report["placement"]["tosa"] is None
    assert report["runtimes"][-1]["runtime"] == "iree"


def _exported(trained, recipe, data, path, options):
    convert(
        trained, recipe, target="coral-npu", input_size=(64, 64), path=path, validation=data,
        options=options,
    )  # fmt: skip
    return path


@needs_converter
@needs_iree
@pytest.mark.slow
def test_an_export_is_written_as_tosa_and_proven_by_iree(trained, recipe, data, tmp_path, no_torq):
    path = _exported(trained, recipe, data, tmp_path / "street.tflite", ExportOptions())
    assert path.with_suffix(".mlirbc").read_bytes()[:4] == b"ML\xefR"
    report = json.loads(path.with_suffix(".json").read_text())
    assert report["placement"]["tosa"] == "street.mlirbc"
    (iree,) = [trial for trial in report["runtimes"] if trial["runtime"] == "iree"]
    assert iree["status"] == "passed" and iree["like_kernels"] >= 0.99


@needs_converter
def test_the_converter_agrees_with_the_check(compared, write_graph, tmp_path):
    with pytest.raises(GateError, match="keeps ops that are not TOSA's: greater_equal"):
        to_tosa(compared, tmp_path)
    assert list(tmp_path.glob("*.mlirbc")) == []
    widened = tmp_path / "wide.tflite"
    widened.write_bytes(widen_comparisons(compared.read_bytes()))
    assert to_tosa(widened, tmp_path).read_bytes()[:4] == b"ML\xefR"


@needs_converter
@needs_iree
def test_what_iree_gives_stays_when_it_runs_again(write_graph, tmp_path):
    shape = (1, 64, 64, 16)
    plain = (shape, "int8", None, None)
    path = write_graph({"x": plain, "y": plain}, [("RELU", 1, ["x"], ["y"], {})])
    coral_npu.compile_for_cpu(to_tosa(path, tmp_path), path.with_suffix(".vmfb"))
    run = iree.load(path, [], [{"dtype": np.dtype("int8")}])
    given = [np.random.default_rng(n).integers(-99, 99, shape, "int8") for n in range(3)]
    found = [run([values])[0] for values in given]
    for values, result in zip(given, found, strict=True):
        np.testing.assert_array_equal(result, np.maximum(values, 0))


@needs_converter
@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.nn.l2_normalize(x, -1),
        lambda x: tf.abs(x),
        lambda x: tf.nn.log_softmax(x),
        lambda x: tf.math.top_k(x, 2)[0],
        lambda x: tf.reduce_prod(x, -1),
        lambda x: tf.sqrt(tf.sigmoid(x)),
        lambda x: x / (tf.sigmoid(x) + 0.1),
        lambda x: tf.nn.softmax(tf.nn.gelu(x) * tf.math.rsqrt(tf.sigmoid(x))),
        lambda x: tf.image.resize(tf.nn.leaky_relu(x), (17, 23)),
        lambda x: tf.pad(tf.tile(x, [1, 2, 1, 1]), [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"),
        lambda x: tf.argmax(tf.transpose(x, (0, 2, 1, 3)), -1, output_type=tf.int32),
    ],
)
def test_what_the_converter_makes_of_single_ops(function, tmp_path):
    path = tmp_path / "op.tflite"
    path.write_bytes(_int8(function))
    try:
        to_tosa(path, tmp_path)
        converts = True
    except GateError:
        converts = False
    ops = check_tosa(path).ops
    assert all(op.placement == "npu" for op in ops) == converts, ops
    assert converts or {op.name for op in ops if op.placement == "cpu"} <= CANNOT.keys()


def _int8(function):
    rng = np.random.default_rng(0)
    module = tf.Module()
    module.call = tf.function(function, input_signature=[tf.TensorSpec((1, 8, 8, 4), tf.float32)])
    concrete = [module.call.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.normal(size=(1, 8, 8, 4)).astype("float32")] for _ in range(4)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.fixture
def nothing_installed(monkeypatch):
    """Hides the packages of the extra [coral-npu]."""
    find = importlib.util.find_spec

    def hidden(name, package=None):
        return None if name.split(".")[0] in ("iree", "tosa_converter_for_tflite") else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)


@pytest.fixture
def no_torq(monkeypatch):
    """PATH without torq-compile."""
    folders = os.environ["PATH"].split(os.pathsep)
    kept = [f for f in folders if not os.path.exists(os.path.join(f, "torq-compile"))]
    monkeypatch.setenv("PATH", os.pathsep.join(kept))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that puts a torq-compile on PATH: (what it prints, its exit code)."""

    def put(said, code):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "said").write_text(said)
        program = folder / "torq-compile"
        program.write_text(
            f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/said >&2\n'
            f'[ {code} = 0 ] && echo board > "$3"\nexit {code}\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return put


def test_torqs_refusal_names_the_memory_and_the_tensor(stand_in, tmp_path):
    folder = stand_in(OVERFLOW, 1)
    found = run_torq(tmp_path / "x.mlirbc", tmp_path / "x.vmfb")
    asked = (folder / "asked").read_text().split()
    assert asked == [str(tmp_path / "x.mlirbc"), "-o", str(tmp_path / "x.vmfb"), "--torq-hw=SL2610"]
    assert (found.succeeded, found.needed_bytes, found.limit_bytes) == (False, 88328, 32256)
    assert found.held == (((1, 23, 30, 128), 88320), ((1, 2, 2, 2), 8))
    assert found.failure == (
        "an op needs 88,328 bytes of dtcm, which has 32,256; the largest tensor there is "
        "1 x 23 x 30 x 128"
    )
    assert not (tmp_path / "x.vmfb").exists()


def test_torqs_other_errors_and_success(stand_in, tmp_path):
    other = "Failed to swap in operand\nx.mlirbc:3:1: error: dialect 'tosa' is unknown\n"
    assert read_failure(other).failure == "dialect 'tosa' is unknown"
    assert read_failure("").failure == "no reason given"
    stand_in("Failed to swap in operand\n", 0)  # it says so where it succeeds, too
    assert run_torq(tmp_path / "x.mlirbc", tmp_path / "x.vmfb").succeeded
    assert (tmp_path / "x.vmfb").read_text() == "board\n"


def test_no_torq_is_no_answer(no_torq, tmp_path):
    assert run_torq(tmp_path / "x.mlirbc", tmp_path / "x.vmfb") is None


def test_an_export_is_not_written_where_torq_refuses_it(stand_in, int8, tmp_path, monkeypatch):
    stand_in(OVERFLOW, 1)
    monkeypatch.setattr(coral_npu, "is_installed", lambda: True)
    monkeypatch.setattr(coral_npu, "to_tosa", lambda path, folder: folder / "x.mlirbc")
    with pytest.raises(GateError, match=r"torq-compile refuses the file: .* 88,328 bytes of dtcm"):
        on_coral_npu(int8.path, TARGETS["coral-npu"], tmp_path, True)
    quiet = on_coral_npu(int8.path, TARGETS["coral-npu"], tmp_path, False)
    assert quiet.details["torq"] is None and quiet.off_device == 0


def test_iree_is_not_run_where_it_is_missing(nothing_installed):
    assert RUNTIMES["iree"].missing() == "pip install kseg[coral-npu]"


def test_the_compilers_time_is_limited(monkeypatch, tmp_path):
    def late(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(coral_npu.subprocess, "run", late)
    with pytest.raises(GateError, match=r"converter refuses x.tflite: it took longer than 30 min"):
        to_tosa(tmp_path / "x.tflite", tmp_path)
