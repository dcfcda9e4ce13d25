"""What `kseg.fit` refuses in one sentence, before a run folder exists."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.losses import loss_on_label_maps
from kseg.training import headroom
from kseg.training.headroom import MemoryNeededError, check_memory, training_bytes
from kseg.training.norms import norms_of

QUICK = kseg.Recipe(epochs=1, batch_size=4)


def image(channels=3, size=(None, None)):
    return keras.Input((*size, channels))


def ending(last, channels=3):
    x = image()
    return keras.Model(x, last(layers.Conv2D(channels, 1)(x)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.score = layers.Conv2D(3, 1)

    def call(self, images):
        return self.score(images)


class OwnCall(keras.Model):
    def call(self, images, training=None):
        return super().call(images / 255, training=training)


class OwnStep(keras.Model):
    def train_step(self, *arguments):
        raise ValueError("a step of its own")


def two_outputs():
    x = image()
    return keras.Model(x, [layers.Conv2D(3, 1)(x), layers.Conv2D(2, 1)(x)])


def two_inputs():
    x, y = image(), image()
    return keras.Model([x, y], layers.Conv2D(3, 1)(layers.Add()([x, y])))


def channels_first():
    x = keras.Input((3, None, None))
    return keras.Model(x, layers.Conv2D(3, 1, data_format="channels_first")(x))


def mixed():
    x = image()
    return keras.Model(x, layers.Conv2D(3, 1, dtype="mixed_float16")(x))


def nested_softmax():
    x = image()
    inner = ending(layers.Softmax())
    return keras.Model(x, layers.Resizing(64, 64)(inner(x)))


MODELS = {
    "subclassed": (Subclassed, r"must be a functional .*write: image = keras\.Input\(\(None, None"),
    "own call": (
        lambda: OwnCall(x := image(), layers.Conv2D(3, 1)(x)),
        r"must be a functional or a built Sequential model.*model = keras\.Model\(image, model",
    ),
    "unbuilt": (
        lambda: keras.Sequential([layers.Conv2D(3, 1)]),
        r"must be a functional or a built Sequential",
    ),
    "softmax layer": (lambda: ending(layers.Softmax()), "must end in logits.*ends in softmax"),
    "softmax activation": (
        lambda: ending(lambda x: layers.Conv2D(3, 1, activation="softmax")(x)),
        r"must end in logits.*softmax \(the layer 'conv2d.*or pass a loss=",
    ),
    "softmax op": (lambda: ending(keras.ops.softmax), "must end in logits.*ends in softmax"),
    "sigmoid": (lambda: ending(layers.Activation("sigmoid")), "must end in logits.*sigmoid"),
    "nested softmax": (nested_softmax, "must end in logits.*softmax"),
    "softmax then upsampling": (
        lambda: ending(lambda x: layers.UpSampling2D(1)(layers.Softmax()(x))),
        "must end in logits.*softmax",
    ),
    "one channel": (lambda: ending(lambda x: x, 1), "The model has 1 classes"),
    "half size": (
        lambda: ending(layers.AveragePooling2D(2)),
        r"must give logits of the image's size; for 64 x 64 they are 32 x 32\. Upsample",
    ),
    "fixed size": (
        lambda: keras.Sequential([image(size=(32, 48)), layers.Conv2D(3, 1)]),
        r"takes images of 32 x 48 only, and crop is 64 x 64; build it with an input of shape",
    ),
    "two outputs": (two_outputs, r"must have one output; it has 2 \("),
    "two inputs": (two_inputs, r"must have one input; it has 2 \("),
    "channels first": (channels_first, r"must be channels_last, with images \(N, H, W, C\)"),
    "mixed precision": (mixed, "must compute in float32; it has layers in float16"),
    "flat output": (
        lambda: ending(layers.Reshape((-1, 3))),
        r"must have logits of shape \(N, H, W, C\); got \(None, None, 3\)",
    ),
    "gray": (
        lambda: keras.Sequential([image(1), layers.Conv2D(3, 1)]),
        r"takes images of 1 channel and those of .* have 3; .*input_shape=\(None, None, 3\)",
    ),
    "no model": (lambda: "fcn8s", "model must be a keras.Model; got str"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_cannot_be_trained_is_refused(tmp_path, training_data, name):
    build, match = MODELS[name]
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        kseg.fit(build(), training_data, QUICK, run_dir=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_subclassed_model_trains_as_the_sentence_says(tmp_path, training_data):
    model, x = Subclassed(), image()
    kseg.fit(keras.Model(x, model(x)), training_data, QUICK, run_dir=tmp_path / "run")
    assert (tmp_path / "run/run.json").exists()


def test_a_step_of_its_own_is_taken_or_refused(tmp_path, training_data, own_model):
    x = image()
    model = OwnStep(x, layers.Conv2D(3, 1)(x))
    with pytest.raises(ValueError, match="a step of its own"):
        kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "run")
    match = r"has a train_step of its own \(OwnStep\), which need not learn from a teacher"
    with pytest.raises(ValueError, match=match):
        kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "x", teacher=own_model())


def test_arrays_in_place_of_data_are_refused(tmp_path, own_model):
    images = np.zeros((2, 64, 64, 3), "uint8")
    for data in (images, (images, images[..., 0]), "data.yaml", None):
        with pytest.raises(TypeError, match=r"data must be what kseg\.load_data returns; got "):
            kseg.fit(own_model(), data, QUICK, run_dir=tmp_path / "run")
        with pytest.raises(TypeError, match=r"data must be what kseg\.load_data returns; got "):
            kseg.evaluate(own_model(), data)
    assert not (tmp_path / "run").exists()


def test_twenty_digits_of_epochs_are_refused():
    for epochs in (10**20, 10**5000):
        with pytest.raises(ValueError, match="epochs must be at most 100,000; got "):
            kseg.Recipe(epochs=epochs)


@pytest.mark.parametrize("name", ["weight_decay", "dice", "distillation", "backbone_rate"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*; got (inf|nan)"):
        kseg.Recipe(**{name: value})


@pytest.mark.parametrize("name", ["size", "crop"])
def test_sizes_are_limited(name):
    with pytest.raises(ValueError, match=f"{name} must be at most 50,000,000 pixels"):
        kseg.Recipe(**{name: (32_000, 32_000)})


def test_a_training_that_does_not_fit_is_refused_with_what_would(
    tmp_path, training_data, own_model, monkeypatch
):
    monkeypatch.setattr(headroom, "available_bytes", lambda: 301_000_000)  # one million of its own
    match = (
        r"needs about 2 MB of memory for a step of 4 crops of 64 x 64, beside 300 MB for itself, "
        r"and 301 MB are free\. Take --batch-size 1, or --size 32 32, or --crop 32 32"
    )
    with pytest.raises(MemoryNeededError, match=match) as caught:
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "run")
    assert caught.value.exit_code == 5 and not (tmp_path / "run").exists()


def test_what_is_named_fits(monkeypatch):
    model = kseg.build_fcn32s(3, backbone="separable", weights=None)
    monkeypatch.setattr(headroom, "available_bytes", lambda: 4 << 30)
    crop, batch = (3008, 4000), 8  # 12 megapixels
    with pytest.raises(MemoryNeededError) as caught:
        check_memory(model, crop, batch, (3000, 4000))
    words = str(caught.value).replace(".", "").replace(",", "").split()
    size = tuple(int(words[words.index("--size") + i]) for i in (1, 2))
    assert training_bytes(model, size, batch) < 4 << 30 < training_bytes(model, crop, batch)
    check_memory(model, size, batch, size)
    monkeypatch.setattr(headroom, "available_bytes", lambda: None)  # not known: nothing is refused
    check_memory(model, crop, batch, crop)


def test_available_memory_is_that_of_the_machine():
    free = headroom.available_bytes()
    assert free is None or 10_000_000 < free < 1 << 50


def test_memory_that_runs_out_is_one_sentence(tmp_path, training_data, own_model):
    class ResourceExhaustedError(Exception):
        """As TensorFlow's, whose text is pages long."""

    class Exhausting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ResourceExhaustedError("OOM when allocating tensor\n" * 50)

    match = (
        r"The memory ran out in a step of 4 crops of 64 x 64\. Take --batch-size 2, --crop 32 32"
    )
    with pytest.raises(MemoryNeededError, match=match) as caught:
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, callbacks=[Exhausting()])
    assert "\n" not in str(caught.value)


