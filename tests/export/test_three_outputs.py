"""Files that tell objects apart: three outputs, each with its own scale, held to the model's PQ."""

import json

import keras
import numpy as np
import pytest

import kseg
from export import (
    ExportOptions,
    GateError,
    convert,
    full_integer,
    int16x8,
    load_tflite,
)
from export.tflite.reader import read_model
from kseg.instances import evaluate_instances

NAMES = ("semantic", "center", "offset")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def disc_images(discs):
    return discs.images("train", 12)


def _endpoints(path):
    """Returns the name in the signature of each output, to its tensor."""
    graph = read_model(path)
    tensors = (graph.tensors[t] for t in graph.outputs)
    return dict(zip(graph.output_names, tensors, strict=True))


def test_each_output_has_its_name_and_its_scale(int8_discs):
    ends = _endpoints(int8_discs.path)
    assert ends.keys() == set(NAMES)
    assert [ends[name].shape[-1] for name in NAMES] == [2, 1, 2]
    assert {end.dtype for end in ends.values()} == {"uint8"}
    assert len({end.scales for end in ends.values()}) == 3
    graph = read_model(int8_discs.path)
    assert not [t.name for t in graph.tensors if t.dtype.startswith("float")]


def test_the_gate_is_panoptic_quality_and_equals_evaluate(int8_discs, disc_reader, discs):
    before = evaluate_instances(disc_reader, discs)
    assert before.things.pq > 0.85
    assert int8_discs.certified
    assert int8_discs.pq_float == pytest.approx(before.pq, abs=1e-4)
    assert int8_discs.pq_float - int8_discs.pq < 0.015
    with load_tflite(int8_discs.path) as file:
        after = evaluate_instances(file, discs)
    assert int8_discs.pq == pytest.approx(after.pq, abs=1e-12)
    objects = int8_discs.report["verification"]["objects"]
    assert objects["file"]["things"]["pq"] == pytest.approx(after.things.pq, abs=1e-12)
    assert objects["agreement"]["tp_over_all"]["0.5"] == 1
    assert 0 < objects["offset_error"] < 0.5


def test_the_report_has_a_line_for_each_output(int8_discs):
    report = json.loads(int8_discs.path.with_suffix(".json").read_text())
    assert report == json.loads(json.dumps(int8_discs.report))
    assert report["things"] == [1]
    for name, end in _endpoints(int8_discs.path).items():
        told = report["outputs"][name]
        assert (told["scale"], told["zero_point"]) == (end.scales[0], end.zero_points[0])
        # Noise of a few steps at most, and none where it is cut off.
        assert told["max_difference"] < 6 * told["scale"]
        assert 0 <= told["saturated"] < 0.1
    assert {k: v for k, v in report["outputs"]["semantic"].items() if k in report["output"]} == (
        report["output"]
    )
    page = int8_discs.path.with_suffix(".html").read_text()
    for text in ("output center", "mean error of offsets", "PQ file", "model: 3 objects"):
        assert text in page


def test_an_edge_tpu_runs_all_ops_and_ends_early(disc_reader, discs, disc_images, tmp_path):
    options = ExportOptions(stride=2, explain=True)
    result = convert(
        disc_reader, full_integer(disc_images), target="edgetpu", input_size=SIZE,
        path=tmp_path / "x.tflite", validation=discs, options=options,
    )  # fmt: skip
    assert result.report["placement"]["off_device"] == 0
    assert {tuple(o["shape"][1:3]) for o in result.report["outputs"].values()} == {(32, 32)}
    assert result.pq_float - result.pq < 0.015
    # 5 channels at stride 2, and at stride 1; argmax has ids of 4 bytes in place of 2 scores.
    sizes = {(c["head"], c["stride"]): c["output_bytes"] for c in result.report["choices"]}
    assert sizes["logits", 2] == 5 * 32 * 32 and sizes["logits", 1] == 5 * 64 * 64
    assert sizes["argmax", 1] == 7 * 64 * 64
    with load_tflite(result.path) as file:  # without metadata: from the report beside it
        assert file.kseg_things == (1,)
        assert file.stride == 2
        assert result.pq == pytest.approx(evaluate_instances(file, discs).pq, abs=1e-12)
    result.path.with_suffix(".json").unlink()
    with load_tflite(result.path) as file:
        assert file.kseg_things is None
        with pytest.raises(ValueError, match="things must name the classes"):
            kseg.predict_instances(file, disc_images[0])


