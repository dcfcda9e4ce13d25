"""What accelerators and other runtimes make of exported files."""

import importlib.util
import inspect
import os
import stat

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from export import ExportOptions, GateError, convert, load_tflite
from export.devices.edgetpu.checker import check
from export.devices.ethos import run_vela
from export.graph.rewrites import for_device
from export.targets import TARGETS
from export.tflite.reader import read_model
from kseg.layers import Resize
from kseg.models import MODELS

needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason="ethos-u-vela is not installed"
)


@pytest.fixture(scope="module")
def troublesome():
    """A network with every layer that becomes an op which the Edge TPU compiler cannot parse."""
    image = keras.Input((64, 64, 3), name="image")
    x = layers.Rescaling(1 / 128, -127 / 128)(image)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", bias_initializer="ones")(x)
    x = layers.Conv2D(8, 3, 2, padding="same", groups=2, bias_initializer="ones")(x)
    for most in (6.0, None):
        x = layers.Conv2DTranspose(8, 4, 2, "same", bias_initializer="ones")(x)
        x = layers.ReLU(most)(x)
        x = layers.MaxPooling2D()(x)
    return keras.Model(image, layers.Conv2D(3, 1)(Resize(4)(layers.UpSampling2D(1)(x))))


def test_what_the_edge_tpu_compiler_cannot_parse_is_rewritten(
    troublesome, recipe, tmp_path, monkeypatch
):
    paths = {target: tmp_path / f"{target}.tflite" for target in ("android", "edgetpu")}
    for target, path in paths.items():
        convert(troublesome, recipe, target=target, input_size=(64, 64), path=path)
    fused, unfused = (read_model(paths[target]) for target in ("android", "edgetpu"))
    versions = {op.version for op in fused.ops if op.name == "TRANSPOSE_CONV"}
    assert versions == {4}  # else there was nothing to do
    assert {op.version for op in unfused.ops if op.name == "TRANSPOSE_CONV"} == {3}
    assert {op.version for op in unfused.ops if op.name == "CONV_2D"} == {3}
    assert check(paths["edgetpu"]).compiles
    image = recipe.images[0][None]
    for kernels in ("default", "plain", "reference"):
        outputs = []
        for path in paths.values():
            with load_tflite(path, kernels=kernels) as file:
                outputs.append(file.run(file.quantize(image))[0])
        assert np.ptp(outputs[0]) > 20
        np.testing.assert_array_equal(*outputs)


def test_a_patch_that_changes_outputs_is_a_bug(int8, int8_argmax, monkeypatch):
    other = int8_argmax.path.read_bytes()
    monkeypatch.setattr("export.graph.rewrites.unfuse_activations", lambda content: other)
    with pytest.raises(RuntimeError, match="changed the output"):
        for_device(int8.path.read_bytes(), TARGETS["edgetpu"])


def test_a_compiler_on_path_is_run_and_compared(trained, recipe, data, tmp_path, monkeypatch):
    """A stand-in that prints what the real compiler prints for a file of these ops."""
    ops = [("QUANTIZE", 2), ("CONV_2D", 1)]  # far fewer than there are
    rows = "\\n".join(f"{name:<31}{count:<11}Mapped to Edge TPU" for name, count in ops)
    script = tmp_path / "bin/edgetpu_compiler"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        "echo 'Edge TPU Compiler version 16.0.384591198'\n"
        'echo "Model compiled successfully in 9 ms."\n'
        'echo "Number of Edge TPU subgraphs: 1"\n'
        f"printf 'Operator                       Count      Status\\n\\n{rows}\\n'\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    arguments = {"target": "edgetpu", "input_size": (64, 64), "validation": data}
    result = convert(trained, recipe, path=tmp_path / "x.tflite", **arguments)
    placement = result.report["placement"]
    assert placement["compiled"]["version"] == "16.0.384591198"
    assert any("ADD" in sentence for sentence in placement["differences"])
    assert "edgetpu_compiler 16.0.384591198: " in placement["sentence"]
    script.write_text("#!/bin/sh\necho 'Internal compiler error. Aborting!'\n")
    with pytest.raises(GateError, match="edgetpu_compiler refuses the file: Internal compiler"):
        convert(trained, recipe, path=tmp_path / "y.tflite", **arguments)
    assert not (tmp_path / "y.tflite").exists()


