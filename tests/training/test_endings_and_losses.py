"""What networks of one's own end in, and what they are trained with."""

from functools import partial

import keras
import pytest
from keras import layers

import kseg
from kseg.training.checks import check_logits
from kseg.training.compile import as_loss

QUICK = kseg.Recipe(epochs=1, batch_size=4)


def image():
    return keras.Input((None, None, 3))


def ending(last, channels=3):
    x = image()
    return keras.Model(x, last(layers.Conv2D(channels, 1)(x)))


def _blind(y_true, y_pred):
    """A loss that is a function, of pixels that are not ignored."""
    labels = keras.ops.where(y_true == 255, 0, y_true)
    loss = keras.ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
    return keras.ops.cast(y_true != 255, "float32") * loss


@pytest.mark.parametrize("loss", [_blind, lambda y_true, y_pred: _blind(y_true, y_pred)])
def test_a_loss_may_be_a_function(tmp_path, training_data, own_model, loss):
    run = kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, loss=loss)
    assert run.record["loss"] == f"{loss.__module__}.{loss.__qualname__}"


def test_a_function_of_keras_is_the_class_of_its_name():
    found = as_loss(keras.losses.sparse_categorical_crossentropy)
    assert isinstance(found, keras.losses.SparseCategoricalCrossentropy)
    assert as_loss(None) is None and as_loss(found) is found


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (3, "got int"),
        ([_blind], "got list"),
        (keras.losses.Dice, r"got the class Dice \(write Dice\(\)\)"),
        (partial(keras.losses.dice), "got the function dice of Keras"),
    ],
)
def test_what_is_no_loss_is_refused(tmp_path, training_data, own_model, loss, said):
    with pytest.raises(TypeError, match=rf"loss must be a name of .*; {said}"):
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "run", loss=loss)
    assert not (tmp_path / "run").exists()


def _unwrapped(outputs, index):
    """A network around one of the outputs of another."""
    x, inner = image(), two_outputs_of(outputs)
    return keras.Model(x, inner(x)[index])


def two_outputs_of(lasts):
    x = image()
    scores = layers.Conv2D(3, 1)(x)
    return keras.Model(x, [last(scores) for last in lasts])


LOGITS, SOFTMAX = (lambda: layers.Activation("linear")), layers.Softmax
SCORES = {
    "cut": lambda: ending(lambda x: layers.Softmax()(x)[:, 1:-1, 1:-1]),
    "as a function": lambda: ending(lambda x: 1.0 * keras.ops.softmax(x)),
    "of one channel": lambda: ending(
        lambda x: keras.ops.concatenate([1 - keras.ops.sigmoid(x), keras.ops.sigmoid(x)], -1), 1
    ),
    "in a layer": lambda: ending(layers.Lambda(lambda x: keras.ops.softmax(x))),
    "the second of two": lambda: _unwrapped([LOGITS(), SOFTMAX()], 1),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_found_whatever_makes_them(name):
    with pytest.raises(ValueError, match="model must end in logits"):
        check_logits(SCORES[name]())


BOUNDED = {
    "relu": layers.ReLU,
    "tanh": lambda: layers.Conv2D(3, 1, activation="tanh"),
    "relu6": lambda: keras.ops.relu6,
    "softplus": lambda: lambda x: layers.UpSampling2D(1)(layers.Activation("softplus")(x)),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_logits_within_bounds_are_warned_of(tmp_path, training_data, name):
    with pytest.warns(
        UserWarning, match=rf"model ends in {name} \(the layer .*end it in the layer"
    ):
        kseg.fit(ending(BOUNDED[name]()), training_data, QUICK, run_dir=tmp_path)


def test_logits_beside_scores_are_logits():
    check_logits(_unwrapped([SOFTMAX(), LOGITS()], 1))
    check_logits(ending(lambda x: keras.ops.log(keras.ops.softmax(x))))
