"""The verbs on .keras files, and on runs that were trained from a network of the user's own."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import kseg
from kseg.cli import main
from kseg.cli.train import TrainOptions, _given


def _network():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Conv2D(3, 1)(x))


@pytest.fixture(scope="module")
def own(tmp_path_factory, write_rectangles):
    """The .keras file of a network as built, a run that trained it, and the data's YAML file."""
    folder = tmp_path_factory.mktemp("own")
    yaml = write_rectangles(folder / "data", [(64, 64)] * 12, val=4)
    model = _network()
    model.save(folder / "net.keras")
    recipe = kseg.Recipe(epochs=15, learning_rate=0.02, batch_size=4, validate_every=15)
    kseg.fit(model, kseg.load_data(yaml), recipe, run_dir=folder / "run")
    model.save(folder / "trained.keras")
    return folder, yaml


def _scores(capsys, *arguments):
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_evaluate_scores_a_file_and_a_run_of_ones_own(own, capsys):
    folder, yaml = own
    run = _scores(capsys, "evaluate", folder / "run", yaml, "--model", folder / "net.keras")
    expected = kseg.evaluate(kseg.load(folder / "run", model=_network()), kseg.load_data(yaml))
    assert run["mean_iou"] == pytest.approx(expected.mean_iou)
    assert run["mean_iou"] > 0.5
    untrained = _scores(capsys, "evaluate", folder / "net.keras", yaml)
    assert untrained["mean_iou"] < run["mean_iou"] - 0.1


def test_predict_and_describe_take_them(own, tmp_path, capsys):
    folder, yaml = own
    image = yaml.parent / "images/0.png"
    assert main(["predict", str(folder / "trained.keras"), str(image), "--out", str(tmp_path)]) == 0
    assert "class 0" in capsys.readouterr().out
    with Image.open(tmp_path / "0.labels.png") as picture:
        labels = kseg.predict(keras.saving.load_model(folder / "trained.keras"), image)
        assert (np.asarray(picture) == labels).all()
    facts = _scores(capsys, "describe", folder / "net.keras", "--size", 64, 64)
    assert facts["params"] == 3 * 3 * 3 * 8 + 8 + 8 * 3 + 3
    facts = _scores(capsys, "describe", folder / "run", "--model", folder / "net.keras")
    assert facts["params"] == 251


def test_train_takes_a_network_of_ones_own_and_goes_on_from_its_run(own, tmp_path, capsys):
    folder, yaml = own
    fixed = "--batch-size 4 --epochs 1 --learning-rate 1e-9 --recipe average=0".split()
    start = folder / "trained.keras"
    words = ["train", yaml, "--model", start, *fixed, "--out", tmp_path / "first"]
    assert main([*map(str, words)]) == 0
    said = f"kseg export {tmp_path / 'first'} --model {start} --data {yaml}"
    assert said in capsys.readouterr().out
    trained = keras.saving.load_model(start).get_weights()
    _expect_weights(trained, tmp_path / "first")
    words = ["train", yaml, "--model", folder / "net.keras", "--weights", folder / "run", *fixed]
    words += ["--teacher", folder / "trained.keras", "--out", tmp_path / "on"]
    assert main([*map(str, words)]) == 0
    _expect_weights(trained, tmp_path / "on")


