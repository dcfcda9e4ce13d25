import json
import os
import platform
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import kseg
from export import GateError
from kseg.cli import main
from kseg.cli.opening import open_model
from kseg.training.callbacks import TrainingDivergedError


@pytest.fixture(scope="module")
def tflite(run, data_yaml):
    path = run.parent / "file.tflite"
    arguments = ["--data", str(data_yaml), "--out", str(path), "--quick"]
    assert main(["export", str(run), *arguments]) == 0
    return path


def _refused(capsys, *arguments, code=2):
    """Runs the command and returns the one sentence that it must end with."""
    assert main([str(argument) for argument in arguments]) == code
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    assert output.out == ""
    (sentence,) = [line for line in output.err.splitlines() if line.startswith("kseg: ")]
    return sentence


def test_help_imports_nothing_heavy():
    code = (
        "import sys, kseg.cli\n"
        "try: kseg.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'keras', 'numpy', 'tensorflow', 'PIL', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=10)


def test_evaluate_prints_the_scores_of_the_library(run, data_yaml, capsys):
    assert main(["evaluate", str(run), str(data_yaml), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    scores = kseg.evaluate(kseg.load(run), kseg.load_data(data_yaml))
    assert printed == json.loads(json.dumps(scores.to_json()))
    assert printed.keys() == {"mean_iou", "pixel_accuracy", "iou_per_class", "images"}
    assert printed["images"] == 4
    assert main(["evaluate", str(run), str(data_yaml)]) == 0
    assert f"{scores.mean_iou:.4f}" in capsys.readouterr().out


def test_evaluate_takes_files_and_other_geometries(run, tflite, data_yaml, capsys):
    main(["evaluate", str(tflite), str(data_yaml), "--json"])
    assert json.loads(capsys.readouterr().out)["mean_iou"] > 0.6
    for flag in ("--pad-to", "--crop-to"):
        size = ["96", "70"] if flag == "--pad-to" else ["50", "40"]
        assert main(["evaluate", str(run), str(data_yaml), "--json", flag, *size]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 4


def test_predict_writes_a_palette_label_map_and_an_overlay(
    run, tflite, data_yaml, tmp_path, capsys
):
    image = data_yaml.parent / "images/0.png"
    expected = kseg.predict(kseg.load(run), image)
    for model in (run, tflite):
        out = ["--out", str(tmp_path / "out"), "--overwrite"]
        assert main(["predict", str(model), str(image), *out]) == 0
        with Image.open(tmp_path / "out/0.labels.png") as picture:
            assert picture.mode == "P"
            assert (np.asarray(picture) == expected).mean() > 0.97
        with Image.open(tmp_path / "out/0.overlay.png") as picture:
            assert picture.size[0] == 160 and picture.size[1] > 64  # with the legend
    assert "ground" in capsys.readouterr().out


def test_export_prints_its_report(run, data_yaml, tmp_path, capsys):
    path = tmp_path / "h.tflite"
    arguments = ["--quantization", "float16", "--size", "64", "64", "--json"]
    assert main(["export", str(run), "--out", str(path), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recipe"]["name"] == "float16"
    assert report["classes"]["names"] == ["ground", "red", "blue"]
    assert path.with_name("h.labels.txt").exists()


def test_export_for_a_coral_board_ends_early_and_says_what_that_costs(
    run, data_yaml, tmp_path, capsys
):
    path = tmp_path / "coral.tflite"
    arguments = ["--data", str(data_yaml), "--target", "edgetpu", "--stride", "8"]
    assert main(["export", str(run), "--out", str(path), *arguments]) == 0
    printed = capsys.readouterr().out
    for text in (
        "1 x 8 x 8 x 3",
        "ops on the Edge TPU",
        "What other heads and strides cost",
        "Layers that quantization harms most",
        "ops off the accelerator",
        "coral.html",
    ):
        assert text in printed
    assert main(["evaluate", str(path), str(data_yaml), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_iou"] > 0.5
    image = data_yaml.parent / "images/0.png"
    assert main(["predict", str(path), str(image), "--out", str(tmp_path)]) == 0
    with Image.open(tmp_path / "0.labels.png") as picture:
        assert picture.size == (64, 64)


def test_a_file_alone_still_knows_its_classes(tflite, data_yaml, tmp_path, capsys):
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(tflite.read_bytes())
    image = data_yaml.parent / "images/0.png"
    assert main(["predict", str(alone), str(image), "--out", str(tmp_path)]) == 0
    assert "ground" in capsys.readouterr().out


def test_a_report_of_another_file_names_no_classes(tflite, tmp_path):
    shutil.copy(tflite, tmp_path / "street.tflite")
    report = {"classes": {"names": ["a", "b"], "colors": [[0, 0, 0]] * 2}, "working_size": None}
    for wrong in (report, report | {"working_size": [32]}):
        (tmp_path / "street.json").write_text(json.dumps(wrong))
        _, classes, _ = open_model(str(tmp_path / "street.tflite"))
        assert classes.names == ("ground", "red", "blue")  # of the metadata


def test_classes_in_another_order_are_warned_of(run, tflite, data_yaml, capsys):
    swapped = data_yaml.with_name("swapped.yaml")
    swapped.write_text(data_yaml.read_text().replace("red, blue", "blue, red"))
    for model in (run, tflite):
        for yaml, told in ((data_yaml, False), (swapped, True)):
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                assert main(["evaluate", str(model), str(yaml)]) == 0
            assert ("classes are compared by their place" in capsys.readouterr().err) == told


def test_benchmark_and_models_print_json(tflite, capsys):
    assert main(["benchmark", str(tflite), "--runs", "5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["files"][0]["ratio"] == 1
    assert printed["host"]["cores"] > 0
    assert main(["benchmark", str(tflite), str(tflite), "--runs", "2"]) == 0
    assert "peak MiB" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    assert "fcn8s" in json.loads(capsys.readouterr().out)["networks"]


def test_resume_of_a_finished_run_changes_nothing(run, data_yaml):
    before = (run / "history.csv").read_bytes()
    arguments = ["--backbone", "separable", "--weights", "none", "--batch-size", "4"]
    arguments += ["--epochs", "20", "--validate-every", "20", "--learning-rate", "0.01"]
    assert main(["train", str(data_yaml), *arguments, "--out", str(run), "--resume"]) == 0
    assert (run / "history.csv").read_bytes() == before


def test_weights_of_a_run_start_another_of_its_network(run, data_yaml, tmp_path, capsys):
    arguments = ["--weights", str(run), "--epochs", "1"]
    arguments += ["--learning-rate", "1e-5", "--out", str(tmp_path / "next")]
    arguments += ["--recipe", "color=0.1", "--recipe", "scale=[0.9, 1.1]"]
    assert main(["train", str(data_yaml), *arguments]) == 0
    record = json.loads((tmp_path / "next/run.json").read_text())
    assert record["spec"] == json.loads((run / "run.json").read_text())["spec"]
    recipe = record["recipe"]
    assert (recipe["color"], recipe["scale"], recipe["backbone_rate"]) == (0.1, [0.9, 1.1], 0.2)
    start = kseg.evaluate(kseg.load(run), kseg.load_data(data_yaml)).mean_iou
    went_on = kseg.evaluate(kseg.load(tmp_path / "next"), kseg.load_data(data_yaml)).mean_iou
    assert abs(start - went_on) < 0.05


def test_bad_input_is_one_sentence(run, data_yaml, tmp_path, capsys):
    image = data_yaml.parent / "images/0.png"
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    out = tmp_path / "new"
    cases = [
        (["train", "none.yaml", "--out", out], "none.yaml cannot be read: No such file"),
        (["train", data_yaml, "--out", out, "--model", "fcn9s"], "Did you mean 'fcn8s'?"),
        (["train", data_yaml, "--out", out, "--backbone", "resnet"], "backbone must be one of"),
        (["train", data_yaml, "--out", run, "--weights", "none"], "is not empty"),
        (["train", data_yaml, "--out", out, "--crop", "60", "64"], "Take 64 x 64"),
        (["train", data_yaml, "--out", out, "--recipe", "colour=0.1"], "got 'colour'."),
        (["train", data_yaml, "--out", out, "--recipe", "flip=no"], "flip must be True or False"),
        (
            ["train", data_yaml, "--out", out, "--recipe", "seed=1"],
            "got 'seed'; that has a flag, --seed",
        ),
        (
            ["train", data_yaml, "--out", out, "--epochs", "0"],
            "epochs must be a whole number from 1",
        ),
        (["evaluate", "nothing", data_yaml], "'nothing' is neither a run folder nor"),
        (["evaluate", tmp_path, data_yaml], "is not a kseg run folder"),
        (["evaluate", run, data_yaml, "--split", "test"], "has no split 'test'"),
        (["evaluate", run, data_yaml, "--pad-to", "10", "10"], "pad_to must be at least"),
        (["predict", run, "none.jpg"], "none.jpg: there is no such file"),
        (["predict", run, text], "cannot be read as an image"),
        (["predict", run, image, "--delegate", "x.so"], "--delegate is for .tflite files"),
        (["export", run, "--out", out / "x.tflite"], "int8 needs images"),
        (["export", run, "--data", data_yaml, "--out", "x.bin"], "must end in .tflite"),
    ]
    for arguments, sentence in cases:
        assert sentence in _refused(capsys, *arguments)
    assert not out.exists()


def test_bad_files_are_all_named_before_training(data_yaml, tmp_path, capsys, write_rectangles):
    yaml = write_rectangles(tmp_path / "data", [(64, 64)] * 6, val=2)
    (tmp_path / "data/images/0.png").write_bytes(b"text")
    Image.new("L", (64, 64), 77).save(tmp_path / "data/labels/1.png")
    Image.new("L", (32, 32)).save(tmp_path / "data/labels/2.png")
    out = tmp_path / "run"
    arguments = ["--backbone", "separable", "--weights", "none", "--out", str(out)]
    assert main(["train", str(yaml), *arguments]) == 2
    said = capsys.readouterr().err
    assert "3 files cannot be used" in said
    assert "0.png: it cannot be read as an image" in said
    assert "1.png: it holds ids that names does not list: 77 (4096 pixels)" in said
    assert "2.png: it is 32 x 32 pixels and its image 2.png is 64 x 64" in said
    assert not out.exists()


def test_a_damaged_file_ends_with_4(tflite, data_yaml, tmp_path, capsys):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tflite.read_bytes()[:5000])
    assert "is damaged" in _refused(capsys, "evaluate", damaged, data_yaml, code=4)
    assert "is damaged" in _refused(capsys, "benchmark", tflite, damaged, code=4)


def test_a_missing_delegate_ends_with_2(tflite, data_yaml, capsys):
    image, missing = data_yaml.parent / "images/0.png", ["--delegate", "libnone.so"]
    for arguments in (["predict", tflite, image], ["benchmark", tflite]):
        assert "libnone.so cannot be loaded" in _refused(capsys, *arguments, *missing)


def test_a_failed_gate_ends_with_3(data_yaml, tmp_path, capsys):
    run = tmp_path / "untrained"
    arguments = ["--backbone", "separable", "--weights", "none", "--epochs", "1"]
    arguments += ["--learning-rate", "1e-9", "--out", str(run)]
    assert main(["train", str(data_yaml), *arguments]) == 0
    capsys.readouterr()
    out = tmp_path / "x.tflite"
    sentence = _refused(capsys, "export", run, "--data", data_yaml, "--out", out, code=3)
    assert "nothing can be certified" in sentence or "Nothing was written" in sentence
    assert not out.exists()


def test_interrupt_ends_with_130(monkeypatch, data_yaml, capsys):
    def stop(value):
        raise KeyboardInterrupt

    monkeypatch.setattr("kseg.cli.models.say", stop)
    assert main(["models"]) == 130


def test_each_kind_of_error_has_its_exit_code_and_bugs_a_traceback(monkeypatch):
    cases = [
        (OSError(28, "No space left on device"), 5),
        (MemoryError(), 5),
        (type("ResourceExhaustedError", (Exception,), {})("TensorFlow's"), 5),
        (TrainingDivergedError("The loss is nan."), 3),
        (GateError("Mean IoU falls."), 3),
    ]
    for error, code in cases:
        monkeypatch.setattr("kseg.cli.models.say", lambda text, error=error: _raise(error))
        assert main(["models"]) == code
    monkeypatch.setattr("kseg.cli.models.say", lambda text: _raise(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["models"])


def _raise(error):
    raise error


@pytest.mark.parametrize("given", [{}, {"TF_ENABLE_ONEDNN_OPTS": "0"}])
def test_tensorflow_uses_onednn_on_x86_unless_told_otherwise(given):
    chosen = "1" if platform.machine() in ("x86_64", "AMD64") else "None"
    used = given.get("TF_ENABLE_ONEDNN_OPTS", chosen)
    environment = {**os.environ, **given}
    if not given:
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    code = """import os; from kseg.cli import run
try: run()
finally: print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))"""
    command = [sys.executable, "-c", code, "--version"]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=True)
    assert done.stdout.split()[-1].decode() == used


def test_a_report_says_how_the_file_was_read_and_what_its_classes_are_called(
    tflite, data_yaml, tmp_path
):
    swapped = data_yaml.with_name("other.yaml")
    swapped.write_text(data_yaml.read_text().replace("red, blue", "blue, red"))
    words = ["--kernels", "reference", "--report", str(tmp_path / "page")]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["evaluate", str(tflite), str(swapped), *words]) == 0
    page = (tmp_path / "page/report.html").read_text()
    assert "--kernels" in page and "reference" in page
    assert "compared by their place" in page and "ground, red, blue" in page
