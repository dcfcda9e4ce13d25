import hashlib
import json

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kseg
from export import (
    ExportOptions,
    GateError,
    convert,
    dynamic_range,
    float16,
    float32,
    full_integer,
    load_tflite,
)
from export.proof.verification import check_graph
from export.targets import TARGETS
from export.tflite.reader import ModelFile, Op, Tensor, read_model


def test_full_integer_file_takes_bytes_and_holds_no_float(int8, int8_argmax):
    for result in (int8, int8_argmax):
        graph = read_model(result.path)
        image = graph.tensors[graph.inputs[0]]
        assert (image.dtype, image.shape) == ("uint8", (1, 64, 64, 3))
        assert (image.scales, image.zero_points) == ((1 / 128,), (127,))
        assert {t.dtype for t in graph.tensors} <= {"int8", "uint8", "int32", "int64", "bool"}
        names = {op.name for op in graph.ops}
        assert not names & {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SHAPE", "PACK", "CUSTOM"}
        # 64 x 64 needs neither padding nor cropping, so those layers left no trace.
        assert not names & {"PAD", "STRIDED_SLICE", "MUL"}


def test_input_range_is_exact_for_dull_pictures(trained, data, tmp_path):
    dull = [60 + picture // 3 for picture in data.images("train", 8)]
    path = tmp_path / "dull.tflite"
    convert(trained, full_integer(dull), input_size=(64, 64), path=path)
    image = read_model(path).tensors[read_model(path).inputs[0]]
    assert (image.scales, image.zero_points) == ((1 / 128,), (127,))


def test_int8_is_certified_and_its_scores_are_those_of_evaluate(int8, trained, data):
    assert int8.certified
    assert int8.mean_iou_float > 0.7
    assert int8.mean_iou_float - int8.mean_iou < 0.015
    assert int8.agreement > 0.98
    assert int8.mean_iou_float == pytest.approx(kseg.evaluate(trained, data).mean_iou, abs=1e-4)
    with load_tflite(int8.path) as file:
        assert int8.mean_iou == pytest.approx(kseg.evaluate(file, data).mean_iou, abs=1e-12)


def test_kernels_have_a_scale_for_each_channel_or_one(int8, trained, data, tmp_path):
    recipe = full_integer(data.images("train", 12), per_channel=False)
    path = tmp_path / "one.tflite"
    result = convert(trained, recipe, input_size=(64, 64), path=path, validation=data)
    assert result.certified and not result.report["recipe"]["per_channel"]
    assert max(len(tensor.scales) for tensor in read_model(path).tensors) == 1
    assert max(len(tensor.scales) for tensor in read_model(int8.path).tensors) > 1


def test_file_set(int8):
    content = int8.path.read_bytes()
    report = json.loads(int8.path.with_suffix(".json").read_text())
    assert report == json.loads(json.dumps(int8.report))
    assert report["file"] == {
        "name": "shapes.tflite",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert report["recipe"] == {"name": "full_integer", "images": 12, "per_channel": True}
    assert report["verification"]["mean_iou"] == int8.mean_iou
    assert report["verification"]["iou_per_class"].keys() == {"ground", "red", "blue"}
    labels = int8.path.with_name("shapes.labels.txt").read_text()
    assert labels == "ground\nred\nblue\n"
    assert {file.name for file in int8.path.parent.iterdir()} == {
        f"shapes.{ending}" for ending in ("tflite", "json", "html", "labels.txt")
    }


def test_file_has_a_readable_signature(int8, int8_argmax):
    for result, name in ((int8, "logits"), (int8_argmax, "labels")):
        signatures = Interpreter(str(result.path)).get_signature_list()
        assert signatures == {"serving_default": {"inputs": ["image"], "outputs": [name]}}


@pytest.mark.parametrize(
    ("recipe", "agreement"), [(float32(), 0.9999), (float16(), 0.999), (dynamic_range(), 0.99)]
)
def test_float_files_take_pictures_of_0_to_255(recipe, agreement, trained, data, tmp_path):
    path = tmp_path / "float.tflite"
    result = convert(trained, recipe, input_size=(64, 64), path=path, validation=data)
    assert result.report["input"]["dtype"] == "float32"
    assert result.agreement >= agreement
    assert result.certified


def test_softmax_head(trained, data, recipe, tmp_path):
    path = tmp_path / "softmax.tflite"
    options = ExportOptions(head="softmax")
    convert(trained, recipe, input_size=(64, 64), path=path, validation=data, options=options)
    with load_tflite(path) as file:
        scores = file(np.float32(data.images("val", 1)[0][None]))
    np.testing.assert_allclose(scores.sum(-1), 1, atol=0.02)


def test_odd_sizes_are_one_pad_and_one_crop(trained, data, recipe, tmp_path):
    path = tmp_path / "odd.tflite"
    result = convert(trained, recipe, input_size=(50, 61), path=path, validation=data)
    assert result.report["ops"]["PAD"] == result.report["ops"]["STRIDED_SLICE"] == 1
    assert result.report["output"]["shape"] == (1, 50, 61, 3)


def test_without_labelled_pictures_nothing_is_certified(trained, recipe, tmp_path):
    path = tmp_path / "plain.tflite"
    result = convert(trained, recipe, input_size=(64, 64), path=path)
    assert not result.certified
    assert result.mean_iou is None
    assert result.agreement > 0.98


def test_the_size_that_a_model_carries_goes_into_the_file(
    trained, recipe, data, tmp_path, monkeypatch
):
    """Else images smaller than the file's input are padded in place of enlarged, unseen by all."""
    monkeypatch.setattr(trained, "kseg_size", (96, 96))
    options = ExportOptions(min_ratio=0, max_drop=1)
    path, size = tmp_path / "sized.tflite", (96, 96)
    result = convert(trained, recipe, input_size=size, path=path, validation=data, options=options)
    assert result.report["working_size"] == size
    assert result.mean_iou_float == pytest.approx(kseg.evaluate(trained, data).mean_iou, abs=1e-6)
    with load_tflite(path) as file:
        assert file.kseg_size == size
        assert kseg.evaluate(file, data).mean_iou == result.mean_iou


def test_same_model_gives_the_same_bytes(int8, trained, recipe, data, tmp_path):
    path = tmp_path / "again.tflite"
    convert(trained, recipe, input_size=(64, 64), path=path, validation=data)
    assert path.read_bytes() == int8.path.read_bytes()


def test_a_users_own_model_converts(recipe, tmp_path):
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, padding="same", dilation_rate=2, activation="relu")(x)
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(x))
    model.compile("adam", loss=lambda truth, logits: keras.ops.mean(logits))  # not serializable
    result = convert(model, recipe, input_size=(64, 64), path=tmp_path / "own.tflite")
    assert result.report["input"]["scale"] == pytest.approx(1 / 255)
    assert result.report["input"]["zero_point"] == 0
    assert result.report["network"] is None
    assert result.agreement > 0.95


def test_scaling_by_channel_stays_in_the_graph(recipe, tmp_path):
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1.0, [-104.0, -117.0, -124.0])(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(x))
    result = convert(model, recipe, input_size=(64, 64), path=tmp_path / "vgg.tflite")
    assert (result.report["input"]["scale"], result.report["input"]["zero_point"]) == (1, 0)
    assert "ADD" in result.report["ops"] or "SUB" in result.report["ops"]