def _expect_weights(expected, run):
    found = kseg.load(run, model=_network()).get_weights()
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_export_names_the_classes_of_the_data(own, tmp_path, capsys):
    folder, yaml = own
    out = ["--out", tmp_path / "own.tflite", "--data", yaml, "--quick"]
    run = folder / "run"
    report = _scores(capsys, "export", run, "--model", folder / "net.keras", *out)
    assert report["classes"]["names"] == ["ground", "red", "blue"]
    assert (tmp_path / "own.tflite").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("evaluate RUN DATA", 2, "name its file with --model FILE.keras"),
        ("describe RUN", 2, "name its file with --model FILE.keras"),
        ("train DATA --weights RUN --out OUT", 2, "name its file with --model FILE.keras"),
        ("train DATA --weights NET --out OUT", 2, "name it with --model"),
        ("train DATA --model NET --weights imagenet --out OUT", 2, "holds the weights to start"),
        ("train DATA --model NET --backbone vgg16 --out OUT", 2, "is built already"),
        ("train DATA --set weights=camvid --out OUT", 2, "--set takes no weights; that is for"),
        ("train DATA --set num_classes=9 --out OUT", 2, "--set takes no num_classes; that is for"),
        ("train DATA --with-val --patience 2 --out OUT", 2, "with --with-val there are none"),
        ("train DATA --freeze c9 --out OUT", 2, "freeze must be one of c1"),
        ("train DATA --teacher FOUR --out OUT", 2, "The teacher has 4 classes"),
        ("evaluate NET DATA --model NET", 2, "leave it out for"),
        ("evaluate NET DATA --kernels plain", 2, "--kernels is for .tflite files"),
        ("predict NET IMAGE --delegate x.so", 2, "--delegate is for .tflite files"),
        ("evaluate none.keras DATA", 2, "none.keras: there is no such file"),
        ("evaluate RUN DATA --model TEXT", 4, "text.keras is not a whole .keras file"),
        ("evaluate TEXT DATA", 4, "text.keras is not a whole .keras file"),
        ("predict TEXT IMAGE", 4, "text.keras is not a whole .keras file"),
        ("describe TEXT", 4, "text.keras is not a whole .keras file"),
        ("export TEXT --out x.tflite --data DATA", 4, "text.keras is not a whole .keras file"),
        ("evaluate BOTH DATA", 2, "a segmentation network gives one output"),
    ],
)
def test_refusals_are_one_sentence(own, tmp_path, capsys, words, code, said):
    folder, yaml = own
    (tmp_path / "text.keras").write_text("This is text.")
    both = keras.Input((8, 8, 3))
    keras.Model(both, [both, both]).save(tmp_path / "both.keras")
    keras.Model(both, layers.Conv2D(4, 1)(both)).save(tmp_path / "four.keras")
    names = {"RUN": folder / "run", "NET": folder / "net.keras", "DATA": yaml}
    names |= {"TEXT": tmp_path / "text.keras", "BOTH": tmp_path / "both.keras"}
    names |= {"FOUR": tmp_path / "four.keras", "OUT": tmp_path / "out"}
    names |= {"IMAGE": yaml.parent / "images/0.png"}
    assert main([str(names.get(word, word)) for word in words.split()]) == code
    output = capsys.readouterr()
    (line,) = [line for line in output.err.splitlines() if line.startswith("kseg: ")]
    assert output.out == "" and "Traceback" not in output.err
    assert re.search(said, line), line


def test_none_as_the_stage_to_freeze_trains_all():
    given = _given(TrainOptions(out=Path("x"), freeze="none"))
    assert given["freeze"] is None and kseg.Recipe(**given).freeze is None
    assert "freeze" not in _given(TrainOptions(out=Path("x")))


def _unfit(kind):
    """A network that is no network of one image."""
    if kind == "unbuilt":
        return keras.Sequential([layers.Conv2D(3, 1)])
    if kind == "row":
        return keras.Sequential([keras.Input((10,)), layers.Dense(3)])
    one, two = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    return keras.Model([one, two], layers.Conv2D(3, 1)(layers.Add()([one, two])))


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unbuilt", "has no weights yet, as it never saw an image"),
        ("row", "takes 1 input of shape (None, 10); a segmentation network takes one image"),
        ("two", "takes 2 inputs of shape (None, None, None, 3), (None, None, None, 3); a segm"),
    ],
)
def test_a_file_of_no_one_image_is_a_sentence(own, tmp_path, capsys, kind, said):
    _, yaml = own
    file, image = str(tmp_path / "net.keras"), str(yaml.parent / "images/0.png")
    _unfit(kind).save(file)
    for words in (
        ["describe", file],
        ["evaluate", file, yaml],
        ["predict", file, image, "--out", tmp_path / "labels"],
        ["export", file, "--data", yaml, "--out", tmp_path / "net.tflite", "--size", "64", "64"],
    ):
        assert main([*map(str, words)]) == 2
        *_, sentence = capsys.readouterr().err.splitlines()
        assert sentence.startswith("kseg: ") and said in sentence
