"""Files that kseg did not make: what their outputs say, and what runs them."""

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

import kseg
from export import ModelFileError, load_tflite
from export.tflite.benchmark import benchmark
from export.tflite.metadata import add_metadata

IMAGE = (1, 8, 8, 3)
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (8, 8, 3), "uint8")


BEST = PHOTO.argmax(-1)
BRIGHT = (PHOTO[..., 0] > 100).astype("uint8")


def _shares(x):
    return tf.sigmoid((x[..., :1] - 100.5) / 64)


OUTPUTS = {
    "scores": (lambda x: x * 2, BEST, 3),
    "scores in a row": (lambda x: tf.reshape(x, (1, 64, 3)), BEST, 3),
    "scores in a row without a batch": (lambda x: tf.reshape(x, (64, 3)), BEST, 3),
    "scores without a batch": (lambda x: x[0] * 2, BEST, 3),
    "softmax": (tf.nn.softmax, BEST, 3),
    "int64 ids": (lambda x: tf.argmax(x, -1), BEST, 3),
    "int32 ids": (lambda x: tf.argmax(x, -1, tf.int32), BEST, 3),
    "ids without a batch": (lambda x: tf.argmax(x, -1)[0], BEST, 3),
    "ids with a channel": (lambda x: tf.argmax(x, -1)[..., None], BEST, 3),
    "uint8 ids": (lambda x: tf.cast(tf.argmax(x, -1), tf.uint8), BEST, 3),
    "float ids": (lambda x: tf.cast(tf.argmax(x, -1), tf.float32), BEST, 3),
    "ids of rounding": (lambda x: tf.cast(x[..., 0] > 100.5, tf.int32) * 7, BRIGHT * 7, None),
    "float ids of rounding": (lambda x: tf.floor(x[..., 0] / 100), PHOTO[..., 0] // 100, None),
    "yes or no": (lambda x: x[..., 0] > 100.5, BRIGHT, 2),
    "a sigmoid": (_shares, BRIGHT, 2),
    "a sigmoid in a row": (lambda x: tf.reshape(_shares(x), (1, 64)), BRIGHT, 2),
    "a sigmoid without a channel": (lambda x: _shares(x)[..., 0], BRIGHT, 2),
    "a logit": (lambda x: x[..., :1] - 100.5, BRIGHT, None),
    "shares of no sigmoid": (lambda x: tf.minimum(x[..., :1] / 201, 1), BRIGHT, None),
    "a half-precision score": (lambda x: tf.cast(x, tf.float16), BEST, 3),
}


@pytest.mark.parametrize(("function", "labels", "num_classes"), OUTPUTS.values(), ids=OUTPUTS)
def test_every_kind_of_output_is_read(made, function, labels, num_classes):
    with load_tflite(made(function), normalization="0..255") as file:
        assert file.num_classes == num_classes
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), labels)


def test_a_class_map_takes_its_number_of_classes_from_whoever_knows(made):
    path = made(lambda x: tf.cast(x[..., 0] > 100.5, tf.int32) * 7)
    with load_tflite(path, normalization="0..255", num_classes=11) as file:
        assert file(np.float32(PHOTO[None])).shape == (1, 8, 8, 11)
        assert file.num_classes == 11
    with (
        load_tflite(path, normalization="0..255", num_classes=5) as file,
        pytest.raises(ModelFileError, match="gives the class 7, and the ids of its 5 classes"),
    ):
        kseg.predict(file, PHOTO)


@pytest.mark.parametrize("size", [(4, 4), (3, 3), (5, 7), (16, 16), (9, 8)])
def test_outputs_of_any_size_lie_on_the_image(made, size):
    image = RNG.integers(0, 256, (8, 8, 3), "uint8")
    path = made(lambda x: tf.image.resize(x, size))
    with load_tflite(path, normalization="0..255") as file:
        scores = file(np.float32(image[None]))
    small = tf.image.resize(np.float32(image[None]), size)
    full = {(4, 4): (8, 8), (3, 3): (9, 9)}.get(size, (8, 8))  # stride 3 covers 9 pixels
    expected = keras.ops.convert_to_numpy(keras.ops.image.resize(small, full))[:, :8, :8]
    np.testing.assert_allclose(scores, expected, atol=1e-3)


