"""Models that are refused in a sentence, and of which nothing is written."""

import keras
import pytest

import kseg
from export import GateError, convert, quantization_aware
from export.compression import qat


def test_a_model_that_is_no_segmentation_model_is_refused(recipe, tmp_path):
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    with pytest.raises(ValueError, match="convert needs a functional model"):
        convert(model, recipe, input_size=(64, 64), path=tmp_path / "x.tflite")


@pytest.mark.parametrize(
    ("one", "ops"),
    [(keras.ops.erfinv, "Erfinv"), (lambda x: keras.ops.erf(keras.ops.erfinv(x)), "Erf, Erfinv")],
)
def test_what_tensorflow_cannot_convert_is_named(one, ops, recipe, tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(one(image / 512.0)))
    with pytest.raises(GateError, match=rf"cannot convert the model: its ops {ops}\.$"):
        convert(model, recipe, input_size=(8, 8), path=tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_other_backends_are_refused(trained, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="needs the TensorFlow backend; Keras runs on jax"):
        convert(trained, recipe, input_size=(64, 64), path=tmp_path / "x.tflite")


class _OwnStep(keras.Model):
    def train_step(self, data):
        raise NotImplementedError


def test_quantization_aware_refuses_before_it_trains(data, monkeypatch):
    monkeypatch.setattr(qat, "_run", None)  # nothing is trained
    image = keras.Input((None, None, 3))
    scores = keras.layers.Conv2D(3, 1, name="score")(image)
    always = keras.Model(image, keras.layers.Dropout(0.5, name="drop")(scores, training=True))
    recipe = kseg.Recipe(epochs=1, crop=(64, 64))
    with pytest.raises(ValueError, match="layer drop is called with training=True"):
        quantization_aware(always, data, recipe)
    with pytest.raises(ValueError, match=r"train_step of its own \(_OwnStep\), in place of which"):
        quantization_aware(_OwnStep(image, scores), data, recipe)