def test_a_failed_gate_leaves_what_was_there(trained, recipe, data, tmp_path):
    path = tmp_path / "kept.tflite"
    path.write_bytes(b"good")
    options = ExportOptions(min_ratio=1.5, overwrite=True)  # no file can be that good
    with pytest.raises(GateError, match="Mean IoU falls"):
        convert(trained, recipe, input_size=(64, 64), path=path, validation=data, options=options)
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_an_untrained_model_is_not_certified(recipe, data, tmp_path):
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    with pytest.raises(GateError, match="nothing can be certified"):
        convert(model, recipe, input_size=(64, 64), path=tmp_path / "x.tflite", validation=data)
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept_unless_asked(trained, recipe, data, tmp_path):
    path = tmp_path / "kept.tflite"
    path.write_bytes(b"good")
    with pytest.raises(ValueError, match="exists; export elsewhere"):
        convert(trained, recipe, input_size=(64, 64), path=path, validation=data)
    assert path.read_bytes() == b"good"
    options = ExportOptions(overwrite=True)
    stale = tmp_path / "kept_vela.tflite"
    stale.write_bytes(b"compiled from the earlier one")
    with pytest.raises(ValueError, match=r"kept_vela\.tflite is in the way, and no"):
        convert(trained, recipe, input_size=(64, 64), path=path, validation=data, options=options)
    assert path.read_bytes() == b"good" and stale.exists()
    (tmp_path / "kept.json").write_text('{"file": {"sha256": ""}}')
    convert(trained, recipe, input_size=(64, 64), path=path, validation=data, options=options)
    assert path.read_bytes() != b"good" and not stale.exists()