def test_a_fixed_size_that_is_the_crop_trains(tmp_path, training_data):
    model = keras.Sequential([image(size=(64, 64)), layers.Conv2D(3, 1)])
    kseg.fit(model, training_data, QUICK, run_dir=tmp_path)


def test_a_loss_that_takes_scores_takes_a_softmax(tmp_path, training_data):
    class Own(keras.losses.Loss):
        def call(self, y_true, y_pred):
            valid = keras.ops.cast(y_true != 255, "float32")
            labels = keras.ops.where(y_true == 255, 0, y_true)
            return valid * keras.ops.sparse_categorical_crossentropy(labels, y_pred)

    run = kseg.fit(ending(layers.Softmax()), training_data, QUICK, run_dir=tmp_path, loss=Own())
    assert run.record["loss"].endswith("Own")
    with pytest.raises(ValueError, match=r"was begun with another recipe \(loss\)"):
        kseg.fit(
            ending(lambda x: x), training_data, QUICK, run_dir=tmp_path, loss="dice", resume=True
        )


def test_a_rate_for_a_backbone_that_none_knows_is_said(tmp_path, training_data, own_model):
    recipe = replace(QUICK, backbone_rate=0.01)
    with pytest.warns(
        UserWarning, match="backbone_rate is for networks that kseg builds on a back"
    ):
        kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)


