"""The scripts that make the zoo, on rectangles."""

import hashlib
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import kseg
from export import load_tflite
from kseg.models import TRAINED
from kseg.models import trained as trained_module
from kseg.models.trained import _read_record, load_weights_npz

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMAND = (
    "kseg train camvid.yaml --backbone separable --weights none --batch-size 4 --epochs 20 "
    "--validate-every 20 --learning-rate 0.01 --out runs/toys"
)


@pytest.fixture
def script(monkeypatch):
    """A function that runs a script: (name, arguments)."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")

    return call


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder that stands for `kseg/weights`."""
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(kseg, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(trained_module.resources, "files", lambda package: tmp_path)
    return tmp_path / "weights"


def test_what_is_published_scores_as_its_record_and_reproduces(
    run, data_yaml, weights, script, monkeypatch, tmp_path, capfd
):
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0"]
    script("publish", run, "fcn8s_toys", *about, "--command", COMMAND)
    record = _read_record(weights / "fcn8s_toys.json")
    data = kseg.load_data(data_yaml)
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    load_weights_npz(model, weights / record.file)
    assert kseg.evaluate(model, data).mean_iou == pytest.approx(record.mean_iou, abs=1e-4)
    assert record.mean_iou > 0.5 and record.data == "toys" and record.commands == (COMMAND,)
    assert record.sha256 == hashlib.sha256((weights / record.file).read_bytes()).hexdigest()
    with load_tflite(weights / record.int8_file) as file:
        assert kseg.evaluate(file, data).mean_iou == pytest.approx(record.int8_mean_iou, abs=1e-4)
    mean = np.mean(list(record.iou_per_class.values()))
    assert mean == pytest.approx(record.mean_iou, abs=1e-4)

    # The run is there, so nothing is trained; its score is compared with the record's.
    monkeypatch.setitem(TRAINED, "fcn8s_toys", record)
    shutil.copytree(run, tmp_path / "runs/toys")
    script("reproduce", "fcn8s_toys", data_yaml, "--out", tmp_path / "runs")
    told = f"mean IoU {record.mean_iou:.4f}; the record has {record.mean_iou:.4f}"
    assert told in capfd.readouterr().out


def test_a_published_command_names_runs_and_not_what_publishing_changes(
    run, data_yaml, weights, script, capsys
):
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0"]
    command = "kseg train camvid.yaml --weights fcn8s_camvid --out runs/toys"
    with pytest.raises(SystemExit):
        script("publish", run, "fcn8s_toys", *about, "--command", command)
    assert "fcn8s_camvid changes with every publication" in capsys.readouterr().err
    assert not list(weights.iterdir())
