"""Models that people bring along: each is converted as it is, or refused in a sentence."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from export import GateError, convert, float32, full_integer, load_tflite, to_tf_keras
from export.graph import fixed as fixed_module
from export.graph.acceptance import as_network
from export.graph.comparison import check_fixed
from export.graph.fixed import fix_model
from kseg.analysis.graph import trace
from kseg.models import copy_weights

SIZE = (32, 32)
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (8, 8, 3), "uint8").repeat(4, 0).repeat(4, 1) for _ in range(8)]


def _conv(filters, size=3, **options):
    return layers.Conv2D(filters, size, padding="same", **options)


def _model(make, shape=(*SIZE, 3), **options):
    image = keras.Input(shape, **options)
    return keras.Model(image, make(image))


def _block(name, channels=6):
    """A nested model whose inner layers have the same names in every block."""
    x = image = keras.Input((None, None, channels))
    x = layers.BatchNormalization(name="bn")(_conv(channels, use_bias=False, name="conv")(x))
    return keras.Model(image, layers.ReLU(name="act")(x), name=name)


def _nested(blocks=3):
    def make(image):
        x = _conv(6)(layers.Rescaling(1 / 255)(image))
        for index in range(blocks):
            x = _block(f"block{index}")(x)
        return layers.Conv2D(4, 1, name="score")(x)

    return _model(make)


def _nested_sequential():
    def make(image):
        x = image / 255.0
        for index in range(2):
            inner = [keras.Input((*SIZE, x.shape[-1])), _conv(6, name="conv"), layers.ReLU()]
            x = keras.Sequential(inner, name=f"part{index}")(x)
        return layers.Conv2D(4, 1)(x)

    return _model(make)


def _silu(image):
    x = _conv(6, activation="silu")(layers.Rescaling(1 / 255)(image))
    return layers.Conv2D(4, 1)(layers.Activation("swish")(_conv(6)(x)))


def _shared():
    def make(image):
        shared = _conv(3, name="shared")
        return layers.Conv2D(4, 1)(shared(shared(image / 255.0)) + image)

    return _model(make)


def _u_net():
    def make(image):
        fine = _conv(6, activation="relu")(image / 255.0)
        coarse = _conv(8, activation="relu")(layers.MaxPooling2D()(fine))
        return _conv(4)(ops.concatenate([fine, layers.UpSampling2D()(coarse)], -1))

    return _model(make)


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.score = _conv(6), layers.BatchNormalization(), _conv(4, 1)

    def call(self, images, training=None):
        return self.score(ops.relu(self.norm(self.first(images / 255.0), training=training)))


def _subclassed():
    model = _Subclassed()
    model(np.zeros((1, *SIZE, 3), "float32"))
    return model


class _WithoutConfig(layers.Layer):
    """A layer with a function as its argument, which Keras cannot save."""

    def __init__(self, function):
        super().__init__()
        self.function, self.convolution = function, _conv(4)

    def build(self, shape):
        self.convolution.build(shape)

    def call(self, x):
        return self.function(self.convolution(x))


def _half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return _model(lambda i: layers.Conv2D(4, 1, dtype="float32")(_conv(6)(i / 255.0)))
    finally:
        keras.config.set_dtype_policy("float32")


TAKEN = {
    "same names in nested models": _nested,
    "nested Sequential": _nested_sequential,
    "a layer called twice": _shared,
    "skip connection of operators": _u_net,
    "Sequential": lambda: keras.Sequential([keras.Input((*SIZE, 3)), _conv(6), layers.ReLU()]),
    "subclassed": _subclassed,
    "a layer without a config": lambda: _model(lambda i: _WithoutConfig(ops.relu)(i / 255.0)),
    "mixed_float16": _half_precision,
    "softmax at the end": lambda: _model(lambda i: layers.Softmax()(_conv(4)(i / 255.0))),
    "half the size": lambda: _model(lambda i: _conv(4, strides=2)(i / 255.0)),
    "operators": lambda: _model(lambda i: (y := _conv(4)(i)) + _conv(4, 1)(ops.relu(y)) * 2.0),
    "resize": lambda: _model(lambda i: ops.image.resize(_conv(4, strides=4)(i), SIZE)),
    "reshape": lambda: _model(lambda i: ops.reshape(_conv(4)(i), (-1, *SIZE, 4))),
    "slices": lambda: _model(lambda i: _conv(4)(i[..., ::-1] / 255.0)),
    "squeeze and excite": lambda: _model(
        lambda i: (x := _conv(4)(i)) * ops.sigmoid(ops.mean(x, axis=(1, 2), keepdims=True))
    ),
    "noise and dropout": lambda: _model(
        lambda i: _conv(4)(layers.GaussianNoise(0.5)(layers.Dropout(0.5)(i / 255.0)))
    ),
    "Lambda": lambda: _model(lambda i: _conv(4)(layers.Lambda(lambda x: x / 255.0)(i))),
    "norm at rest": lambda: _model(
        lambda i: _conv(4)(layers.BatchNormalization()(_conv(4)(i), training=False))
    ),
    "Normalization by channel": lambda: _model(
        lambda i: _conv(4)(layers.Normalization(mean=[1.0, 2, 3], variance=[9.0, 4, 1])(i))
    ),
    "a fixed batch": lambda: _model(_conv(4), None, batch_shape=(4, *SIZE, 3)),
    "bytes": lambda: _model(lambda i: _conv(4)(ops.cast(i, "float32") / 255.0), dtype="uint8"),
    "names that TensorFlow does not take": lambda: _model(
        lambda i: _conv(4, name="größe 2")(_conv(4, name="grö_e 2")(_conv(4, name="_first")(i)))
    ),
    "named ends": lambda: keras.Model(
        {"image": (i := keras.Input((*SIZE, 3), name="image"))}, {"map": _conv(4)(i)}
    ),
}


@pytest.fixture(params=TAKEN)
def own(request):
    return _shuffled(TAKEN[request.param]())


def _shuffled(model):
    """Gives all weights values of their own, so that mixed-up weights show."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in str(weight.dtype):
            value = rng.normal(0, 0.3, weight.shape)
            positive = "variance" in weight.path or "gamma" in weight.path
            weight.assign(np.abs(value) + 0.5 if positive else value)
    return model