def test_a_head_is_that_of_the_classes(disc_reader, discs, disc_images, int8_discs, tmp_path):
    options = ExportOptions(head="argmax")
    result = convert(
        disc_reader, full_integer(disc_images), input_size=SIZE, path=tmp_path / "x.tflite",
        validation=discs, options=options,
    )  # fmt: skip
    ends = _endpoints(result.path)
    assert (ends["semantic"].dtype, ends["semantic"].shape) == ("int32", (1, *SIZE))
    assert ends["offset"].scales == _endpoints(int8_discs.path)["offset"].scales
    assert result.report["outputs"]["semantic"]["max_difference"] is None
    assert result.report["outputs"]["offset"]["max_difference"] > 0
    assert result.pq == pytest.approx(int8_discs.pq, abs=0.01)


def test_16_bits_keep_offsets(disc_reader, discs, disc_images, int8_discs, tmp_path):
    result = convert(
        disc_reader, int16x8(disc_images), input_size=SIZE, path=tmp_path / "x.tflite",
        validation=discs,
    )  # fmt: skip
    errors = [r.report["verification"]["objects"]["offset_error"] for r in (int8_discs, result)]
    assert errors[1] < errors[0] / 2
    assert {end.dtype for end in _endpoints(result.path).values()} == {"int16"}
    with load_tflite(result.path) as file:  # MediaPipe's metadata are not for int16
        assert file.kseg_things == (1,)


def _loud(disc_reader):
    """Returns the network with a red that is 400 times as loud, so that int8 loses the offsets."""
    model = keras.models.clone_model(disc_reader)
    model.set_weights(disc_reader.get_weights())
    by = np.array([400, 1, 1, 400, 1, 1], "float32")
    kernel, bias = model.get_layer("parts").get_weights()
    model.get_layer("parts").set_weights([kernel * by, bias])
    for name in NAMES:
        kernel, bias = model.get_layer(f"score_{name}").get_weights()
        model.get_layer(f"score_{name}").set_weights([kernel / by[:, None], bias])
    return model


def test_lost_offsets_fail_the_gate_and_are_rescued(disc_reader, discs, disc_images, tmp_path):
    path, loud = tmp_path / "x.tflite", _loud(disc_reader)
    arguments = {"input_size": SIZE, "path": path, "validation": discs}
    with pytest.raises(GateError, match=r"PQ falls from 0\.\d+ to 0\.\d+ by the conversion"):
        convert(loud, full_integer(disc_images), **arguments)
    assert not list(tmp_path.iterdir())
    options = ExportOptions(rescue=True)
    result = convert(loud, full_integer(disc_images), **arguments, options=options)
    assert result.pq > 0.97 * result.pq_float
    assert "parts" in result.report["rescued"]
    assert _endpoints(path).keys() == set(NAMES)


def test_without_labels_objects_are_compared_with_the_models(disc_reader, disc_images, tmp_path):
    path = tmp_path / "x.tflite"
    result = convert(disc_reader, full_integer(disc_images), input_size=SIZE, path=path)
    assert not result.certified and result.pq is None
    objects = result.report["verification"]["objects"]
    assert objects["float"] is objects["file"] is None
    assert objects["agreement"]["things"]["pq"] > 0.97
    assert result.agreement > 0.99


def test_a_network_that_finds_nothing_is_not_certified(disc_reader, discs, disc_images, tmp_path):
    blind = keras.models.clone_model(disc_reader)
    blind.set_weights(disc_reader.get_weights())
    kernel, bias = blind.get_layer("score_center").get_weights()
    blind.get_layer("score_center").set_weights([0 * kernel, bias - 5])
    with pytest.raises(GateError, match=r"PQ of things of 0\.0000, so it finds hardly anything"):
        convert(
            blind, full_integer(disc_images), input_size=SIZE, path=tmp_path / "x.tflite",
            validation=discs,
        )  # fmt: skip


def test_the_network_of_the_zoo_is_placed_on_an_edge_tpu(enliven, disc_images, tmp_path):
    model = kseg.build_panoptic_deeplab(3, backbone="separable", weights=None, filters=16)
    result = convert(
        enliven(model, SIZE), full_integer(disc_images), target="edgetpu", input_size=SIZE,
        path=tmp_path / "x.tflite", options=ExportOptions(stride=4, things=(1, 2)),
    )  # fmt: skip
    placement = result.report["placement"]
    assert placement["off_device"] == 0, placement["sentence"]
    assert {tuple(o["shape"][1:3]) for o in result.report["outputs"].values()} == {(16, 16)}
    assert result.report["things"] == [1, 2]
