"""Networks of one's own that do not take every size: said at once, and no epoch is lost."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.training import fitting

RECIPE = kseg.Recipe(epochs=1, batch_size=2, crop=(32, 32))


def network(joined):
    """One that halves and doubles, with or without joining what it had before."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, 2, "same", activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.UpSampling2D()(x)
    return keras.Model(
        image, layers.Conv2D(3, 1)(layers.Concatenate()([x, image]) if joined else x)
    )


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory, write_rectangles):
    """Images of which one of "val" has odd sides."""
    folder = tmp_path_factory.mktemp("odd")
    return kseg.load_data(write_rectangles(folder / "data", ((48, 48),) * 5 + ((37, 51),)))


def test_images_that_a_network_cannot_be_scored_on_are_named_before_the_training(
    tmp_path, odd_data
):
    match = r"cannot take an image of 37 x 51: the layer concatenate.* to join 38 x 52 x 4 and 37"
    with pytest.raises(ValueError, match=match) as caught:
        kseg.fit(network(True), odd_data, RECIPE, run_dir=tmp_path / "run")
    assert "5.png at the working size is 37 x 51" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_others_are_scored_on_the_image_as_it_is(tmp_path, odd_data):
    run = kseg.fit(network(False), odd_data, RECIPE, run_dir=tmp_path)
    assert kseg.load(run, model=network(False)) is not None


def test_a_checkpoint_is_saved_where_scoring_fails(tmp_path, odd_data, monkeypatch):
    def fail(*_):
        raise ValueError("no score")

    model = network(False)
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "score_columns", fail)
        with pytest.raises(ValueError, match="no score"):
            kseg.fit(model, odd_data, RECIPE, run_dir=tmp_path)
    saved = kseg.load(tmp_path, model=network(False))
    assert not np.allclose(saved.get_weights()[0], network(False).get_weights()[0])
    run = kseg.fit(network(False), odd_data, RECIPE, run_dir=tmp_path, resume=True)
    assert (run.path / "history.csv").read_text().count("\n") == 2
