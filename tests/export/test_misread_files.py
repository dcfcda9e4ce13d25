"""Files of others that were labelled wrongly without a word: they are read rightly, or refused."""

import json

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

import kseg
from export import ModelFileError, load_tflite
from export.proof.runtimes import Subject
from export.proof.trials import check_trials, prove
from export.tflite.metadata import add_metadata
from export.tflite.normalization import parse_normalization
from export.tflite.process import Endpoint
from kseg.cli import main

IMAGE = (1, 8, 8, 3)
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (8, 8, 3), "uint8")
RED = PHOTO[..., 0]
BRIGHT = (RED > 100).astype("uint8")


def _sigmoid(x):
    return tf.sigmoid((x[..., :1] - 100.5) / 64)


def _rewrite(path, change):
    """Changes a file's schema object in place."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _requantize(path, scale, zero_point):
    """Says that a file's output stands for other numbers."""

    def change(model):
        graph = model.subgraphs[0]
        output = graph.tensors[graph.outputs[0]]
        output.quantization = output.quantization or schema.QuantizationParametersT()
        output.quantization.scale, output.quantization.zeroPoint = [scale], [zero_point]

    return _rewrite(path, change)


def _ids(x):
    return tf.cast(tf.argmax(x, -1), tf.float32)


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8])
@pytest.mark.parametrize(
    ("function", "labels"),
    [
        (_ids, PHOTO.argmax(-1)),
        (lambda x: _ids(x)[..., None] * 1.0, PHOTO.argmax(-1)),
        (lambda x: tf.floor(x[..., :1] / 100), RED // 100),
    ],
    ids=["an argmax", "with a channel", "of rounding"],
)
def test_a_quantized_class_map_is_made_of_what_it_stands_for(quantized, function, labels, dtype):
    with load_tflite(quantized(function, dtype)) as file:
        assert file.output.scale == pytest.approx(2 / 255)
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), labels)


@pytest.mark.parametrize("zero_point", [-128, 0])
def test_whole_steps_are_ids(write_graph, zero_point):
    """Ids that were cast to int8, and a scale of 1."""
    ends = {name: ((1, 8, 8, 1), "int8", None, None) for name in "xy"}
    path = _requantize(write_graph(ends, [("RELU", 1, ["x"], ["y"], {})]), 1.0, zero_point)

    def same(model):
        image, output = model.subgraphs[0].tensors
        image.quantization = output.quantization

    _rewrite(path, same)
    image = np.arange(64, dtype="uint8").reshape(8, 8, 1) % 5
    with load_tflite(path, normalization=(0, 1) if zero_point else (128, 1)) as file:
        if not zero_point:
            image = image + np.uint8(128)
        np.testing.assert_array_equal(kseg.predict(file, image), (image % 128)[..., 0])


def test_a_class_map_in_steps_wider_than_ids_is_refused(quantized):
    with pytest.raises(ModelFileError, match=r"in steps of 1\.5 cannot tell ids apart"):
        load_tflite(_requantize(quantized(_ids), 1.5, -128))


def test_a_class_map_that_cannot_give_every_class_is_warned_of(quantized):
    path = _requantize(quantized(_ids), 1 / 255, -128)
    with pytest.warns(UserWarning, match=r"quantized to 0\.\.1, .*never gives some of its 3 class"):
        load_tflite(path).close()


def test_numbers_between_whole_ones_are_no_class_map(quantized):
    # 0 to 2, of no op that tells what it is
    path = quantized(lambda x: tf.abs(x[..., :1] - 100) / 78)
    with (
        load_tflite(path) as file,
        pytest.raises(ModelFileError, match=r"gives one number from 0 to .*does not say what"),
    ):
        kseg.predict(file, PHOTO)


