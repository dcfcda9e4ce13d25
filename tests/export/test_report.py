import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from export import ExportOptions, convert, int16x8
from export.graph.rescue import layer_of
from export.proof.page import make_page
from export.proof.verification import Example
from kseg.classes import Classes


@pytest.fixture(scope="module")
def explained(tmp_path_factory, trained, recipe, data):
    path = tmp_path_factory.mktemp("explained") / "x.tflite"
    options = ExportOptions(explain=True)
    return convert(
        trained, recipe, target="edgetpu", input_size=(64, 64), path=path, validation=data,
        options=options,
    )  # fmt: skip


def test_other_heads_and_strides_are_measured(explained):
    choices = explained.report["choices"]
    found = {(c["head"], c["stride"]): c for c in choices}
    assert next(iter(found)) == ("logits", 1)
    assert found.keys() == {(h, s) for h in ("logits", "argmax", "softmax") for s in (1, 8)}
    pixels = 64 * 64
    assert found["logits", 1]["output_bytes"] == pixels * 3
    assert found["argmax", 1]["output_bytes"] == pixels * 4  # int32
    assert found["logits", 8]["output_bytes"] == pixels // 64 * 3
    assert found["logits", 1]["ratio"] == 1
    assert found["argmax", 8]["off_device"] > found["logits", 8]["off_device"] == 0


def test_noisiest_layers_are_named(explained, trained):
    noise = explained.report["noise"]
    levels = [layer["signal_to_noise"] for layer in noise]
    assert levels == sorted(levels)
    assert 5 < levels[0] < 60
    assert {layer["layer"] for layer in noise} <= {layer.name for layer in trained.layers} | {
        "output"
    }


def test_layers_with_the_names_that_keras_counts_up_are_told_apart():
    tensors = ("net_1/conv2d_1/Relu;net_1/conv2d_1/convolution", "net_1/conv2d_1_2/Relu", "x:0")
    assert [layer_of(tensor) for tensor in tensors] == ["conv2d", "conv2d_1", "output"]


def test_op_table_has_every_op_where_it_runs(explained):
    table = explained.report["op_table"]
    assert len(table) == sum(explained.report["ops"].values())
    assert [op["index"] for op in table] == list(range(len(table)))
    assert {op["placement"] for op in table} <= {"tpu", "cpu", "uncertain"}
    assert table[-1]["output"] == [1, 64, 64, 3]


def test_page_stands_alone(explained):
    page = explained.path.with_suffix(".html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 4 * 3  # image, model, file, difference of three images
    for source in sources:
        kind, content = source.split(",", 1)
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert picture.size == (64, 64)
    assert "<script" not in page
    assert "@import" not in page
    for text in ("mean IoU, float", "TRANSPOSE_CONV", "Layers that quantization", "red"):
        assert text in page
    assert f"{explained.mean_iou:.4f}" in page


def test_page_escapes_what_others_wrote(explained):
    report = json.loads(json.dumps(explained.report))
    report["file"]["name"] = report["op_table"][0]["reason"] = "<script>alert('1')</script>&"
    report["verification"]["iou_per_class"] = {"<b>road": [0.5, 0.25]}
    page = make_page(report, (), None)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;road" in page
    assert "-0.2500" in page


def test_pictures_show_where_labels_differ(explained):
    image = np.full((4, 6, 3), 100, "uint8")
    labels = np.zeros((4, 6), "uint8")
    other = labels.copy()
    other[1, 2] = 1
    classes = Classes(("a", "b"), ((10, 20, 30), (200, 0, 0)))
    page = make_page(explained.report, [Example(23 / 24, image, labels, other)], classes)
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        for content in re.findall(r"base64,([^\"]*)", page)
    ]
    np.testing.assert_array_equal(pictures[0], image)
    assert (pictures[1] == (10, 20, 30)).all()
    assert tuple(pictures[2][1, 2]) == (200, 0, 0)
    changed = (pictures[3] != 100).any(-1)
    assert [tuple(at) for at in np.argwhere(changed)] == [(1, 2)]
    assert "different: 4.17 %" in page


def test_int16x8(trained, recipe, data, tmp_path):
    path = tmp_path / "wide.tflite"
    result = convert(
        trained, int16x8(recipe.images), input_size=(64, 64), path=path, validation=data
    )
    assert result.report["input"]["dtype"] == result.report["output"]["dtype"] == "int16"
    assert result.report["input"]["scale"] == pytest.approx(255 / 32767)
    assert result.report["input"]["zero_point"] == 0
    assert result.agreement > 0.99
    assert abs(result.mean_iou - result.mean_iou_float) < 0.005
    options = ExportOptions(head="argmax")
    with pytest.raises(ValueError, match="no argmax of 16 bits"):
        convert(
            trained, int16x8(recipe.images), input_size=(64, 64), path=tmp_path / "y.tflite",
            options=options,
        )  # fmt: skip
