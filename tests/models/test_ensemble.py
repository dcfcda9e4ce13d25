import keras
import numpy as np
import pytest

import kseg
from kseg.models import ensemble


def _network(classes=3, seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127, -1)(image)
    return keras.Model(image, keras.layers.Conv2D(classes, 3, padding="same")(x), name="one")


def _softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("flip", [False, True])
def test_an_ensemble_is_the_mean_of_probabilities(flip):
    networks = [_network(seed=seed) for seed in (1, 2)]  # of one name
    images = np.random.default_rng(0).uniform(0, 255, (2, 9, 11, 3)).astype("float32")
    found = [_softmax(n.predict_on_batch(images)) for n in networks]
    if flip:
        turned = [n.predict_on_batch(images[:, :, ::-1]) for n in networks]
        found += [_softmax(x)[:, :, ::-1] for x in turned]
    together = ensemble(networks, flip=flip)
    logits = together.predict_on_batch(images)
    np.testing.assert_allclose(_softmax(logits), np.mean(found, 0), atol=1e-5)
    assert kseg.predict(together, images[0].astype("uint8")).shape == (9, 11)


def _sized(size, outputs=1):
    image = keras.Input((*size, 3))
    made = [keras.layers.Conv2D(3, 1)(image) for _ in range(outputs)]
    return keras.Model(image, made)


def test_networks_of_a_fixed_size_make_one_of_it():
    together = ensemble([_sized((64, 64)), _network()])
    assert together.input_shape[1:3] == (64, 64)
    assert kseg.predict(together, np.zeros((30, 40, 3), "uint8")).shape == (30, 40)
    with pytest.raises(ValueError, match="must take images of one size"):
        ensemble([_sized((64, 64)), _sized((32, 64))])
    with pytest.raises(ValueError, match=r"must give logits alone; .* has 2 outputs"):
        ensemble([_network(), _sized((None, None), outputs=2)])


def test_networks_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="got 3 channels and 3 classes, and 3 and 5"):
        ensemble([_network(), _network(5)])
    with pytest.raises(ValueError, match="at least one network"):
        ensemble([])


def test_a_size_that_all_networks_have_is_kept():
    first, second = _network(), _network()
    first.kseg_size = second.kseg_size = (32, 48)
    assert ensemble([first, second]).kseg_size == (32, 48)
    second.kseg_size = (64, 64)
    assert getattr(ensemble([first, second]), "kseg_size", None) is None


class OwnCall(keras.Model):
    """A network of which the layers say the contrary."""

    def call(self, images, training=None):
        return -super().call(images, training=training)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.score = keras.layers.Conv2D(3, 1)

    def build(self, shape):
        self.score.build(shape)

    def call(self, images):
        return self.score(images / 255)


@pytest.mark.parametrize("channels", [3, 4])
def test_what_a_network_does_in_its_call_is_part_of_it(channels):
    image = keras.Input((None, None, channels))
    own = OwnCall(image, keras.layers.Conv2D(3, 1)(image / 255))
    subclassed = Subclassed()
    with pytest.raises(ValueError, match=r"must have weights; .* never saw an image"):
        ensemble([subclassed])
    images = np.random.default_rng(0).uniform(0, 255, (1, 8, 9, channels)).astype("float32")
    subclassed.build(images.shape)
    found = [_softmax(np.asarray(n(images))) for n in (own, subclassed)]
    logits = ensemble([own, subclassed]).predict_on_batch(images)
    np.testing.assert_allclose(_softmax(logits), np.mean(found, 0), atol=1e-5)
    labels = kseg.predict(subclassed, images[0].astype("uint8"))  # of as many channels
    assert labels.shape == (8, 9)


def test_networks_of_other_strides_are_refused():
    image = keras.Input((None, None, 3))
    coarse = keras.Model(image, keras.layers.Conv2D(3, 3, 2, "same")(image), name="coarse")
    with pytest.raises(ValueError, match=r"one size; for .* one_0 gives 128 x 128 and coarse_1"):
        ensemble([_network(), coarse])