BYTES = {
    "a mask": lambda x: tf.cast(x[..., :1] > 100, tf.float32) * 255,
    "a mask of bytes": lambda x: tf.cast(tf.cast(x[..., 0] > 100, tf.int32) * 255, tf.uint8),
    "a sigmoid": lambda x: _sigmoid(x) * 255,
    "a rounded sigmoid": lambda x: tf.round(_sigmoid(x) * 255),
    "a sigmoid in bytes": lambda x: tf.cast(255 * _sigmoid(x)[..., 0], tf.uint8),
    "percent": lambda x: _sigmoid(x) * 100,
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("num_classes", [None, 2])
def test_shares_of_255_are_scores_of_two_classes(made, name, num_classes):
    path = made(BYTES[name])
    with load_tflite(path, normalization="0..255", num_classes=num_classes) as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), BRIGHT)
        np.testing.assert_array_equal(kseg.predict(file, np.zeros_like(PHOTO)), np.zeros((8, 8)))


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8])
def test_quantized_shares_of_255_are_scores_of_two_classes(quantized, dtype):
    with load_tflite(quantized(lambda x: _sigmoid(x) * 255, dtype)) as file:
        assert (kseg.predict(file, PHOTO) == BRIGHT).mean() > 0.95


SHADES = {
    "in bytes": lambda x: tf.cast(x[..., 0] * 0.9, tf.uint8),
    "whole": lambda x: tf.floor(x[..., 0] * 0.9),
    "broken": lambda x: x[..., 0] * 0.9,
}


@pytest.mark.parametrize("name", SHADES)
def test_shades_that_may_be_ids_or_scores_are_refused(made, name):
    image = np.broadcast_to(np.arange(64, dtype="uint8").reshape(8, 8, 1) * 4, (8, 8, 3))
    with (
        load_tflite(made(SHADES[name]), normalization="0..255") as file,
        pytest.raises(ModelFileError, match=r"gives one number from 0 to 22\d.* an id of a class"),
    ):
        kseg.predict(file, image)


def test_shades_are_ids_where_the_number_of_classes_is_known(made):
    with load_tflite(made(SHADES["whole"]), normalization="0..255", num_classes=240) as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), np.floor(RED * 0.9))


def test_ids_of_many_classes_may_be_the_lowest_two_in_an_image(made):
    path = made(lambda x: tf.floor(x[..., 0] / 100))
    with load_tflite(path, normalization="0..255", num_classes=11) as file:
        assert file(np.float32(PHOTO[None])).shape == (1, 8, 8, 11)
        dark = np.minimum(PHOTO, 150)
        np.testing.assert_array_equal(kseg.predict(file, dark), dark[..., 0] // 100)


def _many(x):
    return tf.concat([x, -x, x[..., :2] * 2], -1)  # 8 channels


LAST = np.concatenate([PHOTO, -PHOTO.astype(int), PHOTO[..., :2].astype(int) * 2], -1).argmax(-1)
AS_MANY = {
    "scores": (_many, LAST),
    "with ops": (lambda x: tf.nn.softmax(_many(x) * 2 + 1), None),
    "in a row": (lambda x: tf.reshape(_many(x), (1, 64, 8)), LAST),
    "of channels first": (
        lambda x: tf.transpose(tf.nn.relu(tf.transpose(_many(x), (0, 3, 1, 2))), (0, 2, 3, 1)),
        LAST,
    ),
}


@pytest.mark.parametrize("name", AS_MANY)
def test_as_many_channels_as_rows_are_last_where_the_ops_say_so(made, name):
    function, labels = AS_MANY[name]
    with load_tflite(made(function), normalization="0..255") as file:
        found = kseg.predict(file, PHOTO)
    if labels is not None:
        np.testing.assert_array_equal(found, labels)


FIRST = {
    "as many as rows": (lambda x: tf.transpose(_many(x), (0, 3, 1, 2)), IMAGE),
    "then ops": (lambda x: tf.transpose(_many(x), (0, 3, 1, 2)) * 2 + 1, IMAGE),
    "without a batch": (lambda x: tf.transpose(_many(x)[0], (2, 0, 1)), IMAGE),
    "in a row": (
        lambda x: tf.reshape(tf.transpose(tf.tile(x, (1, 1, 1, 3)), (0, 3, 1, 2)), (1, 9, 64)),
        IMAGE,
    ),
    "of few rows": (lambda x: tf.transpose(x[:, ::16, ::16], (0, 3, 1, 2)), (1, 64, 64, 3)),
}


@pytest.mark.parametrize("name", FIRST)
def test_channels_that_are_first_are_refused_whatever_the_shape(made, name):
    function, shape = FIRST[name]
    with pytest.raises(ModelFileError, match="it has its channels first"):
        load_tflite(made(function, shape), normalization="0..255")


def test_a_shape_that_fits_both_is_refused_where_nothing_tells(made):
    def mixed(x):
        return tf.reshape(tf.matmul(tf.reshape(_many(x), (1, 512)), tf.eye(512)), (1, 8, 8, 8))

    with pytest.raises(ModelFileError, match="may have its channels last or first, as its shape"):
        load_tflite(made(mixed), normalization="0..255")


@pytest.mark.parametrize("given", ["imagenet", "-1..1", "0..1", (300, 1)])
@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8])
def test_a_normalization_that_a_quantized_input_cannot_hold_is_refused(quantized, given, dtype):
    path = quantized(lambda x: x * 2, dtype)  # an input of 0..255
    with pytest.raises(
        ValueError, match=r"input holds 0\.\.255 in steps of 1, so that .*lost"
    ) as e:
        load_tflite(path, normalization=given)
    assert "\n" not in str(e.value) and "--normalization" in str(e.value)
    with load_tflite(path, normalization="0..255") as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), PHOTO.argmax(-1))