def _image():
    return np.float32(IMAGES[0][None])


@pytest.mark.parametrize("keep_scaling", [True, False])
def test_what_is_converted_is_the_model(own, keep_scaling):
    before = [np.asarray(weight) for weight in own.weights]
    network = as_network(own, SIZE)
    fixed = fix_model(network, SIZE, keep_scaling=keep_scaling)
    check_fixed(network, fixed, [_image()])
    images = np.repeat(_image(), 4, 0)
    by_name = isinstance(getattr(own, "_inputs_struct", None), dict)
    made = own({"image": images} if by_name else images, training=False)
    expected, got = np.asarray(keras.tree.flatten(made)[0])[0], fixed.logits(_image())[0]
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(got).max())
    assert all(map(np.array_equal, before, own.weights))
    names = [layer.name for layer in fixed.model.layers]
    assert len(set(names)) == len(names)


def test_a_model_stays_as_it_is():
    model = _nested()
    output = model.get_layer("score").output
    fix_model(model, SIZE, keep_scaling=False)
    assert model.get_layer("score").output is output


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (lambda x: x / 255.0, (1 / 255, 0)),
        (lambda x: x * (1 / 255) - 0.5, (1 / 255, -0.5)),
        (layers.Rescaling(1 / 127.5, -1), (1 / 127.5, -1)),
        (lambda x: layers.Rescaling(2.0, -1)(layers.Rescaling(1 / 255)(x)), (2 / 255, -1)),
        (lambda x: layers.Normalization(mean=127.5, variance=127.5**2)(x), (1 / 127.5, -1)),
        (lambda x: _model(layers.Rescaling(1 / 255), (None, None, 3))(x), (1 / 255, 0)),
        (keras.applications.mobilenet_v2.preprocess_input, (1 / 127.5, -1)),
        (lambda x: -x + 255.0, (1, 0)),  # bytes stand for no falling line
        (layers.Rescaling(1 / 255, 0.5), (1, 0)),  # 0.5 to 1.5 lacks 0
        (layers.Rescaling([1 / 255, 1 / 127, 1.0]), (1, 0)),
        (keras.applications.vgg16.preprocess_input, (1, 0)),
    ],
)
def test_one_factor_and_offset_are_left_to_the_input(scale, expected):
    model = _shuffled(_model(lambda image: _conv(4)(scale(image))))
    fixed = fix_model(model, SIZE, keep_scaling=False)
    assert fixed.scaling == pytest.approx(expected)
    check_fixed(model, fixed, [_image()])


def test_an_image_that_is_used_unscaled_too_is_not_scaled_by_the_input():
    model = _model(lambda image: _conv(4)(ops.concatenate([image / 255.0, image], -1)))
    assert fix_model(model, SIZE, keep_scaling=False).scaling == (1, 0)


