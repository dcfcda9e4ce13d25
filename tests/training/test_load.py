"""What `kseg.load` takes for the network of a run."""

import keras
import pytest

import kseg
from kseg.models import TRAINED
from kseg.models.own import load_keras_file


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


def _joined(scale=255, slope=0.1, skip=True):
    """A network of which the layers say nothing of its scaling and its branches."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    first, second = (keras.layers.Conv2D(4, 1) for _ in range(2))
    x = first(image / scale)
    y = keras.ops.leaky_relu(second(x), slope)
    return keras.Model(image, keras.layers.Conv2D(3, 1)(y + x if skip else y + y))


@pytest.mark.parametrize("other", [{"scale": 1}, {"slope": 0.3}, {"skip": False}])
def test_a_network_that_is_joined_in_another_way_is_refused(tmp_path, training_data, other):
    recipe = kseg.Recipe(epochs=1, batch_size=4)
    run = kseg.fit(_joined(), training_data, recipe, run_dir=tmp_path / "run")
    model = _joined()
    model.save(tmp_path / "net.keras")
    for same in (_joined(), load_keras_file(tmp_path / "net.keras")):
        kseg.load(run, model=same)
    with pytest.raises(ValueError, match=r"model is not the network .*: its layers are joined in"):
        kseg.load(run, model=_joined(**other))
    match = r"was begun with another network, teacher or loss \(network wiring\)"
    with pytest.raises(ValueError, match=match):
        kseg.fit(_joined(**other), training_data, recipe, run_dir=run.path, resume=True)
    run.record["digests"].pop("network wiring")  # as in a run of an older kseg
    kseg.load(run, model=_joined(**other))


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
