import json
import shutil
import warnings
from dataclasses import replace

import kseg
from export.tflite.metadata import read_fact, read_metadata
from kseg.cli import main
from kseg.cli.opening import open_model
from kseg.models import TRAINED
from kseg.models.trained import packaged
from kseg.training.run import saw_val


def test_shipped_files_say_what_their_records_say():
    """Those of others copy a file out of the package and have nothing but what is in it."""
    for record in TRAINED.values():
        path = packaged(record.int8_file, record.int8_sha256)
        assert read_metadata(str(path)) == (record.classes, record.working_size), record.file
        assert (read_fact(path, "things") or ()) == record.things


def test_evaluate_says_when_a_trained_model_has_seen_the_images(
    run, data_yaml, monkeypatch, capsys
):
    data = kseg.load_data(data_yaml)
    record = replace(TRAINED["fcn8s_camvid"], classes=data.classes, final_commands=("kseg train",))
    monkeypatch.setitem(TRAINED, "seen", record)
    opened = kseg.load(run), data.classes, None
    monkeypatch.setattr("kseg.cli.loading.open_model", lambda name, **_: opened)
    told = "seen was trained on validation images too (--with-val); if they are those of"
    cases = (("seen", "val", True), ("seen", "train", False), (str(run), "val", False))
    for name, split, seen in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert main(["evaluate", name, str(data_yaml), "--split", split]) == 0
        assert (told in capsys.readouterr().err) == seen


def test_last_training_takes_the_validation_images_too(run, data_yaml, tmp_path, capsys):
    arguments = ["--backbone", "separable", "--weights", str(run), "--epochs", "1", "--with-val"]
    assert main(["train", str(data_yaml), *arguments, "--out", str(tmp_path / "final")]) == 0
    printed = capsys.readouterr().out
    assert "best weights are in" in printed and "mean IoU" not in printed
    record = json.loads((tmp_path / "final/run.json").read_text())
    assert record["recipe"]["with_val"] is True
    # What goes on from it has seen them as well, and says so when it is judged.
    arguments[3:] = [str(tmp_path / "final"), "--epochs", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["evaluate", str(tmp_path / "final"), str(data_yaml)]) == 0
        assert "final was trained on validation images too" in capsys.readouterr().err
        assert main(["train", str(data_yaml), *arguments, "--out", str(tmp_path / "after")]) == 0
        capsys.readouterr()
        assert main(["evaluate", str(tmp_path / "after"), str(data_yaml)]) == 0
        assert "after was trained on validation images too" in capsys.readouterr().err
    model, data = kseg.load(tmp_path / "after"), kseg.load_data(data_yaml)
    other = replace(data, classes=replace(data.classes, names=("x", "y", "z")))
    recipe = kseg.Recipe(epochs=1, batch_size=4)
    assert not saw_val(kseg.fit(model, other, recipe, run_dir=tmp_path / "other"))


def test_a_run_folder_goes_before_a_trained_model_of_its_name(run, monkeypatch, capsys):
    shutil.copytree(run, run.parent / "camvid")
    shutil.copytree(run, run.parent / "fcn8s_camvid")
    monkeypatch.chdir(run.parent)
    for name in ("camvid", "fcn8s_camvid"):
        model, classes, _ = open_model(name)
        assert classes.num_classes == 3 and model.output_shape[-1] == 3
        assert main(["describe", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["params"] == model.count_params()
