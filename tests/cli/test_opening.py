"""What the command line knows of a .tflite file, and what it believes."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from export import load_tflite
from kseg.cli import main
from kseg.cli.opening import open_model
from kseg.models.trained import best_int8

NAMES = {"names": ["sky", "road", "car"], "colors": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}


@pytest.fixture
def street(write_graph, tmp_path):
    """X.tflite, a file of 8 x 8 images that LiteRT runs."""
    image = ((1, 8, 8, 3), "float32", None, None)
    path = write_graph({"x": image, "y": image}, [("RELU", 1, ["x"], ["y"], {})])
    return path.rename(tmp_path / "street.tflite")


def _report(path, size=(6, 6), **changed):
    """Writes the report that lies beside a file, as an export does."""
    path.with_suffix(".json").unlink(missing_ok=True)
    with load_tflite(path) as file:
        ends = {"input": asdict(file.input), "output": asdict(file.output)}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    report = {"file": {"sha256": digest}, "classes": NAMES, "working_size": size, **ends, **changed}
    path.with_suffix(".json").write_text(json.dumps(report))


def _facts(path):
    model, classes, size = open_model(str(path))
    model.close()
    return classes.names, size


def test_the_report_of_a_file_names_its_classes(street):
    assert _facts(street) == (("class 0", "class 1", "class 2"), None)
    _report(street)
    assert _facts(street) == (tuple(NAMES["names"]), (6, 6))


def test_the_report_of_another_file_is_warned_of_and_not_believed(street):
    _report(street, file={"sha256": "0" * 64})
    with pytest.warns(UserWarning, match=r"street\.json is the report of another file than"):
        assert _facts(street) == (("class 0", "class 1", "class 2"), None)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"file": 5}', "[" * 10**5])
def test_what_is_no_report_says_nothing(street, text):
    street.with_suffix(".json").write_text(text)
    assert _facts(street)[1] is None


def test_a_compiled_file_is_known_by_its_ends(street, tmp_path):
    """X_edgetpu.tflite has other bytes than X.tflite, and the same input and output."""
    _report(street)
    compiled = tmp_path / "street_edgetpu.tflite"
    compiled.write_bytes(street.read_bytes() + b"compiled")
    assert _facts(compiled) == (tuple(NAMES["names"]), (6, 6))
    content = street.read_bytes()
    street.write_bytes(content + b"newer")  # X.tflite is not the one of the report any more
    with pytest.warns(UserWarning, match="the report of another file"):
        assert _facts(compiled)[1] is None
    street.unlink()
    assert _facts(compiled)[1] == (6, 6)
    report = json.loads(street.with_suffix(".json").read_text())
    report["output"]["scale"] = 0.25
    street.with_suffix(".json").write_text(json.dumps(report))
    with pytest.warns(UserWarning, match="the report of another file"):
        assert _facts(compiled)[1] is None


def test_a_working_size_beyond_the_file_and_names_of_another_count_are_not_used(street):
    _report(street, size=(30000, 30000))
    with pytest.warns(UserWarning, match="a working size of 30000 x 30000; that is not used"):
        assert _facts(street) == (tuple(NAMES["names"]), None)
    for wrong in ((0, 0), (-1, 5), (5,)):
        _report(street, size=wrong)
        assert _facts(street) == (tuple(NAMES["names"]), None)
    _report(street, classes={key: values[:2] for key, values in NAMES.items()})
    with pytest.warns(UserWarning, match="gives 3 classes, and the report beside it names 2"):
        assert _facts(street)[0][0] == "class 0"


def test_the_best_file_of_a_data_set_is_used_as_its_record_says():
    """That of the nuclei sees images at their own size."""
    for name in ("nuclei", "camvid"):
        model, _, size = open_model(name)
        model.close()
        assert size == best_int8(name).working_size == model.kseg_size


def test_a_file_exported_under_the_name_of_a_compiled_one_has_its_own_report(street):
    compiled = street.rename(street.with_name("street_edgetpu.tflite"))
    _report(compiled)
    assert _facts(compiled) == (tuple(NAMES["names"]), (6, 6))


def test_options_of_files_are_passed_on_and_refused_elsewhere(street, tmp_path):
    model, _, _ = open_model(str(street), normalization=["0..1"], kernels="plain", output="y")
    with model:
        image = np.full((1, 8, 8, 3), 255, "float32")
        np.testing.assert_allclose(model(image), 1)
        assert model.kernels == "plain"
    for option in ({"normalization": "0..1"}, {"kernels": "plain"}, {"output": "y"}):
        (name,) = option
        with pytest.raises(ValueError, match=rf"--{name} is for \.tflite files"):
            open_model(str(tmp_path), **option)


def _predict(path, tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), "uint8")).save(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(["predict", str(path), str(image), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("size", [[0, 0], [-5, 5]])
def test_damaged_metadata_end_in_a_sentence_and_4(street, tmp_path, capsys, size):
    with zipfile.ZipFile(street, "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc")
        archive.writestr("kseg.json", json.dumps({"colors": NAMES["colors"], "working_size": size}))
    assert _predict(street, tmp_path) == 4
    assert "working_size must be two sizes" in capsys.readouterr().err


def test_a_class_map_that_says_nothing_is_labelled(write_graph, tmp_path, capsys):
    """Its classes are numbered, as far as label maps go."""
    image = ((1, 8, 8, 1), "float32", None, None)
    path = write_graph({"x": image, "y": image}, [("FLOOR", 1, ["x"], ["y"], {})])
    assert _predict(path, tmp_path) == 0
    assert "class 0 100 %" in capsys.readouterr().out


def test_a_class_map_that_names_its_classes_keeps_them(write_graph):
    """The data's number of classes is for a file that says nothing."""
    image = ((1, 8, 8, 1), "float32", None, None)
    path = write_graph({"x": image, "y": image}, [("FLOOR", 1, ["x"], ["y"], {})])
    assert _classes(path) == 5
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc")
    assert _classes(path) == 3


def _classes(path):
    model, classes, _ = open_model(str(path), num_classes=5)
    model.close()
    assert classes.num_classes == model.num_classes
    return model.num_classes


def test_a_name_that_is_no_utf_8(street, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.tflite"
    os.rename(street, path)
    for command in ([b"check", path], [b"benchmark", path, b"--runs", b"1"]):
        code = b"from kseg.cli import run; run()"
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
        done = subprocess.run(
            [os.fsencode(sys.executable), b"-c", code, *command],
            capture_output=True, env=environment, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        assert b"Traceback" not in done.stderr
