"""What `kseg.load` takes for the network of a run."""

import keras
import pytest

import kseg
from kseg.models import TRAINED


def test_another_network_of_the_same_shapes_is_warned_of(tmp_path, training_data, own_model):
    recipe = kseg.Recipe(epochs=1, batch_size=4)
    run = kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)
    kseg.load(run, model=own_model())  # the same: no warning
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 1)(x))
    other = keras.Model(image, keras.layers.Conv2D(3, 1)(keras.layers.ReLU()(x)))
    with pytest.warns(UserWarning, match="model is not the network that .* was trained as"):
        kseg.load(run, model=other)


def _wrapped(size):
    """A network whose layers hold other layers, which Keras names by counting."""
    image = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 1, activation=keras.layers.LeakyReLU(0.1))(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1)(x))


def test_names_and_sizes_make_no_other_network(tmp_path, training_data):
    recipe = kseg.Recipe(epochs=1, batch_size=4)
    run = kseg.fit(_wrapped((None, None)), training_data, recipe, run_dir=tmp_path)
    for size in ((None, None), (64, 64)):
        kseg.load(run, model=_wrapped(size))


def test_another_network_of_kseg_is_warned_of(tmp_path, training_data, build_small):
    recipe = kseg.Recipe(epochs=1, batch_size=4)
    run = kseg.fit(build_small(name="atrous_fpn"), training_data, recipe, run_dir=tmp_path)
    kseg.load(run, model=build_small(seed=1, name="atrous_fpn"))
    other = kseg.build_atrous_fpn(3, backbone="separable", upsampling="nearest", weights=None)
    with pytest.warns(UserWarning, match="model is not the network"):
        kseg.load(run, model=other)


def test_a_network_of_the_package_is_loaded_alone(own_model):
    name = next(iter(TRAINED))
    for asked in ({"model": own_model()}, {"checkpoint": "last"}):
        with pytest.raises(ValueError, match="leave model and checkpoint out"):
            kseg.load(name, **asked)
