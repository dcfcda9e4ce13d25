import json
import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

import export
import kseg
from export import (
    ExportOptions,
    GateError,
    TrainingProcessError,
    load_tflite,
    quantization_aware,
)
from export.compression import qat
from export.compression.bridge import read_graph
from export.compression.qat_graph import lower, rounded
from export.tflite.reader import read_model
from kseg.cli import main
from kseg.training.callbacks import TrainingDivergedError

RECIPE = kseg.Recipe(epochs=2, batch_size=4, learning_rate=1e-3, scale=(0.9, 1.1), color=0.0)


@pytest.fixture(scope="module")
def calibrated(trained, data, calibrate_network):
    return calibrate_network(trained, np.stack(data.images("train", 12)).astype("float32"))


@pytest.fixture(scope="module")
def quantized(trained, data):
    return quantization_aware(trained, data, RECIPE)


def test_training_starts_calibrated_and_never_ends_below(quantized, trained, data):
    assert [row["epoch"] for row in quantized.history] == [0, 1, 2]
    before = kseg.evaluate(trained, data).mean_iou
    assert quantized.mean_iou_float == pytest.approx(before, abs=1e-4)
    scores = [row["mean_iou"] for row in quantized.history]
    assert scores[0] > before - 0.02
    best = kseg.evaluate(quantized.at((64, 64)), data).mean_iou
    assert best == pytest.approx(max(scores), abs=1e-6)


def test_the_best_epoch_is_kept_and_this_process_left_alone(quantized, calibrated):
    assert quantized.state.weights.keys() == calibrated.state.weights.keys()
    assert quantized.state.ranges.keys() == calibrated.state.ranges.keys()
    scores = [row["mean_iou"] for row in quantized.history]
    for name in ("k_stem_conv", "k_upsample_c4", "k_stage3_depthwise_conv"):
        kernels = [network.state.weights[name][0] for network in (quantized, calibrated)]
        # Epoch 0 is the start; a later one has other weights.
        assert np.array_equal(*kernels) == (np.argmax(scores) == 0)
    assert "tensorflow_model_optimization" not in sys.modules
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_with_the_validation_images_nothing_is_scored_and_the_last_epoch_kept(
    trained, calibrated, data
):
    found = quantization_aware(
        trained, data, replace(RECIPE, epochs=1, with_val=True, deterministic=True)
    )
    assert found.mean_iou_float is None
    assert [(row["epoch"], row["mean_iou"]) for row in found.history] == [(0, None), (1, None)]
    kernels = [network.state.weights["k_stem_conv"][0] for network in (found, calibrated)]
    assert not np.array_equal(*kernels)
    assert kseg.evaluate(found.at((64, 64)), data).mean_iou > 0.5


def test_the_file_is_certified_and_computes_what_was_trained(quantized, data, tmp_path):
    path = tmp_path / "q.tflite"
    result = quantized.convert(path, input_size=(64, 64), validation=data)
    assert result.certified
    assert result.report["quantization_aware"]["agreement"] >= 0.995
    assert result.report["quantization_aware"]["history"] == quantized.history
    best = max(row["mean_iou"] for row in quantized.history)
    assert result.mean_iou == pytest.approx(best, abs=5e-3)
    graph = read_model(path)
    assert not [t.name for t in graph.tensors if t.dtype.startswith("float")]
    image = graph.tensors[graph.inputs[0]]
    assert (image.dtype, image.scales, image.zero_points) == ("uint8", (1 / 128,), (127,))


