"""Files that hold several functions: the one that is named is run, and none is guessed."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from export import ModelFileError, load_tflite
from export.proof.runtimes import Subject
from export.proof.trials import prove
from export.tflite.benchmark import benchmark
from export.tflite.reader import read_model
from kseg.cli import main

PHOTO = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
SPEC = [tf.TensorSpec((1, 8, 8, 3), name="x")]


class _Functions(tf.Module):
    @tf.function(input_signature=SPEC)
    def low(self, x):
        return {"darkest": -x}

    @tf.function(input_signature=SPEC)
    def high(self, x):
        return {"odd": x - 300, "best": x * 2}

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), name="x")])
    def any_size(self, x):
        return {"all": x * 3}


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """A file of three functions, of which the first graph is that of "low"."""
    folder = tmp_path_factory.mktemp("functions")
    module = _Functions()
    signatures = {"low": module.low, "more": module.high, "nine": module.any_size}
    tf.saved_model.save(module, folder / "saved", signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "saved"), signature_keys=list(signatures)
    )
    path = folder / "functions.tflite"
    path.write_bytes(converter.convert())
    return path


NAMES = r"functions\.tflite has 3 signatures, functions of their own: low, more, nine; say which"


def test_none_of_several_functions_is_guessed(functions, tmp_path, capsys):
    with pytest.raises(ModelFileError, match=NAMES + r" one is meant \(--signature NAME\)"):
        load_tflite(functions, normalization="0..255")
    with pytest.raises(ModelFileError, match=NAMES):
        benchmark([functions])
    with pytest.raises(ValueError, match=r"has no signature 'none'; it has low, more, nine"):
        load_tflite(functions, signature="none")
    assert main(["verify", str(functions)]) == 4
    assert "say which one is meant" in capsys.readouterr().err


def test_the_named_function_is_run(functions):
    with load_tflite(functions, normalization="0..255", signature="low") as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), PHOTO.argmin(-1))
    for kernels in ("default", "plain", "reference"):
        with load_tflite(
            functions, normalization="0..255", signature="more", output="best", kernels=kernels
        ) as file:
            np.testing.assert_array_equal(kseg.predict(file, PHOTO), PHOTO.argmax(-1))
            np.testing.assert_array_equal(file(np.float32(PHOTO[None]))[0], PHOTO * 2.0)
    with pytest.raises(ModelFileError, match=r"has 2 outputs: 0: (odd|best) .*, 1: (odd|best) "):
        load_tflite(functions, signature="more")
    assert read_model(functions, "more").signature.graph == 1


def test_functions_are_timed(functions):
    assert benchmark([functions], runs=1, signature="more")[0]["inputs"] == [[1, 8, 8, 3]]
    timed = benchmark([functions], runs=1, signature="nine", size=(16, 24))[0]
    assert timed["inputs"] == [[1, 16, 24, 3]]


def test_runtimes_that_run_the_first_function_alone_refuse(functions):
    options = {"normalization": "0..255", "signature": "more", "output": "best"}
    subject = Subject(functions, [PHOTO], options=options)
    found = prove(subject, ["xnnpack", "reference", "compiled"])
    assert [trial.status for trial in found] == ["passed", "reference", "refused"]
    assert "runs the first signature" in found[2].reason


def test_the_command_names_it(functions, tmp_path, capsys):
    Image.fromarray(PHOTO).save(tmp_path / "x.png")
    command = ["predict", str(functions), str(tmp_path / "x.png"), "--out", str(tmp_path / "out")]
    command += ["--normalization", "0..255", "--save", "labels"]
    assert main(command) == 4
    assert main([*command, "--signature", "more", "--output", "best"]) == 0
    with Image.open(tmp_path / "out/x.ids.png") as labels:
        np.testing.assert_array_equal(labels, PHOTO.argmax(-1))
    capsys.readouterr()
    assert main(["benchmark", str(functions), "--signature", "low", "--runs", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 1


@pytest.mark.filterwarnings("always")
def test_a_check_says_whose_ops_it_looks_at(functions, capsys):
    assert main(["check", str(functions), "--json"]) == 0
    said = capsys.readouterr().err
    assert "has the signatures low, more, nine; the ops are those of low" in said


def test_a_file_of_one_function_needs_no_name(made):
    path = made(lambda x: x * 2)
    with pytest.raises(ValueError, match="has no signature 'x'; it has"):
        load_tflite(path, normalization="0..255", signature="x")
    (only,) = read_model(path).signatures
    with load_tflite(path, normalization="0..255", signature=only.name) as file:
        np.testing.assert_array_equal(kseg.predict(file, PHOTO), PHOTO.argmax(-1))
