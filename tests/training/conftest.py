"""One trained run for all tests of training, and a network that trains in no time."""

import keras
import pytest

import kseg
from kseg.data import Split


def _own_model(num_classes=3):
    """A network kseg did not build: two convolutions, with a batch norm between."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(image)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 1)(x))
    return keras.Model(image, keras.layers.Conv2D(num_classes, 1)(keras.layers.ReLU()(x)))


@pytest.fixture(scope="session")
def own_model():
    """A function that makes a network kseg did not build."""
    return _own_model


@pytest.fixture(scope="session")
def build_small():
    """A function that builds a small network of kseg, always with the same weights."""

    def build(seed=0, name="fcn16s"):
        keras.utils.set_random_seed(seed)
        return kseg.MODELS[name](3, backbone="separable", weights=None)

    return build


@pytest.fixture(scope="session")
def training_data(tmp_path_factory, write_rectangles):
    """Eight images to train on and three to validate."""
    yaml = write_rectangles(tmp_path_factory.mktemp("training") / "data", ((64, 64),) * 11)
    return kseg.load_data(yaml)


@pytest.fixture(scope="session")
def recipe():
    """Three epochs of four steps."""
    return kseg.Recipe(
        epochs=3,
        batch_size=2,
        learning_rate=0.02,
        backbone_rate=0.5,
        average=0.5,
        norm_momentum=0.8,
        warmup=0.1,
        scale=(0.9, 1.1),
        color=0.1,
        deterministic=True,
    )


class Recorded:
    """Notes the numbers of the batches that are read."""

    def __init__(self, monkeypatch):
        self.numbers = []
        original = Split.__getitem__

        def read(split, index):
            self.numbers.append(int(index))
            return original(split, index)

        monkeypatch.setattr(Split, "__getitem__", read)


@pytest.fixture
def recorded(monkeypatch):
    """Notes the numbers of the batches that are read from here on."""
    return Recorded(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, training_data, recipe, build_small):
    """(the fitted model, its run, the numbers of the batches it saw)."""
    model = build_small()
    with pytest.MonkeyPatch.context() as monkeypatch:
        seen = Recorded(monkeypatch)
        path = tmp_path_factory.mktemp("runs") / "run"
        run = kseg.fit(model, training_data, recipe, run_dir=path)
    return model, run, seen.numbers
