"""Models that are refused in a sentence, and of which nothing is written."""

import keras
import pytest

from export import GateError, convert


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