REFUSED = {
    "two inputs": (lambda x, y: x + y, [IMAGE, IMAGE], r"takes 2 input\(s\)"),
    "an open size": (lambda x: x * 2, [(1, None, None, 3)], r"\(1, -1, -1, 3\)"),
    "one number": (tf.reduce_sum, [IMAGE], "no map of the image"),
    "a classifier": (lambda x: x[:, 0, 0, :], [(1, 64, 64, 3)], "no map of the image"),
    "one pixel": (lambda x: x[:, :1, :1, :], [(1, 64, 64, 3)], "one answer for the whole image"),
    "points": (lambda x: x[:, :1, :17, :], [(1, 64, 64, 3)], "no map of the image"),
    "channels first": (lambda x: tf.transpose(x, (0, 3, 1, 2)), [IMAGE], "channels first"),
    "input of channels first": (lambda x: x * 2, [(1, 3, 8, 8)], "channels first; kseg runs"),
    "two outputs": (lambda x: (x, x * 2), [IMAGE], r"has 2 outputs: 0: .*, 1: .*--output NAME"),
    "many channels": (lambda x: tf.tile(x, (1, 1, 1, 100)), [IMAGE], "up to 255 classes"),
    "a batch": (lambda x: x * 2, [(2, 8, 8, 3)], r"takes input of shape \(2, 8, 8, 3\)"),
    "masks of no yes or no": (lambda x: x > 9, [IMAGE], "scores are numbers"),
    "no numbers": (lambda x: tf.math.log(-1 - x), [IMAGE], "scores that are no numbers"),
    "ids below 0": (lambda x: tf.cast(x[..., 0], tf.int32) - 999, [IMAGE], "gives the class -9"),
    "large images": (lambda x: x[:, ::64, ::64] * 2, [(1, 16384, 16384, 3)], "32 megapixels"),
}


@pytest.mark.parametrize(("function", "shapes", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_labels_no_image_is_refused(made, function, shapes, sentence):
    path = made(function, *shapes)
    with (
        pytest.raises(ModelFileError, match=sentence) as raised,
        load_tflite(path, normalization="0..255") as file,
    ):
        kseg.predict(file, PHOTO)
    assert "\n" not in str(raised.value)


def test_an_input_of_whole_numbers_is_refused_and_timed(made):
    path = made(lambda x: x + 1, IMAGE, dtypes=("int32",))
    with pytest.raises(ModelFileError, match="the first int32"):
        load_tflite(path)
    assert benchmark([path], runs=1)[0]["median_ms"] > 0


def test_a_custom_op_is_named(write_graph):
    image = (IMAGE, "float32", None, None)
    op = ("CUSTOM", 1, ["x"], ["y"], {"custom": "MaxUnpooling2D"})
    with pytest.raises(ModelFileError, match="custom op MaxUnpooling2D, unknown to LiteRT"):
        load_tflite(write_graph({"x": image, "y": image}, [op]))


def test_one_of_several_outputs_is_chosen_by_name_or_number(made):
    path = made(lambda x: {"low": -x, "high": x * 2})
    for output, sign in (("low", -1), ("high", 1)):
        with load_tflite(path, normalization="0..255", output=output) as file:
            labels = kseg.predict(file, PHOTO)
            np.testing.assert_array_equal(labels, (sign * PHOTO.astype(int)).argmax(-1))
            name = file.output.name
        with load_tflite(path, normalization="0..255", output=name) as file:
            np.testing.assert_array_equal(kseg.predict(file, PHOTO), labels)
    found = set()
    for number in (0, "1"):
        with load_tflite(path, output=number) as file:
            found.add(file.output.name)
    assert len(found) == 2
    for wrong in ("middle", 2, "7"):
        with pytest.raises(ValueError, match=f"has no output {wrong!r}; it has 0: "):
            load_tflite(path, output=wrong)


def test_an_open_batch_is_one_image(made):
    with load_tflite(made(lambda x: x * 2, (None, 8, 8, 3)), normalization="0..255") as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), BEST)


