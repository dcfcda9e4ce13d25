"""Pages of files that kseg did not make: what they are told, and that the page does as told."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import export.web
from export import load_tflite
from export.web.facts import WebModel, read_facts
from kseg.classes import Classes
from kseg.cli import main

ABC = Classes(("a", "b", "c"))
IMAGE = (1, 8, 8, 3)
PHOTO = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
WORKER = Path(export.web.__file__).with_name("static") / "worker.js"


@pytest.fixture
def uint8(tmp_path):
    """A function that converts a function of an image in -2..3 to a file of bytes alone."""

    def make(function):
        module = tf.Module()
        module.call = tf.function(function, input_signature=[tf.TensorSpec(IMAGE)], autograph=False)
        concrete = [module.call.get_concrete_function()]
        converter = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        seen = np.linspace(-2.2, 2.8, 3 * 192, dtype="float32").reshape(3, *IMAGE)
        converter.representative_dataset = lambda: ([image] for image in seen)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        path = tmp_path / "bytes.tflite"
        path.write_bytes(converter.convert())
        return path

    return make


@pytest.fixture
def run_worker():
    """A function that calls a function of the page's script with node: (name, *arguments)."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: apt-get install nodejs")

    def run(name, *arguments):
        script = (
            "globalThis.self = globalThis; self.location = { origin: 'http://x' };"
            f"(0, eval)(require('fs').readFileSync({json.dumps(str(WORKER))}, 'utf8'));"
            f"const [values, model] = {json.dumps(arguments)};"
            f"console.log(JSON.stringify(Array.from({name}(Uint8Array.from(values), model))));"
        )
        done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise ValueError(done.stderr)
        return json.loads(done.stdout)

    return run


def test_a_guessed_range_is_warned_of(made, tmp_path, capsys):
    path = made(lambda x: x * 2)
    with pytest.warns(UserWarning, match="does not say what numbers it wants.*--normalization"):
        facts = read_facts(WebModel(path, ABC), "litert")
    assert (facts["mean"], facts["std"]) == ([0.0] * 3, [1.0] * 3)
    facts = read_facts(WebModel(path, ABC, normalization="0..255"), "litert")  # no warning
    assert (facts["mean"], facts["std"]) == ([0.0] * 3, [1.0] * 3)
    facts = read_facts(WebModel(path, ABC, normalization="-1..1"), "litert")
    assert (facts["mean"], facts["std"]) == ([127.5] * 3, [127.5] * 3)


@pytest.mark.filterwarnings("always")
def test_the_verb_takes_the_range_and_the_output(made, tmp_path, capsys):
    path = made(lambda x: {"low": -x, "high": x * 2})
    command = ["web", str(path), "--out", str(tmp_path / "page")]
    assert main(command) == 4
    assert "has 2 outputs" in capsys.readouterr().err
    assert main([*command, "--output", "high"]) == 0
    assert "does not say what numbers it wants" in capsys.readouterr().err
    for range_ in (["-1..1"], ["127.5", "127.5"]):
        assert main([*command, "--output", "high", "--normalization", *range_]) == 0
        assert "does not say" not in capsys.readouterr().err
        (facts,) = json.loads((tmp_path / "page/models.json").read_text())["models"]
        assert (facts["mean"], facts["std"]) == ([127.5] * 3, [127.5] * 3)
        with load_tflite(path, output="high") as file:
            assert facts["output"] == file.output_numbers["logits"]
    assert main(["web", "camvid", "--out", str(tmp_path / "x"), "--normalization", "0..1"]) == 2
    assert "--normalization is for .tflite files of others" in capsys.readouterr().err


def test_bytes_become_what_the_user_names(uint8, run_worker):
    path = uint8(lambda x: x * 2)
    assert "byteValues" not in read_facts(WebModel(path, ABC), "litert")  # as apps do
    facts = read_facts(WebModel(path, ABC, normalization="imagenet"), "litert")
    with load_tflite(path, normalization="imagenet") as file:
        expected = file.quantize(np.float32(PHOTO[None]))
    assert run_worker("toNumbers", PHOTO.ravel().tolist(), facts) == expected.ravel().tolist()


def test_a_quantized_class_map_is_read_as_ids(uint8, run_worker):
    path = uint8(lambda x: tf.cast(tf.argmax(x * [1.0, 2.0, -1.0], -1), tf.float32))
    facts = read_facts(WebModel(path, ABC), "litert")
    assert facts["head"] == "argmax" and facts["outputScale"] == pytest.approx(2 / 255)
    values = run_worker("dequantize", [0, 127, 128, 255], facts)
    np.testing.assert_allclose(values, [0, 1, 1, 2], atol=0.01)
    scores = run_worker("((values, model) => oneHot(dequantize(values, model), model))",
                        [0, 127, 128, 255], facts)  # fmt: skip
    np.testing.assert_array_equal(np.reshape(scores, (4, 3)).argmax(1), [0, 1, 1, 2])
    with pytest.raises(ValueError, match="The network gives the class 3, and its classes are 3"):
        run_worker("oneHot", [0, 3], facts)


def test_mediapipe_takes_one_output_and_the_files_own_range(made):
    path = made(lambda x: {"low": -x, "high": x * 2})
    model = WebModel(path, ABC, normalization="0..1", output="high")
    with pytest.raises(ValueError, match="has several outputs, and MediaPipe takes files of one"):
        read_facts(model, "mediapipe")
    model = WebModel(made(lambda x: x * 2), ABC, normalization="0..1")
    with pytest.raises(ValueError, match="MediaPipe takes the normalization that the metadata"):
        read_facts(model, "mediapipe")