@pytest.mark.parametrize(
    ("make", "recipe", "share"),
    [
        (_nested, float32, 0.999),
        (_nested, lambda: full_integer(IMAGES), 0.9),
        (_subclassed, float32, 0.999),
        (lambda: _model(lambda i: _conv(4)(layers.Rescaling(1 / 127.5, -1)(i))), None, 0.9),
        (TAKEN["slices"], None, 0.9),
        (lambda: _model(_silu), float32, 0.999),
        (lambda: _model(_silu), None, 0.9),
        (lambda: _model(lambda i: _conv(4)(layers.Resizing(*SIZE)(i) / 255.0)), float32, 0.999),
        (TAKEN["names that TensorFlow does not take"], float32, 0.999),
    ],
)
def test_files_label_like_the_model(make, recipe, share, tmp_path):
    model = _shuffled(make())
    recipe = (recipe or (lambda: full_integer(IMAGES)))()
    result = convert(model, recipe, input_size=SIZE, path=tmp_path / "x.tflite")
    with load_tflite(result.path) as file:
        pairs = [(model(np.float32(i[None])), file(np.float32(i[None]))) for i in IMAGES]
    equal = np.mean([np.asarray(a).argmax(-1) == np.asarray(b).argmax(-1) for a, b in pairs])
    assert equal >= share
    assert result.agreement >= share


def test_bytes_go_into_an_int8_file_as_they_are(tmp_path):
    model = _shuffled(_model(lambda image: _conv(4)(image / 255.0)))
    result = convert(model, full_integer(IMAGES), input_size=SIZE, path=tmp_path / "x.tflite")
    assert result.report["input"]["dtype"] == "uint8"
    assert result.report["input"]["scale"] == pytest.approx(1 / 255)
    assert "DIV" not in result.report["ops"] and "MUL" not in result.report["ops"]


def test_scores_get_no_second_softmax(tmp_path):
    model = _shuffled(TAKEN["softmax at the end"]())
    result = convert(model, float32(), input_size=SIZE, path=tmp_path / "x.tflite")
    assert result.report["head"] == "softmax"
    assert result.report["ops"]["SOFTMAX"] == 1
    with load_tflite(result.path) as file:
        np.testing.assert_allclose(file(_image()), np.asarray(model(_image())), atol=1e-5)


