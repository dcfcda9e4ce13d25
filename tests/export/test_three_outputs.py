"""Files that tell objects apart: three outputs, each with its own scale, held to the model's PQ."""

import json
from dataclasses import replace

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import kseg
from export import (
    ExportOptions,
    GateError,
    ModelFileError,
    convert,
    float32,
    full_integer,
    int16x8,
    load_tflite,
    verify,
)
from export.graph.comparison import check_fixed
from export.graph.ends import strides
from export.graph.fixed import Original, fix_model
from export.tflite.reader import read_model
from export.tflite.table import root_table
from kseg.analysis.graph import trace
from kseg.instances import evaluate_instances
from kseg.layers import Resize

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


def test_a_file_gives_the_three_maps_and_says_what_things_are(int8_discs, disc_reader, discs):
    image = np.float32(discs.images("val", 1)[0][None, :50, :61])
    expected = disc_reader(image)
    with load_tflite(int8_discs.path) as file:
        assert file.kseg_things == (1,)
        assert file.output_names == NAMES
        found = file(image)
        assert found.keys() == set(NAMES)
        for name, values in found.items():
            assert values.shape == (1, 50, 61, expected[name].shape[-1])
            inner = np.s_[:, :48, :60]  # beside the padding maps are enlarged from what is there
            atol = 6 * file.outputs[name].scale
            np.testing.assert_allclose(values[inner], expected[name][inner], atol=atol)
        objects = kseg.predict_instances(file, np.uint8(image[0])).objects
    assert len(objects) == len(kseg.predict_instances(disc_reader, np.uint8(image[0])).objects)


def test_one_output_alone_labels_the_image(int8_discs, disc_reader, discs):
    image = discs.images("val", 1)[0]
    semantic = keras.Model(disc_reader.input, disc_reader.output["semantic"])
    for output in ("semantic", None):
        with load_tflite(int8_discs.path, output=output) as file:
            assert (kseg.predict(file, image) == kseg.predict(semantic, image)).mean() > 0.99


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


@pytest.mark.parametrize("name", NAMES)
def test_every_output_is_compared_with_the_models_own(name, disc_reader, monkeypatch):
    def wrong(layer, args):
        return layer(args[0]) * 1.01 if layer.name == f"score_{name}" else None

    monkeypatch.setattr("export.graph.fixed.rewrite", wrong)
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    for stride in (1, 2):
        fixed = fix_model(disc_reader, SIZE, keep_scaling=True, stride=stride)
        sentence = rf"first in the layer score_{name}, by 0\.01"
        with pytest.raises(GateError, match=sentence) as raised:
            check_fixed(disc_reader, fixed, [image])
        assert (f"largest value of {name}" in str(raised.value)) == (stride == 1)


def _three(end, shared=1):
    """A network whose maps are what `end` makes of features at stride 4, by name."""
    image = keras.Input((None, None, 3))
    x = layers.AveragePooling2D(4)(image)
    x = layers.Conv2D(8, 3, padding="same", name="features")(x)
    channels = {"semantic": 3, "center": 1, "offset": 2}
    return keras.Model(image, end(x, channels))


def _each(make):
    return lambda x, channels: {
        name: make(layers.Conv2D(count, 1)(x), name) for name, count in channels.items()
    }


def _one_resize_for_all(x, channels):
    large = Resize(4)(x)
    return {name: layers.Conv2D(count, 1)(large) for name, count in channels.items()}


def _one_resize_for_two(x, channels):
    large = Resize(4)(x)
    found = {name: layers.Conv2D(count, 1)(large) for name, count in channels.items()}
    sharp = layers.Conv2D(8, 3, padding="same", activation="relu")(large)
    small = layers.AveragePooling2D(4)(sharp)
    return found | {"center": Resize(4)(layers.Conv2D(1, 1)(small))}


def _one_map_at_full_size(x, channels):
    found = _one_resize_for_all(x, channels)
    sharp = layers.Conv2D(1, 3, padding="same", activation="relu")(Resize(4)(x))
    return found | {"center": sharp}


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (_each(lambda x, name: Resize(4)(x)), [1, 4]),
        (_each(lambda x, name: Resize(2)(Resize(2)(x))), [1, 2, 4]),
        (_one_resize_for_all, [1, 4]),
        (_one_resize_for_two, [1]),  # the enlarged features are needed to make the centres
        (_one_map_at_full_size, [1]),
    ],
)  # fmt: skip
def test_a_network_can_end_where_all_its_maps_can(end, expected):
    model = _three(end)
    assert list(strides(trace(model, SIZE))) == expected
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    whole = Original(model, SIZE)(image)
    for stride in expected:
        fixed = fix_model(model, SIZE, keep_scaling=True, stride=stride)
        check_fixed(model, fixed, [image])
        for name, values in fixed(image).items():
            if expected == [1, 4]:  # two enlargings by 2 are not quite one by 4
                np.testing.assert_allclose(values, whole[name], rtol=1e-3, atol=1e-3)


