"""An output's uint8 is made before the last resize: the same labels in less time."""

import numpy as np
import pytest

from export import load_tflite
from export.graph.early_bytes import quantize_early
from export.tflite.reader import read_model
from export.web.facts import zoo

FILES = {model.title: model.path for model in zoo()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A file as the converter made it, and rewritten."""
    path = tmp_path_factory.mktemp("early") / "early.tflite"
    content = FILES["atrous_fpn_tiny_camvid"].read_bytes()
    path.write_bytes(quantize_early(content))
    return FILES["atrous_fpn_tiny_camvid"], path


def ends(path):
    graph = read_model(path)
    return [(op.name, graph.tensors[op.outputs[0]].dtype) for op in graph.ops[-3:]]


def test_bytes_come_before_the_resize(pair):
    late, early = pair
    assert ends(late) == [
        ("RESIZE_BILINEAR", "int8"),
        ("STRIDED_SLICE", "int8"),
        ("QUANTIZE", "uint8"),
    ]
    assert ends(early) == [
        ("QUANTIZE", "uint8"),
        ("RESIZE_BILINEAR", "uint8"),
        ("STRIDED_SLICE", "uint8"),
    ]
    assert quantize_early(early.read_bytes()) == early.read_bytes()


@pytest.mark.parametrize(("kernels", "apart"), [("default", 0), ("plain", 1)])
def test_outputs_are_equal(pair, kernels, apart):
    image = np.random.default_rng(0).integers(0, 256, (1, 360, 480, 3), "uint8")
    outputs = []
    for path in pair:
        with load_tflite(path, kernels=kernels) as file:
            outputs.append(file.run(image)[0].astype(int))
            assert file.output.dtype == "uint8"
    assert np.abs(outputs[0] - outputs[1]).max() <= apart
    assert np.ptp(outputs[0]) > 50


def test_other_ends_stay_as_they_are(int8_argmax):
    for path in (FILES["segnet_camvid"], int8_argmax.path):
        assert quantize_early(path.read_bytes()) == path.read_bytes()


def test_exports_for_phones_are_made_so_and_others_are_not(int8):
    names = [name for name, _ in ends(int8.path)]
    assert "RESIZE_BILINEAR" not in names or names.index("QUANTIZE") < names.index(
        "RESIZE_BILINEAR"
    )
    assert names[-1] != "QUANTIZE"