@pytest.mark.parametrize(
    ("scale", "zero_point", "given"),
    [
        (1 / 255, -128, "0..1"),
        (1 / 128, -1, "-1..1"),
        (0.0186, -15, "imagenet"),
        (0.88 / 255, -142, "0..1"),  # of images without black and white
    ],
)
def test_a_normalization_that_an_input_holds_is_taken(scale, zero_point, given):
    tensor = Endpoint("x", IMAGE, "int8", scale, zero_point)
    parse_normalization(given).check_input(tensor, 3)


def test_metadata_that_an_integer_input_cannot_hold_are_refused(quantized):
    path = quantized(lambda x: x * 2)
    path.write_bytes(add_metadata(path.read_bytes(), None, head="logits", scaling=(1 / 127.5, -1)))
    with pytest.raises(ValueError, match=r"normalization of its metadata makes -1\.\.1 of pixels"):
        load_tflite(path)
    with load_tflite(path, normalization="0..255") as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), PHOTO.argmax(-1))


def test_reference_kernels_alone_prove_nothing(int8, trained, data, capsys):
    subject = Subject(int8.path, data.images("val", 1))
    (trial,) = prove(subject, ["reference"])
    assert (trial.status, trial.like_model, trial.like_kernels) == ("reference", None, None)
    command = ["verify", str(int8.path), "--json", "--runtime", "reference"]
    assert main(command) == 3
    captured = capsys.readouterr()
    (found,) = json.loads(captured.out)["runtimes"]
    assert found["status"] == "reference" and "nothing proves its own labels" in found["reason"]
    assert "shapes.tflite was compared with nothing: LiteRT's reference kernels" in captured.err
    both = prove(subject, ["reference", "xnnpack"])
    assert [trial.status for trial in both] == ["reference", "passed"]
    check_trials(both, int8.path, all_must_run=True)
    # A model, or right labels, judge these kernels as any others.
    (trial,) = prove(subject, ["reference"], model=trained, judged=True)
    assert trial.status == "passed" and trial.like_model > 0.9


def test_a_file_is_not_compared_with_a_file(int8, data, capsys):
    command = ["verify", str(int8.path), "--data", str(data.source), "--runtime", "xnnpack"]
    assert main([*command, "--model", str(int8.path)]) == 2
    assert "--model must be what the file was made of" in capsys.readouterr().err