@pytest.mark.parametrize(("activation", "threshold"), [(0, 0.5), (1, 0.0)])
def test_the_metadata_say_what_one_score_is(made, activation, threshold):
    """A score from -0.1 to 0.9 that no sigmoid made: MediaPipe is told what is left to do."""
    path = made(lambda x: x[..., :1] / 255 - 0.1)
    content = bytearray(add_metadata(path.read_bytes(), None, head="logits"))
    options = content.rindex(b"V001") - 4  # a FlatBuffer in the FlatBuffer, of one byte and a text
    table = options + int.from_bytes(content[options : options + 4], "little")
    slots = table - int.from_bytes(content[table : table + 4], "little", signed=True)
    at = table + int.from_bytes(content[slots + 4 : slots + 6], "little")
    assert content[at] == 2
    content[at] = activation
    path.write_bytes(content)
    with load_tflite(path) as file:
        labels = kseg.predict(file, PHOTO)
    np.testing.assert_array_equal(labels, PHOTO[..., 0] / 255 - 0.1 > threshold)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_where_xnnpack_refuses_the_plain_kernels_run(tmp_path):
    """A bias with a zero point: nonsense to XNNPACK, and of no matter to the others."""
    image = keras.Input(batch_shape=IMAGE)
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([[np.float32(PHOTO[None])]])
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    good, odd = tmp_path / "good.tflite", tmp_path / "odd.tflite"
    good.write_bytes(converter.convert())
    content = schema.ModelT.InitFromPackedBuf(good.read_bytes())
    (bias,) = (
        tensor
        for tensor in content.subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT32 and tensor.quantization.scale is not None
    )
    bias.quantization.zeroPoint = [300] * len(bias.quantization.scale)
    builder = flatbuffers.Builder()
    builder.Finish(content.Pack(builder), b"TFL3")
    odd.write_bytes(builder.Output())
    with load_tflite(good, kernels="plain") as file:
        expected = file(np.float32(PHOTO[None]))
    with pytest.warns(UserWarning, match=r"plain kernels, which are slower: XNNPACK refuses"):
        file = load_tflite(odd)
    with file:
        assert file.kernels == "plain"
        np.testing.assert_array_equal(file(np.float32(PHOTO[None])), expected)
    with pytest.warns(UserWarning, match="XNNPACK refuses"):
        assert benchmark([odd], runs=1)[0]["kernels"] == "plain"
    with load_tflite(odd, kernels="plain") as file:  # asked for, so no word is lost
        np.testing.assert_array_equal(file(np.float32(PHOTO[None])), expected)
    with pytest.raises(ValueError, match="kernels must be one of default, plain, reference"):
        load_tflite(odd, kernels="fast")


def test_benchmark_times_any_tensors(made):
    path = made(
        lambda ids, flags, halves: (tf.gather(tf.range(9.0), ids), flags, tf.reshape(halves, (4,))),
        (1, 5), (4,), (2, 2), dtypes=("int32", "bool", "float16"),
    )  # fmt: skip
    (result,) = benchmark([path], runs=2)
    assert result["median_ms"] > 0
    assert result["kernels"] == "default"
    with pytest.raises(ModelFileError, match="takes string; kseg times files that take bool"):
        benchmark([made(tf.identity, (2,), dtypes=("string",))])


ONE_NUMBER = {
    "mean of sigmoids": lambda x: (tf.sigmoid(x) + tf.sigmoid(2 * x)) / 2,
    "the other class": lambda x: 1 - tf.sigmoid(x),
    "hard sigmoid": lambda x: tf.clip_by_value(x / 6 + 0.5, 0, 1),
    "sigmoid": tf.sigmoid,
    "logit": lambda x: x,
}


@pytest.mark.parametrize("name", ONE_NUMBER)
def test_one_number_of_an_int8_file_is_read_as_its_range_says(quantized, name):
    def call(x):
        return ONE_NUMBER[name]((x[..., :1] - 128) / 32)

    path = quantized(call)
    bar = 0 if name == "logit" else 0.5
    expected = np.asarray(call(tf.constant(PHOTO[None], tf.float32)))[0, ..., 0] > bar
    with load_tflite(path, normalization="0..255") as file:
        assert (kseg.predict(file, PHOTO) == expected).mean() > 0.95


def test_what_a_convolution_gives_is_a_logit_whatever_its_values(made):
    def small(x):  # all from 0.17 to 0.32
        kernel = tf.constant([0.15 / 255, 0, 0], shape=(1, 1, 3, 1))
        return tf.nn.conv2d(x, kernel, 1, "SAME") + 0.17

    with load_tflite(made(small), normalization="0..255") as file:
        assert kseg.predict(file, PHOTO).all()


def test_one_number_that_is_read_in_two_ways_is_warned_of(made):
    with load_tflite(made(lambda x: x[..., :1] / 100 - 1), normalization="0..255") as file:
        kseg.predict(file, np.full((8, 8, 3), 150, "uint8"))
        with pytest.warns(UserWarning, match="looks like a logit now and did not in another image"):
            kseg.predict(file, PHOTO)


def test_a_normalization_that_changes_nothing_is_refused(made):
    path = made(lambda x: tf.cast(x, tf.float32), dtypes=("uint8",))
    with pytest.raises(ValueError, match="takes uint8 numbers as they are"):
        load_tflite(path, normalization="-1..1")


def test_keras_may_have_its_channels_first(made):
    path = made(lambda x: tf.nn.avg_pool2d(x, 2, 2, "SAME"))
    with load_tflite(path, normalization="0..255") as file:
        expected = kseg.predict(file, PHOTO)
        keras.config.set_image_data_format("channels_first")
        try:
            np.testing.assert_array_equal(kseg.predict(file, PHOTO), expected)
        finally:
            keras.config.set_image_data_format("channels_last")


def test_a_map_that_lies_on_its_side_is_refused(made):
    path = made(lambda x: tf.transpose(x, (0, 2, 1, 3)), (1, 32, 64, 3))
    with pytest.raises(ModelFileError, match="it has its width before its height"):
        load_tflite(path, normalization="0..255")
