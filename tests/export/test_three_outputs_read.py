"""Reading files of three outputs, and what quantization-aware training makes of them."""

import json

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import kseg
from export import (
    ExportOptions,
    ModelFileError,
    load_tflite,
)
from export.tflite.reader import read_model
from export.tflite.table import root_table
from kseg.data.transforms import mirror_out
from kseg.instances import evaluate_instances

NAMES = ("semantic", "center", "offset")
SIZE = (64, 64)


def test_a_file_gives_the_three_maps_and_says_what_things_are(int8_discs, disc_reader, discs):
    image = np.float32(discs.images("val", 1)[0][None, :50, :61])
    mirrored = mirror_out(image, SIZE)
    expected = {name: x[:, :50, :61] for name, x in disc_reader(mirrored).items()}
    with load_tflite(int8_discs.path) as file:
        assert file.kseg_things == (1,)
        assert file.output_names == NAMES
        found = file(image)
        assert found.keys() == set(NAMES)
        for name, values in found.items():
            assert values.shape == (1, 50, 61, expected[name].shape[-1])
            atol = 6 * file.outputs[name].scale
            np.testing.assert_allclose(values, expected[name], atol=atol)
        objects = kseg.predict_instances(file, np.uint8(image[0])).objects
    assert len(objects) == len(kseg.predict_instances(disc_reader, np.uint8(image[0])).objects)


def test_one_output_alone_labels_the_image(int8_discs, disc_reader, discs):
    image = discs.images("val", 1)[0]
    semantic = keras.Model(disc_reader.input, disc_reader.output["semantic"])
    for output in ("semantic", None):
        with load_tflite(int8_discs.path, output=output) as file:
            assert (kseg.predict(file, image) == kseg.predict(semantic, image)).mean() > 0.99


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


def test_the_quantization_aware_network_crosses(disc_reader, discs, calibrate_network, tmp_path):
    """Its state before the first step of training makes a file as good as the network."""
    images = np.stack(discs.images("train", 12)).astype("float32")
    quantized = calibrate_network(disc_reader, images)
    emulated = evaluate_instances(quantized.at(SIZE), discs)
    for stride in (1, 2):
        result = quantized.convert(
            tmp_path / f"{stride}.tflite", input_size=SIZE, validation=discs,
            options=ExportOptions(stride=stride),
        )  # fmt: skip
        assert result.pq == pytest.approx(emulated.pq, abs=0.01)
        assert result.report["quantization_aware"]["agreement"] > 0.995
        assert set(read_model(result.path).output_names) == set(NAMES)
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
