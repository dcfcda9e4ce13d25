"""Files in several runtimes: what agrees passes, the rest fails, what is missing is named."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

import kseg
from export import ExportOptions, convert, float32, load_tflite
from export.errors import GateError, ModelFileError
from export.proof import runtimes, trials
from export.proof.runtimes import RUNTIMES, Runtime, Subject
from export.proof.trials import agreement, check_trials, prove, prove_export
from export.tflite import process
from kseg.cli.app import main
from kseg.cli.verify import RuntimeName

IN_PROCESS = ("xnnpack", "reference", "compiled", "micro", "mediapipe")


@pytest.fixture(scope="module")
def images(data):
    return data.images("val", 3)


@pytest.fixture
def planted(monkeypatch):
    """A function that puts a runtime of its own into the table: (name, run, **more)."""

    def plant(name, run, **more):
        monkeypatch.setitem(RUNTIMES, name, Runtime(name, f"the {name} runtime", run, **more))
        return name

    return plant


def wrong(subject):
    """Labels every pixel with the class after its own."""
    with load_tflite(subject.path) as file:
        return [(kseg.predict(file, image) + 1) % 3 for image in subject.images]


def test_the_command_knows_every_runtime():
    assert get_args(RuntimeName) == tuple(RUNTIMES)


def test_every_runtime_that_is_there_labels_an_int8_file_alike(int8, trained, images):
    found = prove(Subject(int8.path, images), IN_PROCESS, model=trained, judged=True)
    for trial in found:
        if RUNTIMES[trial.runtime].missing():
            assert (trial.status, trial.images) == ("not run", 0)
            continue
        assert trial.status == "passed", trial
        assert trial.like_kernels >= 0.99 and trial.like_model >= 0.97 and trial.images == 3


def test_a_float_file_and_no_model(trained, images, tmp_path):
    path = tmp_path / "float.tflite"
    convert(trained, float32(), input_size=(64, 64), path=path)
    found = prove(Subject(path, images), IN_PROCESS)
    ran = [trial for trial in found if trial.status != "not run"]
    assert len(ran) >= 3
    for trial in ran:
        if trial.runtime == "reference":
            assert (trial.status, trial.like_kernels) == ("reference", None)
            continue
        assert (trial.status, trial.like_model) == ("passed", None)
        assert trial.like_kernels >= 0.9999


def test_one_runtime_alone_is_held_against_the_reference_kernels(trained, images, tmp_path):
    path = tmp_path / "float.tflite"
    convert(trained, float32(), input_size=(64, 64), path=path)
    (trial,) = prove(Subject(path, images), ["xnnpack"])
    assert trial.status == "passed" and trial.like_kernels >= 0.99


def test_what_nobody_judged_passes_by_the_model_alone(trained, images, int8):
    """That it agrees with itself in other kernels says nothing."""

    def other(pictures):
        return np.roll(np.asarray(trained(pictures)), 1, axis=-1)

    with load_tflite(int8.path) as file, pytest.warns(UserWarning, match="is not right in every"):
        trials = prove_export(
            file, other, images, ExportOptions(), classes=None, judged=False, certifying=False
        )
    assert {trial.status for trial in trials} == {"failed"}


def test_wrong_labels_fail(int8, trained, images, planted):
    names = ("xnnpack", planted("wrong", wrong))
    right, bad = prove(Subject(int8.path, images), names, model=trained, judged=True)
    assert (right.status, bad.status) == ("passed", "failed")
    assert bad.like_kernels < 0.01  # those that XNNPACK itself labels otherwise
    with pytest.raises(GateError, match=r"shapes.tflite is not right in every runtime.*the wrong"):
        check_trials([right, bad], int8.path)
    check_trials([right], int8.path)


def test_reference_kernels_that_label_wrongly_fail_and_prove_no_other(
    int8, trained, images, planted
):
    names = ("xnnpack", planted("reference", wrong), planted("other", wrong))
    right, *bad = prove(Subject(int8.path, images), names, model=trained, judged=True)
    assert right.status == "passed"
    assert [trial.status for trial in bad] == ["failed", "failed"]


def test_an_export_with_wrong_labels_somewhere_is_not_written(
    trained, recipe, data, planted, tmp_path
):
    path = tmp_path / "new.tflite"
    options = ExportOptions(runtimes=("xnnpack", planted("wrong", wrong)))
    with pytest.raises(GateError, match=r"the wrong runtime: labels 0\.\d+ of the pixels like"):
        convert(trained, recipe, input_size=(64, 64), path=path, validation=data, options=options)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_certifies_nothing_warns_of_them(trained, recipe, planted, tmp_path):
    options = ExportOptions(runtimes=("xnnpack", planted("wrong", wrong)))
    path = tmp_path / "x.tflite"
    with pytest.warns(UserWarning, match=r"x\.tflite is not right in every runtime"):
        result = convert(trained, recipe, input_size=(64, 64), path=path, options=options)
    states = {trial["runtime"]: trial["status"] for trial in result.report["runtimes"]}
    assert not result.certified and states["wrong"] == "failed"


def test_an_export_says_in_which_runtimes_its_file_ran(int8):
    quick = int8.report["runtimes"]
    assert [(t["runtime"], t["status"]) for t in quick] == [
        ("xnnpack", "passed"),
        ("reference", "passed"),
    ]
    assert min(t["like_kernels"] for t in quick) >= 0.99
    page = int8.path.with_suffix(".html").read_text()
    assert "Runtimes that ran the file" in page and "LiteRT, reference kernels" in page


def test_rounding_that_moves_labels_is_judged_by_labelled_images(int8, images, data, monkeypatch):
    # A model that labels otherwise than its file: 4 % of the pixels, all of them wrongly.
    with load_tflite(int8.path) as file:
        labels = [kseg.predict(file, image) for image in images]

        def other(batch):
            logits = np.array(file(batch))
            logits[:, :3, :, :] = logits[:, :3, :, ::-1] * [1, -1, 1]
            return logits

        subject = Subject(int8.path, images)
        (strict,) = prove(subject, ("reference",), model=other)
        assert strict.status == "failed" and 0.9 < strict.like_model < 0.99
        assert strict.reason == f"labels {strict.like_model:.4f} of the pixels like the model"
        (judged,) = prove(subject, ("reference",), model=other, label_maps=labels)
        assert judged.status == "passed"  # the file is right where the model is not
        worse = [(a + 1) % 3 for a in labels]
        for label_map, found in zip(worse, labels, strict=True):
            label_map[4:] = found[4:]
        predicted = [kseg.predict(other, image) for image in images]
        (bad,) = prove(subject, ("reference",), model=other, label_maps=predicted)
        assert bad.status == "failed"  # the model is right, and the file is not


def test_agreement_counts_pixels():
    a, b = np.zeros((2, 4), "uint8"), np.zeros((2, 2), "uint8")
    other = a.copy()
    other[0, :3] = 1
    assert agreement([a, b], [other, b]) == 9 / 12
    assert agreement([a], [b]) == 0  # of another size


def test_what_is_missing_is_named_and_never_passed(int8, images, planted, monkeypatch, capsys):
    name = planted("absent", wrong, needs=("no_such_module",), install="pip install absent")
    (trial,) = prove(Subject(int8.path, images), (name,))
    assert (trial.status, trial.reason, trial.images) == ("not run", "pip install absent", 0)
    check_trials([trial], int8.path, all_must_run=True)
    missing = replace(RUNTIMES["mediapipe"], needs=("no_such_module.inside",))
    monkeypatch.setitem(RUNTIMES, "mediapipe", missing)
    assert main(["verify", str(int8.path), "--runtime", "mediapipe"]) == 2
    assert "--runtime mediapipe is not installed: pip install mediapipe" in capsys.readouterr().err
    absent = replace(missing, needs=(), programs=(("no-such-browser", "nor-this"),))
    assert absent.missing() == "pip install mediapipe"


def test_a_runtime_that_refuses_a_file_is_said(int8, images, planted):
    def refuse(subject):
        raise ModelFileError("It has no such op.")

    (trial,) = prove(Subject(int8.path, images), (planted("picky", refuse),))
    assert (trial.status, trial.reason) == ("refused", "It has no such op.")
    check_trials([trial], int8.path)
    with pytest.raises(GateError, match="the picky runtime: It has no such op"):
        check_trials([trial], int8.path, all_must_run=True)


def test_a_file_that_xnnpack_refuses_is_not_called_run_by_it(int8, images, monkeypatch):
    kind = type("Plain", (runtimes.TFLiteModel,), {})
    monkeypatch.setattr(runtimes, "TFLiteModel", kind)
    loaded = kind.__init__

    def plain(self, path, **options):
        loaded(self, path, **options | {"kernels": "plain"})

    monkeypatch.setattr(kind, "__init__", plain)
    (trial,) = prove(Subject(int8.path, images), ("xnnpack",))
    assert (trial.status, trial.images) == ("refused", 0)
    assert "XNNPACK refuses the file" in trial.reason


def test_slow_kernels_are_left_out_of_an_export_and_named(int8, trained, images, monkeypatch):
    monkeypatch.setattr(trials, "_MOST_MACS", 1)
    with load_tflite(int8.path) as file:
        found = trials.prove_export(
            file, trained, images, ExportOptions(), classes=None, judged=True
        )
    assert [(t.runtime, t.status) for t in found] == [
        ("xnnpack", "passed"),
        ("reference", "not run"),
    ]
    assert "`kseg verify` runs it" in found[1].reason


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A function that adds a runtime by the text of its script."""
    monkeypatch.setattr(process, "_ENGINES", tmp_path / "engines")
    (tmp_path / "engines").mkdir()

    def add(name, text):
        (tmp_path / f"engines/{name}.py").write_text(text)
        return name

    return add