def test_kernels_may_have_one_scale_and_a_model_keeps_its_size(
    trained, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(trained, "kseg_size", (48, 48))
    recipe = replace(RECIPE, epochs=1)
    quantized = quantization_aware(trained, data, recipe, per_channel=False)
    assert quantized.mean_iou_float == kseg.evaluate(trained, data, size=(48, 48)).mean_iou
    path = tmp_path / "q.tflite"
    result = quantized.convert(path, input_size=(48, 48), validation=data)
    assert result.report["working_size"] == (48, 48)
    assert quantized.at((64, 64)).kseg_size == (64, 64)
    assert result.certified and not result.report["recipe"]["per_channel"]
    assert result.report["quantization_aware"]["agreement"] >= 0.995
    graph = read_model(path)
    several = [
        op.name for op in graph.ops if any(len(graph.tensors[t].scales) > 1 for t in op.inputs)
    ]
    assert several == ["TRANSPOSE_CONV"] * 2


def test_other_sizes_heads_strides_and_targets(calibrated, data, tmp_path):
    cases = [("edgetpu", "argmax", 1, (64, 64)), ("android", "softmax", 8, (50, 61))]
    for target, head, stride, size in cases:
        path = tmp_path / f"{head}.tflite"
        options = ExportOptions(head=head, stride=stride)
        result = calibrated.convert(path, target=target, input_size=size, options=options)
        # At stride 8 a single position that rounds to another class is 64 of 3,050 labels.
        least = 0.97 if stride == 1 else 0.95
        assert result.report["quantization_aware"]["agreement"] >= least
        with load_tflite(path) as file:
            assert kseg.evaluate(file, data, size=size).mean_iou > 0.6


def test_swapped_weights_are_not_certified(calibrated, data, tmp_path):
    """Two kernels of equal shape change places, as if they had been copied by a name."""
    weights = dict(calibrated.state.weights)
    shapes = {}
    for name, values in weights.items():
        shapes.setdefault(np.shape(values[0]), []).append(name)
    for pair in (names[:2] for names in shapes.values() if len(names) > 1):
        weights |= dict(zip(pair, [weights[name] for name in pair[::-1]], strict=True))
    swapped = replace(calibrated, state=replace(calibrated.state, weights=weights))
    assert weights.keys() == calibrated.state.weights.keys()
    with pytest.raises(GateError, match="Mean IoU falls"):
        swapped.convert(tmp_path / "x.tflite", input_size=(64, 64), validation=data)
    assert not list(tmp_path.iterdir())


def test_another_network_is_refused(calibrated):
    other = kseg.build_fcn8s(4, backbone="separable", weights=None)
    graph, scaling = lower(read_graph(other, (64, 64)))
    with pytest.raises(ValueError, match="The layer k_score_c5 has no trained weights"):
        rounded(graph, calibrated.state, scaling)


@pytest.mark.parametrize(
    ("recipe", "keep", "sentence"),
    [
        (RECIPE, "zeros", "keep must be None or one of sparsity, clusters; got 'zeros'"),
        (replace(RECIPE, minutes=1.0), None, "no use for the recipe's minutes"),
        (replace(RECIPE, freeze="c2"), None, "no use for the recipe's freeze"),
    ],
)
def test_bad_arguments_are_a_sentence(recipe, keep, sentence, trained, data):
    with pytest.raises(ValueError, match=sentence):
        quantization_aware(trained, data, recipe, keep=keep)


def test_other_backends_are_refused(trained, data, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="needs the TensorFlow backend; Keras runs on jax"):
        quantization_aware(trained, data, RECIPE)


def test_explain_and_rescue_are_refused(calibrated, data, tmp_path):
    options = ExportOptions(explain=True)
    with pytest.raises(ValueError, match="rescue and explain are for networks quantized after"):
        calibrated.convert(tmp_path / "x.tflite", input_size=(64, 64), options=options)


def _child(monkeypatch, code):
    """Puts another program in the place of the training process."""
    popen = subprocess.Popen

    def start(command, **options):
        return popen([sys.executable, "-c", code, command[-1]], **options)

    monkeypatch.setattr(qat.subprocess, "Popen", start)


def test_errors_of_the_training_process_come_through(trained, data, monkeypatch):
    for home, raised in (
        ("kseg.training.callbacks", TrainingDivergedError),
        ("a", RuntimeError),
    ):
        news = {"error": {"home": home, "kind": "TrainingDivergedError", "text": "inf"}}
        _child(monkeypatch, f"print({json.dumps(news)!r})")
        with pytest.raises(raised, match="inf"):
            quantization_aware(trained, data, RECIPE)
        monkeypatch.undo()
    _child(
        monkeypatch, 'import sys; print(\'{"step": 1, "steps": 2, "loss": 1}\'); sys.exit(\'no\')'
    )
    with pytest.raises(TrainingProcessError, match=r"ended before its time \(no\)"):
        quantization_aware(trained, data, RECIPE)


def test_a_killed_training_leaves_everything_as_it_was(
    trained, data, monkeypatch, tmp_path, capsys
):
    run = tmp_path / "run"
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-6)
    kseg.fit(kseg.build_fcn8s(3, backbone="separable", weights=None), data, recipe, run_dir=run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    _child(monkeypatch, "import os, sys; os.kill(os.getpid(), 9)")
    arguments = [
        "--qat-epochs",
        "1",
        "--data",
        str(data.source),
        "--out",
        str(tmp_path / "x.tflite"),
    ]
    assert main(["export", str(run), *arguments]) == 5
    said = capsys.readouterr().err
    assert "ended before its time (signal 9); nothing was written" in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [run]
    monkeypatch.undo()
    assert main(["export", str(run), *arguments, "--quantization", "float16"]) == 2
    assert "--qat-epochs is for int8; got float16" in capsys.readouterr().err
    arguments = ["--per-tensor", "--quantization", "float16", *arguments[2:]]
    assert main(["export", str(run), *arguments]) == 2
    assert "--per-tensor is for int8; got float16" in capsys.readouterr().err


def test_the_command_line_checks_all_it_can_before_it_trains(
    trained, data, monkeypatch, tmp_path, capsys
):
    run, recipes = tmp_path / "run", []
    # What the run did by itself, such as its patience, is of no use here, and refused in Python.
    chosen = {"crop": (64, 64), "patience": 3, "validate_images": 2, "freeze": "c2"}
    kseg.fit(trained, data, replace(RECIPE, epochs=1, learning_rate=1e-9, **chosen), run_dir=run)

    def train(model, data, recipe, **options):
        assert not any(getattr(recipe, name) for name in qat._UNUSED)
        recipes.append(recipe)
        raise TrainingProcessError("stopped")

    monkeypatch.setattr(export, "quantization_aware", train)
    (tmp_path / "there.tflite").write_bytes(b"good")
    out, arguments = tmp_path / "x.tflite", ["--qat-epochs", "9", "--data", str(data.source)]
    for wrong, sentence in (
        (["--out", tmp_path / "there.tflite"], "exists"),
        (["--out", tmp_path / "no/x.tflite"], "does not exist"),
        (["--out", out, "--target", "nix"], "target must be one of"),
        (["--out", out, "--stride", "7"], "stride must be one"),
        (["--out", out, "--rescue"], "rescue and explain are for networks quantized after"),
    ):
        assert main(["export", str(run), *arguments, *map(str, wrong)]) == 2
        assert sentence in capsys.readouterr().err
    assert not recipes
    for size, crop in ((64, (64, 64)), (32, None)):
        sides = ["--size", str(size), str(size)]
        assert main(["export", str(run), *arguments, "--out", str(out), *sides]) == 5
        assert (recipes[-1].size, recipes[-1].crop) == ((size, size), crop)
        assert not recipes[-1].with_val
    assert main(["export", str(run), *arguments, "--out", str(out), "--with-val"]) == 5
    assert recipes[-1].with_val
    assert main(["export", str(run), *arguments[2:], "--out", str(out), "--with-val"]) == 2
    assert "--with-val is for --qat-epochs N" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")  # printed, as at the command line
def test_images_that_the_network_knows_cannot_choose_an_epoch(
    trained, data, monkeypatch, tmp_path, capsys
):
    run = tmp_path / "run"
    monkeypatch.setattr(trained, "kseg_saw_val", None, raising=False)  # other tests take it too
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-9, with_val=True)
    kseg.fit(trained, data, recipe, run_dir=run)

    def train(*arguments, **options):
        raise TrainingProcessError("stopped")

    monkeypatch.setattr(export, "quantization_aware", train)
    arguments = ["export", str(run), "--qat-epochs", "9", "--data", str(data.source)]
    for more, told in ([], True), (["--with-val"], False):
        assert main([*arguments, "--out", str(tmp_path / "x.tflite"), *more]) == 5
        said = capsys.readouterr().err
        assert "scores on them are no measure" in said
        assert ("would choose its best epoch by them: add --with-val" in said) == told


@pytest.mark.slow
def test_the_command_line_trains_and_exports(trained, data, tmp_path, capsys):
    run = tmp_path / "run"
    kseg.fit(trained, data, replace(RECIPE, epochs=1, learning_rate=1e-5), run_dir=run)
    out = tmp_path / "x.tflite"
    arguments = ["--qat-epochs", "1", "--data", str(data.source), "--out", str(out), "--json"]
    assert main(["export", str(run), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["epoch"] for row in report["quantization_aware"]["history"]] == [0, 1]
    assert report["verification"]["certified"]


@pytest.mark.slow
def test_a_diverging_training_says_so(trained, data):
    with pytest.raises(TrainingDivergedError, match="The loss is nan"):
        quantization_aware(
            trained, data, replace(RECIPE, learning_rate=1000, weight_decay=1000, clip_norm=None)
        )
