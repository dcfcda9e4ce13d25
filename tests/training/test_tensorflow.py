"""What kseg does for TensorFlow only, against Keras's own arithmetic."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="it is for TensorFlow only"
)


def _network(kind=keras.layers.BatchNormalization, **options):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(5, 3)(image)
    x = kind(momentum=0.8, epsilon=1e-3, name="norm", **options)(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)))


def _train(model):
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    random = np.random.default_rng(0)
    images, targets = random.normal(3, 2, (4, 8, 12, 3)), random.normal(size=(4, 5))
    losses = [model.train_on_batch(images, targets) for _ in range(3)]
    return np.array(losses), [np.array(weight) for weight in model.get_weights()]


def _fused(model):
    from export.tensorflow_training import fused_norms

    return fused_norms(model)


def test_fused_norms_train_as_those_of_keras():
    losses, weights = _train(_network())
    model = _network()
    with _fused(model):
        assert "call" in vars(model.get_layer("norm"))
        fused_losses, fused_weights = _train(model)
    np.testing.assert_allclose(fused_losses, losses, rtol=1e-5)
    for fused, plain in zip(fused_weights, weights, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)
    assert "call" not in vars(model.get_layer("norm"))


def test_a_frozen_norm_keeps_its_statistics():
    model = _network()
    norm = model.get_layer("norm")
    norm.trainable = False
    before = [np.array(weight) for weight in norm.get_weights()]
    with _fused(model):
        _train(model)
    for weight, was in zip(norm.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


class OwnNorm(keras.layers.BatchNormalization):
    """A norm of one's own."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs - 1, training=training)


OTHERS = [{"axis": 1}, {"scale": False}, {"dtype": "mixed_float16"}, {"renorm": True}]


@pytest.mark.parametrize("options", [*OTHERS, {"kind": OwnNorm}])
def test_other_norms_stay_as_they_are(options):
    model = _network(**options)
    with _fused(model):
        assert "call" not in vars(model.get_layer("norm"))
