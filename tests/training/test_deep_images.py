"""A model that was trained on 16-bit images reads others of them with the same white."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import kseg
from export import convert, full_integer, load_tflite
from kseg.cli import main
from kseg.data.files import read_image
from kseg.sources import find_sources

_DARK = 900  # a number of 10 bits; the images of the training have 12


def _write(path, largest):
    numbers = np.linspace(0, largest, 64 * 64).reshape(64, 64).astype("uint16")
    Image.fromarray(numbers).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deep")
    for index in range(9):
        _write(folder / f"{index}.png", 4000 - 100 * index)
        label_map = np.repeat(np.arange(64)[:, None] // 22, 64, 1).astype("uint8")
        Image.fromarray(label_map).save(folder / f"label{index}.png")
    (folder / "train.txt").write_text("".join(f"{i}.png label{i}.png\n" for i in range(8)))
    (folder / "val.txt").write_text("8.png label8.png\n")
    (folder / "data.yaml").write_text(
        "train: train.txt\nval: val.txt\nnames: [dark, grey, bright]\nbits: 12\n"
    )
    return folder


@pytest.fixture(scope="module")
def run(folder, own_model):
    recipe = kseg.Recipe(epochs=1, batch_size=4, size=(64, 64))
    return kseg.fit(
        own_model(), kseg.load_data(folder / "data.yaml"), recipe, run_dir=folder / "run"
    )


@pytest.fixture
def model(run, own_model):
    return kseg.load(run, model=own_model())


def test_a_dark_image_is_no_brighter_than_in_training(folder, model):
    path = _write(folder / "dark.png", _DARK)
    image = read_image(path, bits=12)
    assert image.max() == _DARK * 255 // 4095
    assert model.kseg_bits == 12
    expected = kseg.predict(model, image)
    assert (kseg.predict(model, path) == expected).all()  # and nothing is warned of
    (source,) = find_sources([str(path)]).sources
    ((_, seen),) = source.frames(3, 1, 12)
    assert (seen == image).all()
    with pytest.raises(ValueError, match=r"65535, over the 12 bits of the data or of the model"):
        kseg.predict(model, _write(folder / "bright.png", 65535))


def test_the_file_and_the_command_line_know_it_too(folder, model, tmp_path, capsys):
    data = kseg.load_data(folder / "data.yaml")
    path = tmp_path / "x.tflite"
    images = [data.read(pair)[0] for pair in data.files("train")]
    convert(model, full_integer(images), input_size=(64, 64), path=path)
    with load_tflite(path) as file:
        assert file.kseg_bits == 12
    dark = _write(tmp_path / "dark.png", _DARK)
    assert main(["predict", str(path), str(dark), "--out", str(tmp_path / "out")]) == 0
    assert "10 bits" not in capsys.readouterr().err
    sent = pickle.loads(pickle.dumps(kseg.Labeller(model)))  # a keras.Model forgets its bits there
    for labeller in (kseg.Labeller(path), sent):
        for image in (dark, dark.read_bytes()):
            assert (labeller.read(image) == read_image(dark, bits=12)).all()


def test_other_bits_than_those_of_the_training_are_warned_of(folder, model):
    data = kseg.load_data(folder / "data.yaml")
    with pytest.warns(UserWarning, match=r"trained on images of 12 bits, .* write `bits: 12`"):
        kseg.evaluate(model, replace(data, bits=14))