@needs_vela
def test_without_its_last_resize_a_network_is_on_the_npu(trained, recipe, data, tmp_path):
    found = {}
    for stride in (1, 8):
        path = tmp_path / f"{stride}.tflite"
        options = ExportOptions(stride=stride)
        result = convert(
            trained, recipe, target="ethos-u55-128", input_size=(64, 64), path=path,
            validation=data, options=options,
        )  # fmt: skip
        found[stride] = result.report["placement"]
        assert path.with_name(f"{stride}_vela.tflite").exists()
    assert [found[stride]["cpu_ops"] for stride in (1, 8)] == [1, 0]
    assert found[1]["cpu"][0]["op"] == "RESIZE_BILINEAR"
    assert "scale-factor=8" in found[1]["cpu"][0]["reason"]
    assert found[8]["npu_ops"] > 10
    assert found[8]["sram_kib"] > 1
    assert found[8]["estimated_ms"] < found[1]["estimated_ms"] * 1.01
    assert "ops on the NPU" in found[8]["sentence"]
    left = [op for op in result.report["op_table"] if op["placement"] != "npu"]
    assert left == []


@needs_vela
def test_what_vela_refuses_is_a_sentence(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_text("no model")
    with pytest.raises(GateError, match=r"Vela cannot compile bad\.tflite for ethos-u55-128: "):
        run_vela(path, "ethos-u55-128", tmp_path)


def test_without_vela_the_report_says_so(int8, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    summary = run_vela(int8.path, "ethos-u55-128", tmp_path)
    assert not summary["available"]
    assert "pip install kseg[ethos]" in summary["sentence"]


def _conforms(path, images):
    """Runs a file on tflite-micro and on LiteRT with its reference and its default kernels.

    Returns:
        The share of equal labels of LiteRT's two kinds, and the mean and the largest difference of
        their values, in steps of the output.
    """
    micro = pytest.importorskip("tflite_micro").runtime.Interpreter.from_file(str(path))
    same, apart = [], []
    with load_tflite(path, kernels="reference") as reference, load_tflite(path) as default:
        for image in images:
            array = default.quantize(image[None])
            micro.set_input(array, 0)
            micro.invoke()
            expected = reference.run(array)[0]
            np.testing.assert_array_equal(micro.get_output(0), expected)
            got = default.run(array)[0].astype(int)
            apart.append(np.abs(got - expected))
            same.append((got.argmax(-1) == expected.argmax(-1)).mean())
    return np.mean(same), np.mean(apart), np.max(apart)


def test_other_runtimes_give_the_same_labels(int8, data):
    same, _, most = _conforms(int8.path, data.images("train", 16))
    assert same >= 0.998 and most <= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"panoptic_deeplab"}))
def test_other_runtimes_give_the_same_labels_of_every_network(
    name, data, recipe, tmp_path, enliven
):
    takes = inspect.signature(MODELS[name]).parameters
    small = {"backbone": "separable", "weights": None, "widths": (8, 8, 16, 16, 16)}
    model = MODELS[name](3, **{key: value for key, value in small.items() if key in takes})
    run = kseg.Recipe(epochs=4, batch_size=4, learning_rate=1e-2, validate_every=4, backbone_rate=1)
    kseg.fit(model, data, run, run_dir=tmp_path / "run")
    path = tmp_path / f"{name}.tflite"
    convert(model, recipe, target="ethos-u55-128", input_size=(64, 64), path=path)
    # A short training leaves close calls, so labels say little.
    _, mean, _ = _conforms(path, data.images("train", 16))
    assert mean <= 3