REFUSED = {
    "no dict": (
        lambda x, c: list(_each(lambda x, name: Resize(4)(x))(x, c).values()),
        r"has 3 outputs, .* \(A network that tells objects apart gives a dict of semantic, center",
    ),
    "other names": (
        lambda x, c: {"classes": x, "center": x, "offset": x}, "gives a dict of semantic, center",
    ),
    "two centres": (
        lambda x, c: _each(lambda x, name: Resize(4)(x))(x, c | {"center": 2}),
        r"The output center .* must be 1 channel\(s\) of the height and width of semantic",
    ),
    "another grid": (
        _each(lambda x, name: x if name == "offset" else Resize(4)(x)),
        r"The output offset .* must be 2 channel\(s\) of the height and width of semantic",
    ),
    "one class": (
        lambda x, c: _each(lambda x, name: Resize(4)(x))(x, c | {"semantic": 1}),
        "returns one channel, and labels are taken from the largest",
    ),
    "nobody says what things are": (
        _each(lambda x, name: Resize(4)(x)), "Nobody says which classes are things",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("end", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_network_of_three_maps_is_refused(end, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        convert(_three(end), float32(), input_size=SIZE, path=tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_who_says_what_things_are(disc_reader, discs, trained, data, disc_images, tmp_path):
    def refused(sentence, model=disc_reader, **arguments):
        with pytest.raises(ValueError, match=sentence):
            convert(model, float32(), input_size=SIZE, path=tmp_path / "x.tflite", **arguments)

    refused("ids of the model's classes, 0 to 1; got 7", options=ExportOptions(things=(7,)))
    refused("objects of the classes 0 apart, and .* those of 1; name the same",
            options=ExportOptions(things=(0,)), validation=discs)  # fmt: skip
    refused("does not tell objects apart", validation=replace(discs, things=()))
    refused("things is for models of the outputs semantic", trained,
            options=ExportOptions(things=(1,)))  # fmt: skip


class _Stub:
    """Stands in for a model or a file: the maps of an image of two columns of objects."""

    output_names = NAMES
    kseg_things = (1,)

    def __init__(self, columns, shift=0.0):
        self.columns, self.shift = columns, shift

    def __call__(self, images):
        labels = np.zeros((8, 32), int)
        center, offset = np.zeros((1, 8, 32, 1)), np.zeros((1, 8, 32, 2))
        for column in self.columns:
            labels[2:7, column : column + 5] = 1
            center[0, 4, column + 2] = 1
            y, x = np.mgrid[2:7, column : column + 5]
            offset[0, 2:7, column : column + 5] = np.stack([4 - y, column + 2 - x], -1)
        return {
            "semantic": 4 * np.eye(2)[labels][None],
            "center": center,
            "offset": offset + self.shift,
        }

    def saturated(self, name=None):
        return None


def test_objects_of_a_file_are_scored_against_the_models():
    """Of objects at columns 2, 10 and 20 the file has two, and one elsewhere."""
    image = np.zeros((8, 32, 3), "uint8")
    result = verify(_Stub((2, 10, 26), shift=0.3), _Stub((2, 10, 20)), [image, image])
    objects = result.objects
    assert objects.agreement.tp_over_all[0.5] == 2 / 4
    assert objects.agreement.things.pq == 2 / 3  # 2 of IoU 1, over 2 + 1/2 + 1/2
    assert objects.offset_error == pytest.approx(_mean_offset_error(), rel=1e-5)
    assert objects.differences["center"] == 1
    assert objects.scores is None and result.scores is None
    assert result.worst[0].agreement == 2 / 4
    assert len(result.worst[0].instances.objects) == 3
    # Pixels: 25 of one object are lost and 25 elsewhere are new.
    assert result.agreement == 1 - 50 / 256


def _mean_offset_error():
    """Over the pixels of the three objects: two are off by 0.3 both ways, one by all its way."""
    y, x = np.mgrid[-2:3, -2:3]
    near = np.hypot(0.3, 0.3)
    lost = np.hypot(-y - 0.3, -x - 0.3).mean()
    return (2 * near + lost) / 3


def test_metadata_describe_each_output_in_the_files_order(int8_discs):
    graph = read_model(int8_discs.path)
    (subgraph,) = root_table(bytes(graph.metadata["TFLITE_METADATA"])).tables(3)
    outputs = subgraph.tables(3)
    assert tuple(output.text(0) for output in outputs) == graph.output_names
    for output in outputs:  # the class names belong to the labels alone
        assert bool(output.tables(6)) == (output.text(0) == "semantic")
        assert output.text(1)


def _without_signature(content):
    """Returns a file as Google's compiler leaves it: tensors have names and outputs have none."""
    model = schema.ModelT.InitFromPackedBuf(content)
    model.signatureDefs = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_compiled_file_is_read_by_the_report_beside_it(int8_discs, discs, tmp_path):
    content = _without_signature(int8_discs.path.read_bytes())
    compiled = tmp_path / "discs_edgetpu.tflite"
    compiled.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"has 3 outputs: 0: .*--output NAME"):
        load_tflite(compiled)
    (tmp_path / "discs.json").write_bytes(int8_discs.path.with_suffix(".json").read_bytes())
    image = np.float32(discs.images("val", 1)[0][None])
    with load_tflite(compiled) as file, load_tflite(int8_discs.path) as expected:
        assert file.kseg_things == (1,)
        for name, values in file(image).items():
            np.testing.assert_array_equal(values, expected(image)[name])
    report = json.loads((tmp_path / "discs.json").read_text())
    report["outputs"]["offset"]["shape"] = [1, 64, 64, 1]
    (tmp_path / "discs.json").write_text(json.dumps(report))
    with pytest.raises(ModelFileError, match="has 3 outputs"):
        load_tflite(compiled)


def test_files_of_others_with_these_names(made):
    """Only what has the three names and their channels is taken for one that tells apart."""

    def maps(center=1, offset=2):
        return made(
            lambda x: {
                "semantic": x, "center": x[..., :center] + 1, "offset": x[..., :offset] + 2
            }
        )  # fmt: skip

    image = np.full((1, 8, 8, 3), 9, "float32")
    with load_tflite(maps(), normalization="0..255") as file:
        assert file.kseg_things is None
        found = file(image)
        assert {name: x.shape[-1] for name, x in found.items()} == {
            "semantic": 3, "center": 1, "offset": 2,
        }  # fmt: skip
    for wrong, sentence in (
        ({"center": 2}, r"output center of .* it must be \(1, h, w, 1\)"),
        ({"offset": 3}, r"output offset of .* it must be \(1, h, w, 2\)"),
    ):
        with pytest.raises(ModelFileError, match=sentence):
            load_tflite(maps(**wrong))


def test_the_quantization_aware_network_crosses(
    disc_reader, discs, disc_images, calibrate_network, tmp_path
):
    """Its state before the first step of training makes a file as good as the network."""
    quantized = calibrate_network(disc_reader, np.stack(disc_images).astype("float32"))
    emulated = evaluate_instances(quantized.at(SIZE), discs)
    for stride in (1, 2):
        result = quantized.convert(
            tmp_path / f"{stride}.tflite", input_size=SIZE, validation=discs,
            options=ExportOptions(stride=stride),
        )  # fmt: skip
        assert result.pq == pytest.approx(emulated.pq, abs=0.01)
        assert result.report["quantization_aware"]["agreement"] > 0.995
        assert _endpoints(result.path).keys() == set(NAMES)
        with load_tflite(result.path) as file:
            assert (file.stride, file.kseg_things) == (stride, (1,))


@pytest.mark.slow
def test_quantization_aware_training_keeps_the_best_quality(disc_reader, discs, tmp_path):
    from export import quantization_aware

    recipe = kseg.Recipe(
        epochs=2, batch_size=4, learning_rate=1e-4, crop=SIZE, scale=(1.0, 1.0), color=0.0,
        flip=False,
    )  # fmt: skip
    quantized = quantization_aware(disc_reader, discs, recipe)
    before = evaluate_instances(disc_reader, discs).pq
    assert quantized.pq_float == pytest.approx(before, abs=1e-4)
    best = max(row["pq"] for row in quantized.history)
    assert best > before - 0.01
    result = quantized.convert(tmp_path / "x.tflite", input_size=SIZE, validation=discs)
    assert result.pq == pytest.approx(best, abs=0.01)


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