REFUSED = {
    "no model": (lambda: (lambda x: x), TypeError, r"must be a keras\.Model.* got function"),
    "without weights": (_Subclassed, ValueError, "has no weights yet, as it never saw an image"),
    "channels first": (
        lambda: _model(layers.Conv2D(4, 1, data_format="channels_first"), (3, *SIZE)),
        ValueError,
        r"channels first, \(None, 3, 32, 32\); build it after keras\.config\.set_image_data_format",
    ),
    "one channel out": (
        lambda: _model(_conv(1, activation="sigmoid")),
        ValueError,
        r"returns one channel, .* write keras\.Model\(model\.input, keras\.ops\.concatenate",
    ),
    "two outputs": (
        lambda: _model(lambda i: [_conv(4)(i), _conv(2)(i)]),
        ValueError,
        r"has 2 outputs, .* choose it with keras\.Model\(model\.inputs, model\.outputs\[0\]\)",
    ),
    "two inputs": (
        lambda: keras.Model([(i := keras.Input((*SIZE, 3))), keras.Input((2,))], _conv(4)(i)),
        ValueError,
        r"takes 2 input\(s\) of shape",
    ),
    "another size": (
        lambda: _model(_conv(4), (48, 64, 3)),
        ValueError,
        r"takes images of 48 x 64 pixels only; got size \(32, 32\)",
    ),
    "always in training": (
        lambda: _model(lambda i: _conv(4)(layers.BatchNormalization(name="bn")(i, training=True))),
        ValueError,
        "The layer bn is called with training=True, .* call it with training=False",
    ),
    "a nested model always in training": (
        lambda: _model(lambda i: _conv(4)(_block("inner", 3)(i, training=True))),
        ValueError,
        "The layer inner is called with training=True",
    ),
    "no grid": (
        lambda: _model(layers.Conv2D(4, 3)), ValueError, r"makes \(30, 30\) logits .* Pad its"
    ),
    "no map": (
        lambda: _model(lambda i: layers.Dense(4)(layers.Flatten()(i))),
        ValueError,
        r"needs a functional model .* returns \(None, 4\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_refused_with_what_to_write(case, tmp_path):
    make, error, sentence = REFUSED[case]
    with pytest.raises(error, match=sentence) as raised:
        convert(make(), float32(), input_size=SIZE, path=tmp_path / "x.tflite")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_what_a_refusal_says_to_write_is_taken():
    sigmoid = _shuffled(_model(lambda i: _conv(1, activation="sigmoid")(i / 255.0)))
    both = ops.concatenate([1 - sigmoid.output, sigmoid.output], -1)
    two = as_network(keras.Model(sigmoid.input, both), SIZE)
    labels = fix_model(two, SIZE, keep_scaling=False).logits(_image()).argmax(-1)
    np.testing.assert_array_equal(labels, np.asarray(sigmoid(_image()))[..., 0] > 0.5)
    gray = _shuffled(_model(lambda i: _conv(4)(i / 255.0), (*SIZE, 1)))
    model = as_network(_model(lambda i: gray(ops.image.rgb_to_grayscale(i))), SIZE)
    check_fixed(model, fix_model(model, SIZE, keep_scaling=False), [_image()])


def test_arguments_of_another_kind_are_a_sentence(tmp_path):
    model, path = _nested(), tmp_path / "x.tflite"
    with pytest.raises(TypeError, match=r"recipe must be .* got full_integer"):
        convert(model, full_integer, input_size=SIZE, path=path)
    with pytest.raises(TypeError, match=r"validation must be a data set .* got ndarray"):
        convert(model, float32(), input_size=SIZE, path=path, validation=np.zeros((2, 32, 32, 3)))


@pytest.fixture
def swapped(monkeypatch):
    """Plants a fault: the kernels of two convolutions of equal shape change places."""
    real = fixed_module._twin

    def twin(operation, name):
        made = real(operation, name)
        if name in ("block0_conv", "block1_conv"):
            vars(made)["_kernel"] = kernels[name != "block0_conv"]
        return made

    model = _shuffled(_nested())
    kernels = [model.get_layer(f"block{k}").get_layer("conv")._kernel for k in (1, 0)]
    monkeypatch.setattr(fixed_module, "_twin", twin)
    return model


def test_a_swap_of_two_weights_stops_the_export_by_name(swapped, tmp_path):
    with pytest.raises(GateError, match="differs from the model, first in the layer block0/conv"):
        convert(swapped, float32(), input_size=SIZE, path=tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_a_swap_is_seen_where_a_network_ends_early(swapped):
    image = swapped.input
    coarse = layers.MaxPooling2D()(swapped.output)
    model = keras.Model(image, layers.UpSampling2D(interpolation="bilinear")(coarse))
    fixed = fix_model(model, SIZE, keep_scaling=True, stride=2)
    with pytest.raises(GateError, match="first in the layer block0/conv"):
        check_fixed(model, fixed, [_image()])


def test_a_swap_on_the_way_to_tf_keras_is_seen(monkeypatch):
    from export.compression import bridge

    model = _shuffled(_nested())
    to_tf_keras(_shuffled(TAKEN["names that TensorFlow does not take"]()), SIZE)
    to_tf_keras(model, SIZE)
    real, kernels = bridge.translate, [model.get_layer(f"block{k}").layers[1] for k in (1, 0)]

    def translate(layer, shapes):
        return real(kernels[kernels.index(layer) - 1] if layer in kernels else layer, shapes)

    monkeypatch.setattr(bridge, "translate", translate)
    with pytest.raises(GateError, match=r"The tf_keras copy of .* differs from it by"):
        to_tf_keras(model, SIZE)


def test_weights_are_copied_into_their_own_block():
    source, target = _shuffled(_nested()), _nested()
    for model in (source, target):  # the blocks have names, what is around them has not
        assert len({weight.path for weight in model.weights}) < len(model.weights)
    copy_weights(source, target)
    for index in range(3):
        blocks = [model.get_layer(f"block{index}").weights for model in (source, target)]
        assert all(map(np.array_equal, *blocks))


def test_operators_and_nested_models_are_steps():
    graph = trace(_nested(2), SIZE)
    names = [step.name for step in graph.steps]
    assert [n for n in names if "/" in n] == [
        f"block{k}/{n}" for k in range(2) for n in ("conv", "bn", "act")
    ]
    graph = trace(_model(lambda image: image / 255.0 + image), SIZE)
    assert [type(step.layer).__name__ for step in graph.steps] == ["TrueDivide", "Add"]
    assert graph.steps[1].inputs == (1, 0)
