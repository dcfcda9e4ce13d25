import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export import ModelFileError
from export.tflite.reader import read_model


def test_reads_what_litert_reads(int8):
    graph = read_model(int8.path)
    interpreter = Interpreter(str(int8.path))
    # LiteRT adds tensors of its own behind those of the file.
    for detail in interpreter.get_tensor_details()[: len(graph.tensors)]:
        tensor = graph.tensors[detail["index"]]
        assert tensor.name == detail["name"]
        assert tensor.dtype == np.dtype(detail["dtype"]).name
        assert tensor.shape == tuple(detail["shape"])
        np.testing.assert_array_equal(
            np.float32(tensor.scales), detail["quantization_parameters"]["scales"]
        )
        np.testing.assert_array_equal(
            tensor.zero_points, detail["quantization_parameters"]["zero_points"]
        )
    names = [op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    assert [op.name for op in graph.ops] == names[: len(graph.ops)]
    assert graph.inputs == tuple(d["index"] for d in interpreter.get_input_details())
    assert graph.outputs == tuple(d["index"] for d in interpreter.get_output_details())
    assert graph.size_bytes == int8.path.stat().st_size


def test_weights_fill_most_of_the_file(int8, trained):
    graph = read_model(int8.path)
    kernels = sum(np.prod(w.shape) for w in trained.weights if "kernel" in w.path)
    constants = sum(tensor.nbytes for tensor in graph.tensors)
    assert kernels < constants < graph.size_bytes


def test_damage_ends_in_a_model_file_error(int8, tmp_path):
    content = int8.path.read_bytes()
    path = tmp_path / "damaged.tflite"
    rng = np.random.default_rng(0)
    refused = 0
    for attempt in range(400):
        damaged = bytearray(content)
        if attempt % 2:
            del damaged[rng.integers(8, len(damaged)) :]
        else:
            for at in rng.integers(8, 4096, 8):
                damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_model(path)
        except ModelFileError:
            refused += 1
    assert refused > 200  # every cut and some of the flips


def test_what_is_no_model_is_refused(tmp_path):
    path = tmp_path / "no.tflite"
    path.write_bytes(b"\x1c\0\0\0PNG!" + bytes(100))
    with pytest.raises(ModelFileError, match=r"is no \.tflite file"):
        read_model(path)
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        read_model(tmp_path / "missing.tflite")


@pytest.mark.data
def test_google_models_have_as_many_ops_as_google_compiled(edgetpu_pairs):
    truth = json.loads((edgetpu_pairs / "truth.json").read_text())
    assert len(truth) == 14
    for name, outcome in truth.items():
        assert len(read_model(edgetpu_pairs / name).ops) == len(outcome["mapped"]), name
