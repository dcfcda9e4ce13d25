import json
import re
import shutil

import keras
import numpy as np
import pytest

import kseg
from kseg.analysis import costs_table, describe, describe_networks
from kseg.cli import main
from kseg.training.checkpoints import write_checkpoint
from kseg.training.run import Run


def _printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def _refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == "" and "Traceback" not in output.err
    (sentence,) = output.err.splitlines()
    return sentence


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, untrained."""
    folder = tmp_path_factory.mktemp("run")
    model = kseg.build_fcn32s(3, backbone="separable", weights=None)
    Run.write(
        folder,
        {
            "format": 1,
            "spec": model.kseg_spec,
            "size": [64, 96],
            "classes": {"names": [], "colors": []},
        },
    )
    weights = [np.asarray(variable).copy() for variable in model.variables]
    write_checkpoint(folder, 1, {"average": weights}, {"mean_iou": 0.5})
    return folder


def test_json_is_what_the_library_says(capsys):
    network = ["fcn8s", "--backbone", "separable", "--num-classes", "4"]
    printed = json.loads(_printed(capsys, "describe", *network, "--size", 64, 96, "--json"))
    model = kseg.build_fcn8s(4, backbone="separable", weights=None)
    assert printed == json.loads(json.dumps(describe(model, (64, 96)).to_json()))
    assert printed.keys() == {
        "params", "macs", "receptive_field", "weights_bytes", "peak_activation_bytes", "layers",
    }  # fmt: skip


def test_a_run_goes_before_a_network_of_its_name(run, capsys, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "unet")
    monkeypatch.chdir(tmp_path)
    told = json.loads(_printed(capsys, "describe", "unet", "--json"))
    assert told == json.loads(_printed(capsys, "describe", "./unet", "--json"))
    assert main(["describe", "fcn8s", "--model", "none.keras"]) == 2
    assert "--model is for runs" in capsys.readouterr().err


def test_networks_are_described_at_camvids_size_as_they_are_built(capsys):
    text = _printed(capsys, "describe", "encoder_decoder")
    description = describe_networks(["encoder_decoder"])["encoder_decoder"]
    assert text.splitlines()[0].split("  ")[-1].strip() == "360 x 480"
    assert f"{description.macs / 1e9:.3f} G" in text
    assert "out_conv" not in text and "Conv2D" not in text


def test_runs_are_described_at_their_working_size(run, capsys):
    text = _printed(capsys, "describe", run, "--layers")
    assert "64 x 96" in text.splitlines()[0]
    assert "score_c5        " in text and "Conv2D" in text
    facts = json.loads(_printed(capsys, "describe", run, "--json", "--effective"))
    assert facts["receptive_field"]["c5"] == [183, 183]
    assert 1 < facts["effective_receptive_field"]["c1"] <= 3


def test_trained_models_are_described_at_the_size_of_their_images(capsys):
    text = _printed(capsys, "describe", "fcn8s_camvid")
    assert "360 x 480" in text and "3.441 M" in text


def test_costs_of_all_networks(capsys, monkeypatch):
    few = describe_networks(["fcn8s", "encoder_decoder"], (64, 64))
    monkeypatch.setattr("kseg.analysis.describe_networks", lambda: few)
    table = _printed(capsys, "models", "--costs")
    assert table.strip() == costs_table(few)
    assert table.splitlines()[0].split("|")[4].strip() == "GMACs at 64 x 64"
    assert table.splitlines()[2].split()[1:4:2] == ["fcn8s", "efficientnet_lite0"]
    facts = json.loads(_printed(capsys, "models", "--costs", "--json"))
    assert facts["fcn8s"]["macs"] == few["fcn8s"].macs
    assert facts.keys() == few.keys() and "layers" not in facts["fcn8s"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["fcn8"], "model must be one of .*; got 'fcn8'. Did you mean 'fcn8s'?"),
        (["fcn8s", "--backbone", "separabel"], "backbone must be .*Did you mean 'separable'?"),
        (["encoder_decoder", "--backbone", "separable"], "encoder_decoder has no backbone"),
        (["lraspp", "--set", "filters=8"], "lraspp has no filters; it takes num_classes, backbone"),
        (["fcn8s", "--num-classes", "1"], "num_classes must be from 2 to 255"),
        (["fcn8s_camvid", "--num-classes", "4"], "is trained: leave out --backbone and --num-cla"),
        (["street.tflite"], "street.tflite is exported already; name the run folder"),
        (["fcn8s", "--size", "0", "64"], "sizes must be above 0; got 0 64"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(capsys, arguments, match):
    sentence = _refused(capsys, "describe", *arguments)
    assert sentence.startswith("kseg: ")
    assert re.search(match, sentence), sentence


def test_a_folder_that_is_no_run_is_refused(capsys, tmp_path):
    assert "is not a kseg run folder" in _refused(capsys, "describe", tmp_path)


def test_a_size_that_a_network_cannot_take_is_a_sentence(tmp_path, capsys):
    image = keras.Input((None, None, 3))
    x = keras.layers.UpSampling2D(name="up")(keras.layers.MaxPooling2D()(image))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()([x, image])))
    model.save(tmp_path / "net.keras")
    assert main(["describe", str(tmp_path / "net.keras"), "--size", "32", "32"]) == 0
    capsys.readouterr()
    assert main(["describe", str(tmp_path / "net.keras"), "--size", "33", "32"]) == 2
    said = "kseg: The model cannot take an image of 33 x 32: the layer concatenate"
    assert capsys.readouterr().err.startswith(said)