def test_a_loss_goes_by_its_name(tmp_path, training_data, own_model):
    run = kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, loss="cross_entropy")
    assert run.record["recipe"]["loss"] == "cross_entropy"
    with pytest.raises(ValueError, match="loss must be one of cross_entropy_dice, cross_entropy"):
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "x", loss="hinge")
    with pytest.raises(ValueError, match="loss must be one of"):
        replace(QUICK, loss="hinge")


def test_keras_s_losses_take_scores_as_they_are(tmp_path, training_data):
    loss, model = keras.losses.SparseCategoricalCrossentropy(), ending(layers.Softmax())
    run = kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "run", loss=loss)
    images, labels = training_data.split("train", batch_size=4)[0]
    scores, valid = np.asarray(model(images)), labels != 255
    expected = loss(labels[valid], scores[valid])
    made = loss_on_label_maps(loss, scores=True)
    assert float(made(labels, scores)) == pytest.approx(float(expected), rel=1e-5)
    assert 0 < float(expected) and run.record["loss"].endswith("SparseCategoricalCrossentropy")
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="ends in scores; give the loss from_logits=False"):
        kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "x", loss=logits)


def test_a_teacher_that_ends_in_scores_is_refused(tmp_path, training_data, own_model):
    with pytest.raises(ValueError, match=r"^teacher must end in logits.*\(the layer 'softmax"):
        teacher = ending(layers.Softmax())
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "x", teacher=teacher)
    with pytest.raises(ValueError, match=r"networks of an ensemble must end in logits; .* softmax"):
        kseg.models.ensemble([ending(lambda x: x), ending(layers.Softmax())])


def test_norms_of_a_network_within_the_network_are_trained_alike(
    tmp_path, training_data, own_model
):
    x = image()
    model = keras.Model(x, own_model()(x))
    (norm,) = norms_of(model)
    kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "run")
    assert norm.momentum == QUICK.suited(QUICK.norm_momentum, 2) < 0.99


def test_mirror_images_of_classes_with_sides_are_warned_of(tmp_path, training_data, own_model):
    names = ("ground", "left_lane", "right_lane")
    data = replace(training_data, classes=replace(training_data.classes, names=names))
    with pytest.warns(UserWarning, match="flip looks at mirror images, in which 'left_lane' is on"):
        kseg.fit(own_model(), data, QUICK, run_dir=tmp_path / "run")
    kseg.fit(own_model(), data, replace(QUICK, flip=False), run_dir=tmp_path / "run2")