def test_a_crash_of_another_runtime_is_an_error_of_the_file(int8, engine):
    crash = "import os\ndef load(path, inputs, outputs):\n    return lambda values: os.abort()\n"
    with load_tflite(int8.path, kernels=engine("fragile", crash)) as file:
        with pytest.raises(ModelFileError, match=r"crashed the fragile runtime \(signal 6\)"):
            kseg.predict(file, np.zeros((64, 64, 3), "uint8"))
    broken = "def load(path, inputs, outputs):\n    raise ValueError('no such op')\n"
    with pytest.raises(ModelFileError, match=r"broken cannot run .*no such op"):
        load_tflite(int8.path, kernels=engine("broken", broken))
    with pytest.raises(ValueError, match=r"kernels must be one of default, .*fragile; got 'none'"):
        load_tflite(int8.path, kernels="none")


def test_verify_prints_a_table_and_ends_with_the_gates_code(int8, data, planted, capsys, tmp_path):
    command = ["verify", str(int8.path), "--data", str(data.source), "--count", "2"]
    names = ["--runtime", "xnnpack", "compiled"]
    assert main([*command, *names]) == 0
    said = capsys.readouterr().out
    assert "LiteRT, CompiledModel" in said and "no Keras model was named" in said
    assert main([*command, "--json", *names]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reference"] == "LiteRT's reference kernels" and found["min_agreement"] == 0.99
    assert [trial["status"] for trial in found["runtimes"]] == ["passed", "passed"]
    planted("compiled", wrong)
    assert main([*command, *names]) == 3
    captured = capsys.readouterr()
    assert "failed" in captured.out
    assert "shapes.tflite is not right in every runtime" in captured.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "fcn8s_camvid"], "--model is compared on real images; name a data set"),
        (["--count", "0"], "--count must be 1 or more; got 0"),
        (["--runtime", "none"], "none"),
    ],
)
def test_bad_arguments_are_a_sentence(int8, more, said, capsys):
    assert main(["verify", str(int8.path), *more]) == 2
    assert said in capsys.readouterr().err


def test_verify_names_what_is_no_file(capsys):
    assert main(["verify", "nothing"]) == 2
    assert "nothing is neither a .tflite file nor the name of a trained model" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_browsers_label_alike(int8, images, browser, runtime_packages, data):
    names = ("xnnpack", "litert-js", "mediapipe-js")
    subject = Subject(int8.path, images, classes=data.classes)
    for trial in prove(subject, names):
        assert trial.status == "passed" and trial.like_kernels >= 0.99, trial


@pytest.fixture
def runtime_packages():
    """Skips where a browser's runtimes cannot be had."""
    if missing := RUNTIMES["litert-js"].missing():
        pytest.skip(missing)
