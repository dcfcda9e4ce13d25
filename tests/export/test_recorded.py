"""`kseg export` of a model that is not shown what its training saw: refused with the cause."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.cli.app import main
from kseg.cli.export import _recorded
from kseg.training.run import Run, open_run

COLORS = np.array([(90, 90, 90), (230, 40, 30), (40, 60, 220)], "float32")


def _nearest(factor, offset, *, with_scaling=True):
    """A network that labels by the nearest colour of images that are scaled."""
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(factor, offset)(image) if with_scaling else image
    model = keras.Model(image, layers.Conv2D(3, 1)(x))
    colors = COLORS * factor + offset
    model.layers[-1].set_weights([2 * colors.T[None, None], -(colors**2).sum(1)])
    return model


@pytest.fixture
def run(data, tmp_path):
    """A run of an own network, and its files with and without the scaling."""

    def run(factor, offset):
        model = _nearest(factor, offset)
        recipe = kseg.Recipe(
            epochs=1, batch_size=4, learning_rate=1e-8, weight_decay=0.0, color=0.0
        )
        scores = kseg.fit(model, data, recipe, run_dir=tmp_path / "run")
        assert scores is not None
        model.save(tmp_path / "right.keras")
        _nearest(factor, offset, with_scaling=False).save(tmp_path / "bare.keras")
        return tmp_path

    return run


def _export(folder, network, data):
    return main(
        [
            *("export", str(folder / "run"), "--model", str(folder / network)),
            *("--data", str(data.source), "--out", str(folder / "x.tflite")),
            *("--size", "64", "64", "--quantization", "none", "--quick"),
        ]
    )


@pytest.mark.filterwarnings("ignore:model is not the network")
def test_a_usual_preprocessing_that_was_left_out_is_named(run, data, capsys):
    folder = run(1 / 127.5, -1.0)
    assert _export(folder, "bare.keras", data) == 3
    said = capsys.readouterr().err
    assert "-1..1" in said or "0..1" in said
    assert "Write the step into the model" in said and not (folder / "x.tflite").exists()


def test_a_score_on_a_part_of_the_images_is_not_held_against_all(run, data):
    folder = run(1 / 40, -5.3) / "run"
    count, record = len(data.files("val")), open_run(folder).record
    for part, known in ((None, True), (count, True), (count - 1, False)):
        Run.write(folder, {**record, "recipe": {**record["recipe"], "validate_images": part}})
        assert (_recorded(str(folder), data, None) is not None) is known


@pytest.mark.filterwarnings("ignore:model is not the network")
def test_a_model_far_below_what_its_run_recorded_is_refused(run, data, capsys):
    folder = run(1 / 40, -5.3)
    command = [
        *("export", str(folder / "run"), "--data", str(data.source)),
        *("--out", str(folder / "x.tflite"), "--quantization", "none", "--quick"),
    ]
    assert main([*command, "--model", str(folder / "right.keras")]) == 0
    capsys.readouterr()
    assert main([*command, "--overwrite", "--model", str(folder / "bare.keras")]) == 3
    said = capsys.readouterr().err
    assert "its training recorded" in said or "Write the step" in said