@pytest.mark.parametrize("ending", [".json", ".html", ".labels.txt", "_vela.tflite"])
def test_what_stands_beside_a_file_is_kept_too(ending, trained, recipe, tmp_path):
    other = tmp_path / f"kept{ending}"
    other.write_text("mine")
    with pytest.raises(ValueError, match=rf"kept{ending} exists; export elsewhere"):
        convert(trained, recipe, input_size=(64, 64), path=tmp_path / "kept.tflite")
    assert other.read_text() == "mine"


def test_classes_of_the_pictures_are_those_of_the_model(
    trained, recipe, tmp_path, write_rectangles
):
    yaml = write_rectangles(tmp_path / "four", [(64, 64)] * 4)
    yaml.write_text(yaml.read_text().replace("blue", "blue, green"))
    arguments = {"input_size": (64, 64), "path": tmp_path / "x.tflite", "target": "edgetpu"}
    with pytest.raises(ValueError, match=r"The model has 3 classes and .* has 4 names"):
        convert(trained, recipe, **arguments, validation=kseg.load_data(yaml))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"target": "toaster"}, "target must be one of android, edgetpu, ethos-.*; got 'toaster'"),
        ({"target": "edgetpu", "recipe": float16()}, "edgetpu takes full_integer files; got"),
        ({"input_size": (64, 0)}, r"input_size must be \(height, width\) in pixels; got \(64, 0\)"),
        ({"path": "model.bin"}, r"path must end in \.tflite; got model\.bin"),
        ({"path": "nowhere/x.tflite"}, "The folder nowhere does not exist"),
        ({"path": "/proc/x.tflite"}, "Nothing can be written into the folder /proc"),
    ],
)
def test_bad_arguments_are_a_sentence(changed, sentence, trained, recipe, tmp_path):
    arguments = {"recipe": recipe, "input_size": (64, 64), "path": tmp_path / "x.tflite"}
    arguments |= changed
    with pytest.raises(ValueError, match=sentence):
        convert(trained, arguments.pop("recipe"), **arguments)


def test_unknown_head_is_refused():
    with pytest.raises(ValueError, match="head must be one of logits, argmax, softmax; got 'max'"):
        ExportOptions(head="max")


def _graph(
    op="CONV_2D", version=1, dtype="int8", scale=1 / 128, zero_point=127, rank=4, name="inner"
):
    image = Tensor("image", "uint8", (1, 8, 8, 3), (scale,), (zero_point,), 0)
    inner = Tensor(name, dtype, (1,) * (rank - 3) + (8, 8, 3), (0.1,), (0,), 0)
    return ModelFile((image, inner), (Op(0, op, version, (0,), (1,)),), (0,), (1,), 1000)


@pytest.mark.parametrize(
    ("graph", "target", "sentence"),
    [
        (_graph(dtype="float32"), "android", "1 float tensors, the first of them inner"),
        (_graph(op="SPACE_TO_BATCH_ND"), "android", "the ops SPACE_TO_BATCH_ND"),
        (_graph(scale=0.007), "android", r"scale 0\.007 and zero point 127, where bytes need"),
        (_graph(zero_point=129), "android", "zero point 129, where bytes need"),
        (_graph(op="TRANSPOSE_CONV", version=4), "edgetpu", "TRANSPOSE_CONV of version 4, which"),
        (_graph(op="GELU", version=9), "edgetpu", "GELU of version 9, which its compiler cannot"),
        (
            _graph(op="TILE", rank=5, name="net/norm_1/add"),
            "android",
            r"TILE with a tensor of 5 dimensions, .* layer\(s\) norm: use others there",
        ),
    ],
)
def test_what_a_target_does_not_take_is_refused(graph, target, sentence, recipe):
    check_graph(_graph(), recipe, TARGETS[target], (1 / 128, -127 / 128))
    with pytest.raises(GateError, match=sentence):
        check_graph(graph, recipe, TARGETS[target], (1 / 128, -127 / 128))


@pytest.mark.parametrize("zero_point", [127, 128])
def test_both_neighbours_of_a_tie_are_right_zero_points(zero_point, recipe):
    graph = _graph(scale=1 / 127.5, zero_point=zero_point)
    check_graph(graph, recipe, TARGETS["android"], (1 / 127.5, -1))
    for wrong in (126, 129):
        with pytest.raises(GateError, match=f"zero point {wrong}, where bytes need"):
            graph = _graph(scale=1 / 127.5, zero_point=wrong)
            check_graph(graph, recipe, TARGETS["android"], (1 / 127.5, -1))
