"""The scripts that make the zoo, on rectangles."""

import hashlib
import json
import re
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export
import kseg
from export import load_tflite
from export.tflite.metadata import read_metadata
from kseg.data import check_data
from kseg.losses import balanced_class_weights
from kseg.models import TRAINED
from kseg.models import trained as trained_module
from kseg.models.trained import _read_record, load_weights_npz
from kseg.training.run import Run, open_run

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMAND = (
    "kseg train camvid.yaml --backbone separable --weights none --batch-size 4 --epochs 20 "
    "--validate-every 20 --learning-rate 0.01 --out runs/toys"
)


@pytest.fixture
def script(monkeypatch):
    """A function that runs a script: (name, arguments, folder that it is in)."""

    def call(name, *arguments, folder=SCRIPTS):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.syspath_prepend(str(folder))  # as for any script; they import each other
        runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")

    return call


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder that stands for `kseg/weights`."""
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(kseg, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(trained_module.resources, "files", lambda package: tmp_path)
    return tmp_path / "weights"


@pytest.fixture
def record(run, data_yaml, weights, script, monkeypatch):
    """The record of a published run, the only one that there is."""
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0"]
    script("publish", run, "fcn8s_toys", *about, "--command", COMMAND)
    record = _read_record(weights / "fcn8s_toys.json")
    for name in list(TRAINED):
        monkeypatch.delitem(TRAINED, name)
    monkeypatch.setitem(TRAINED, "fcn8s_toys", record)
    return record


def test_what_is_published_scores_as_its_record_and_reproduces(
    record, run, data_yaml, weights, script, tmp_path, capfd, monkeypatch
):
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
    shutil.copytree(run, tmp_path / "runs/toys")
    published = runpy.run_path(str(SCRIPTS / "publish.py"))
    model = kseg.load(run)
    for amount in (0.0, 0.5):
        monkeypatch.setitem(TRAINED, "fcn8s_toys", replace(record, logit_adjustment=amount))
        script("reproduce", "fcn8s_toys", data_yaml, "--out", tmp_path / "runs")
        told = rf"mean IoU ([\d.]+); the record has {record.mean_iou:.4f}"
        (score,) = re.findall(told, capfd.readouterr().out)
        published["adjust"](model, amount * published["log_weights"](data))
        expected = kseg.evaluate(model, data, size=record.size).mean_iou
        assert float(score) == pytest.approx(expected, abs=1e-4)
        if not amount:  # the record's weights are rounded
            assert expected == pytest.approx(record.mean_iou, abs=2e-3)
    assert expected != pytest.approx(record.mean_iou, abs=1e-4)


def test_tables_picture_and_card_say_what_the_record_says(record, script, tmp_path, monkeypatch):
    graded = replace(record, test={"mean_iou": 0.4321, "note": "graded by hand"})
    monkeypatch.setitem(TRAINED, "fcn8s_toys", graded)
    for name in ("scripts", "docs"):
        (tmp_path / name).mkdir()
    shutil.copy(SCRIPTS / "zoo.py", tmp_path / "scripts")
    mark = "<!-- zoo: python scripts/zoo.py -->"
    pages = [tmp_path / name for name in ("README.md", "README.ko.md", "docs/networks.md")]
    for page in pages:
        page.write_text(f"before\n{mark}\nold\n<!-- /zoo -->\nafter\n")
    script("zoo", folder=tmp_path / "scripts")

    rows = []
    for page in pages:
        before, table, after = re.split(r"<!-- .*zoo.* -->", page.read_text())
        assert before == "before\n" and after == "\nafter\n" and "old" not in table
        row = next(line for line in table.splitlines() if "[`fcn8s_toys`]" in line)
        rows.append([cell.strip() for cell in row.split("|")[1:-1]])
    parameters = kseg.load("fcn8s_toys").count_params() / 1e6
    scores = [f"{record.mean_iou:.3f}", f"{record.int8_mean_iou:.3f}", "0.432"]
    short, korean, full = rows
    assert short == korean and short[1] == f"{parameters:.2f} M" and short[3:5] == scores[1:]
    assert full[3:6] == scores and short[7] == full[7] == "1.00" and full[9] == "train"
    assert short[2] == full[1] == "64 x 64" and float(short[6].removesuffix(" ms")) >= 0
    card = (tmp_path / "docs/models/fcn8s_toys.md").read_text()
    assert COMMAND in card and f"| {record.int8_mean_iou:.4f} |" in card
    assert "0.432 (graded by hand)" in card
    with Image.open(tmp_path / "docs/zoo.png") as picture:
        assert picture.format == "PNG" and len(picture.getcolors(1 << 24)) > 10  # not blank


def test_a_published_command_names_runs_and_not_what_publishing_changes(
    run, data_yaml, weights, script, capsys
):
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0"]
    command = "kseg train camvid.yaml --weights fcn8s_camvid --out runs/toys"
    with pytest.raises(SystemExit):
        script("publish", run, "fcn8s_toys", *about, "--command", command)
    assert "fcn8s_camvid changes with every publication" in capsys.readouterr().err
    assert not list(weights.iterdir())


def test_a_file_of_quantization_aware_training_is_published(
    run, data_yaml, weights, script, monkeypatch
):
    recipes, train = [], export.quantization_aware

    def trained(model, data, recipe):
        recipes.append(recipe)
        return train(model, data, recipe)

    monkeypatch.setattr(export, "quantization_aware", trained)
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0", "--command", COMMAND]
    script("publish", run, "fcn8s_toys", *about, "--qat-epochs", 1)
    record = _read_record(weights / "fcn8s_toys.json")
    assert record.qat_epochs == 1 and [recipe.epochs for recipe in recipes] == [1]
    with load_tflite(weights / record.int8_file) as file:
        score = kseg.evaluate(file, kseg.load_data(data_yaml)).mean_iou
    assert score == pytest.approx(record.int8_mean_iou, abs=1e-4)


@pytest.fixture
def older(run, tmp_path):
    """The run as it would be from before logits were adjusted."""
    record = open_run(run).record
    del record["asked"]["logit_adjustment"]
    return Run.write(shutil.copytree(run, tmp_path / "older"), record).path


def test_runs_that_do_not_fit_are_refused(run, older, data_yaml, weights, script, tmp_path):
    about = ["--size", 64, 64, "--licence", "Apache-2.0", "--command", COMMAND]
    twice = r"run was trained with logit_adjustment=0\.5, so its logits would be adjusted twice"
    with pytest.raises(SystemExit, match=twice):
        finals = ["--final", run, "--final-command", COMMAND, "--logit-adjustment", 0.5]
        script("publish", older, "fcn8s_toys", *about, "--data", data_yaml, *finals)
    with pytest.raises(SystemExit, match=twice):
        script("adjusting", data_yaml, older, run)
    seen = shutil.copytree(older, tmp_path / "seen")
    record = open_run(older).record
    Run.write(seen, {**record, "saw_val": True})
    with pytest.raises(SystemExit, match=r"seen has seen validation images, which would score it"):
        script("publish", seen, "fcn8s_toys", *about, "--data", data_yaml)
    even = shutil.copytree(older, tmp_path / "even")
    Run.write(even, {**record, "asked": {**record["asked"], "class_weights": None}})
    with pytest.raises(SystemExit, match=r"class_weights=None, so class weights put nothing into"):
        script("adjusting", data_yaml, even)
    other = data_yaml.with_name("other.yaml")
    other.write_text(data_yaml.read_text().replace("red", "rouge"))
    with pytest.raises(SystemExit, match=r"has the classes ground, red, blue, and .* rouge, blue;"):
        script("publish", run, "fcn8s_toys", *about, "--data", other)
    assert not list(weights.iterdir())


def test_logits_of_an_older_run_are_adjusted(older, data_yaml, weights, script):
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0", "--command", COMMAND]
    script("publish", older, "fcn8s_toys", *about, "--logit-adjustment", 0.5)
    record = _read_record(weights / "fcn8s_toys.json")
    before, after = kseg.load(older), kseg.build_fcn8s(3, backbone="separable", weights=None)
    load_weights_npz(after, weights / record.file)
    pixels = check_data(kseg.load_data(data_yaml)).pixels["train"]
    taken = before.get_layer("score_c3").bias - after.get_layer("score_c3").bias
    expected = 0.5 * np.log(balanced_class_weights(pixels))
    np.testing.assert_allclose(taken, expected, atol=1e-3)  # in float16
    _, size = read_metadata(weights / record.int8_file)
    assert size == (64, 64)  # so that `kseg evaluate` enlarges smaller images, as for the model


@pytest.mark.parametrize("name", ["fcn8s", "lraspp", "deeplab_v3_plus", "segnet", "atrous_fpn"])
def test_adjusted_logits_are_lower_by_the_same_everywhere(name):
    adjust = runpy.run_path(str(SCRIPTS / "publish.py"))["adjust"]
    model = getattr(kseg, f"build_{name}")(3, weights=None)
    images = np.random.default_rng(0).uniform(0, 255, (1, 70, 90, 3)).astype("float32")
    before = np.asarray(model(images))
    adjust(model, np.array([1, -2, 0.5]))
    taken = before - np.asarray(model(images))
    np.testing.assert_allclose(taken, np.broadcast_to([1, -2, 0.5], taken.shape), atol=1e-4)


def test_a_negative_number_of_epochs_is_refused(run, data_yaml, weights, script, capsys):
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0", "--command", COMMAND]
    with pytest.raises(SystemExit):
        script("publish", run, "fcn8s_toys", *about, "--qat-epochs", -1)
    assert "--qat-epochs must be 0 or more" in capsys.readouterr().err


def test_several_final_runs_are_published_as_the_mean_of_their_weights(
    run, older, data_yaml, weights, script, monkeypatch
):
    load, finals = kseg.load, [f"{COMMAND}{n} --with-val" for n in (1, 2)]

    def loaded(source):
        model = load(run)
        if source == older:
            model.set_weights([1.2 * weight for weight in model.get_weights()])
        return model

    monkeypatch.setattr(kseg, "load", loaded)
    about = ["--data", data_yaml, "--size", 64, 64, "--licence", "Apache-2.0", "--command", COMMAND]
    about += ["--final", run, "--final-command", finals[0]]
    with pytest.raises(SystemExit):  # a run without its command
        script("publish", run, "fcn8s_toys", *about, "--final", older)
    script("publish", run, "fcn8s_toys", *about, "--final", older, "--final-command", finals[1])
    record = _read_record(weights / "fcn8s_toys.json")
    assert record.final_commands == tuple(finals) and record.splits == ("train", "val")
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    load_weights_npz(model, weights / record.file)
    for weight, first in zip(model.get_weights(), load(run).get_weights(), strict=True):
        np.testing.assert_allclose(weight, 1.1 * first, rtol=0.01, atol=1e-6)


def test_what_was_made_otherwise_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    keep_to = runpy.run_path(str(SCRIPTS / "keeping.py"))["keep_to"]
    for _ in range(2):
        keep_to(tmp_path / "out/settings.json", False, start="runs/a", data="x.yaml")
    with pytest.raises(SystemExit, match=r"out holds results of other settings .*runs/a"):
        keep_to(tmp_path / "out/settings.json", True, start="runs/b", data="x.yaml")
    with pytest.raises(SystemExit, match=r"holds results of other settings \(unknown"):
        keep_to(tmp_path / "old/settings.json", True, start="runs/a", data="x.yaml")


@pytest.mark.slow
def test_one_change_at_a_time_on_a_drive_that_was_left_out(
    run, data_yaml, script, tmp_path, monkeypatch, capsys
):
    rows = ["the recipe", "label smoothing 0.1", "taught, temperature 1", "gamma and white balance"]
    rows += ["dropout 0.2 before the logits", "averaged over four times as many steps"]
    about = ["--drive", "0.png", "--start", run, "--teacher", run, "--out", tmp_path]
    about += ["--seeds", 0, "--rows", *rows]
    script("transfer", data_yaml, *about)
    left_out = runpy.run_path(str(SCRIPTS / "drives.py"))["without"](
        kseg.load_data(data_yaml), "0.png"
    )
    assert [pair.image.name for pair in left_out.pairs["val"]] == ["0.png"]
    assert len(left_out.pairs["train"]) == 11
    kept = {name: json.loads((tmp_path / f"{_file(name)}-0.json").read_text()) for name in rows}
    for name, score in kept.items():
        model = kseg.load(tmp_path / f"{_file(name)}-0")
        assert score == pytest.approx(kseg.evaluate(model, left_out).mean_iou, abs=1e-4)
    losses = {(tmp_path / f"{_file(name)}-0/history.csv").read_text() for name in rows}
    assert len(losses) == len(rows)  # each row is another training
    monkeypatch.setattr(kseg, "fit", None)
    capsys.readouterr()
    script("transfer", data_yaml, *about)  # nothing is trained again
    points = 100 * (kept[rows[2]] - kept[rows[0]])
    (line,) = (row for row in capsys.readouterr().out.splitlines() if rows[2] in row)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == [rows[2], f"{kept[rows[2]]:.3f}", f"{points:+.1f}"]


def _file(name):
    return name.replace(" ", "_")
