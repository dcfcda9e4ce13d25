import hashlib
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest

import kseg
from kseg.classes import Classes
from kseg.cli.app import parse
from kseg.models import MODELS, TRAINED, TrainedRecord, build, copy_weights
from kseg.models import trained as trained_module
from kseg.models.trained import last_runs, load_weights_npz, save_weights_npz
from kseg.training.outputs import num_classes_of

ROOT = Path(__file__).parents[2]
ARGUMENTS = {"num_classes": 3, "backbone": "separable", "upsampling": "transposed"}


@pytest.fixture
def record(tmp_path, monkeypatch, enliven):
    """A network "trained" on the data set "toys", with its weights in a temporary package."""
    model = enliven(build("fcn32s", {**ARGUMENTS, "weights": None}), (64, 64))
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights/toys.npz"
    save_weights_npz(model, path)
    record = TrainedRecord(
        builder="fcn32s",
        arguments=ARGUMENTS,
        data="toys",
        file="toys.npz",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        classes=Classes(("a", "b", "c")),
        input_range="RGB, 0..255",
        size=(64, 64),
        mean_iou=0.5,
        iou_per_class={"a": 0.4, "b": 0.5, "c": 0.6},
        commands=("kseg train toys.yaml",),
        licence="Apache-2.0",
    )
    monkeypatch.setitem(TRAINED, "fcn32s-toys", record)
    monkeypatch.setattr(trained_module.resources, "files", lambda package: tmp_path)
    return record, path, model


def assert_equal_as_stored(model, original):
    for weight, expected in zip(model.get_weights(), original.get_weights(), strict=True):
        if expected.ndim < 2 or expected.shape[-1] == 1:
            np.testing.assert_array_equal(weight, expected.astype("float16").astype("float32"))
        else:  # 6 bits of the fraction: off by at most half a step of 1 / 64
            np.testing.assert_allclose(weight, expected, rtol=2**-7 + 2**-11, atol=1e-6)


def test_weights_are_found_by_the_name_of_their_data(record):
    model = build("fcn32s", {**ARGUMENTS, "weights": "toys"})
    assert_equal_as_stored(model, record[2])
    assert model.weights[0].dtype == "float32"


def test_trained_network_loads_by_its_name(record):
    assert_equal_as_stored(kseg.load("fcn32s-toys"), record[2])


def test_weights_of_another_network_are_refused(record):
    match = r"There are no weights 'toys' for fcn16s with .*; there are for fcn32s with \{"
    with pytest.raises(ValueError, match=match):
        build("fcn16s", {**ARGUMENTS, "weights": "toys"})
    with pytest.raises(ValueError, match="There are no weights 'toys' for fcn32s with"):
        build("fcn32s", {**ARGUMENTS, "num_classes": 4, "weights": "toys"})


def test_damaged_weights_are_refused(record):
    content = bytearray(record[1].read_bytes())
    content[len(content) // 2] ^= 1
    record[1].write_bytes(content)
    with pytest.raises(ValueError, match=r"toys\.npz is damaged \(wrong sha256\)"):
        build("fcn32s", {**ARGUMENTS, "weights": "toys"})


def test_file_without_all_weights_is_refused(tmp_path):
    small, large = (
        build("fcn32s", {**ARGUMENTS, "num_classes": n, "weights": None}) for n in (3, 4)
    )
    path = tmp_path / "small.npz"
    save_weights_npz(small, path)
    match = r"small\.npz has no weight score_c5/kernel of shape \(1, 1, 64, 4\); it does not"
    with pytest.raises(ValueError, match=match):
        load_weights_npz(large, path)
    image = keras.Input((8, 8, 3))
    other = keras.Model(image, keras.layers.Conv2D(1, 1, name="other")(image), name="mine")
    with pytest.raises(
        ValueError, match=r"has no weight other/kernel .* not belong to the network mine"
    ):
        load_weights_npz(other, path)


@pytest.mark.parametrize("name", TRAINED)
def test_shipped_weights_load_and_their_record_is_whole(name):
    shipped = TRAINED[name]
    assert shipped.builder in MODELS
    assert shipped.arguments["num_classes"] == shipped.classes.num_classes
    model = kseg.load(name)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert num_classes_of(model) == shipped.classes.num_classes
    assert shipped.licence and shipped.commands and 0.5 < shipped.mean_iou < 1


@pytest.mark.parametrize("name", TRAINED)
def test_commands_start_from_runs_made_before_and_only_the_last_one_sees_val(name):
    record, made = TRAINED[name], {None, "imagenet", "none"}
    for command in (*record.commands, *record.final_commands):
        program, *words = shlex.split(command, comments=True)
        if program == "python":  # a script of this repository, which trains too
            assert (ROOT / words[0]).is_file()
            assert words[words.index("--teacher") + 1] in made
            made.add(words[words.index("--out") + 1])
            continue
        verb, bound = parse(words)
        options = bound.arguments["options"]
        assert (program, verb, str(bound.args[0])) == ("kseg", "train", f"{record.data}.yaml")
        assert {options.weights, *options.teacher} <= made
        assert options.with_val == (command in record.final_commands)
        made.add(str(options.out))
    _, last = parse(shlex.split(record.commands[-1], comments=True)[1:])
    assert last.arguments["options"].model == record.builder


def test_final_weights_are_of_the_runs_that_no_other_starts_from():
    first = "kseg train a.yaml --out runs/a"
    second = "kseg train a.yaml --weights runs/a --teacher runs/c --out runs/b  # --out runs/x"
    third = "kseg train a.yaml --out runs/c"
    assert last_runs([]) == [] and last_runs([first]) == ["runs/a"]
    assert last_runs([first, second]) == ["runs/b"]
    assert last_runs([first, second, third]) == ["runs/b", "runs/c"]
    assert last_runs([first, third, second]) == ["runs/b"]  # c has taught it
    assert TRAINED["atrous_fpn_tiny_camvid"].final_runs == ["runs/tiny_long_final"]
    assert len(TRAINED["fcn8s_camvid"].final_runs) == 1


def test_backbone_starts_another_network(record):
    model = build("fcn16s", {**ARGUMENTS, "weights": None})
    backbone = {v.path: v for v in record[2].weights if v.path in {w.path for w in model.weights}}
    assert copy_weights(record[2], model) == len(backbone) < len(model.weights)
    for variable in model.weights:
        if variable.path in backbone:
            np.testing.assert_array_equal(variable, backbone[variable.path])


def test_network_that_shares_nothing_is_refused(record):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="other")
    with pytest.raises(ValueError, match="other shares no layer with fcn32s; its weights cannot"):
        copy_weights(other, record[2])


def test_weights_whose_names_repeat_are_refused(tmp_path):
    """Two blocks that name their layers alike: by name, both would get the weights of one."""

    def block(name):
        image = keras.Input((4, 4, 3))
        return keras.Model(image, keras.layers.Conv2D(3, 1, name="conv")(image), name=name)

    image = keras.Input((4, 4, 3))
    model = keras.Model(image, block("b")(block("a")(image)), name="twins")
    paths = [weight.path for weight in model.weights]
    if len(set(paths)) == len(paths):
        pytest.fail("these paths differ; the test needs some that do not")
    match = "Two weights of the model twins are called .*conv/kernel.*name of its own"
    with pytest.raises(ValueError, match=match):
        save_weights_npz(model, tmp_path / "w.npz")
    assert not (tmp_path / "w.npz").exists()


def test_dense_kernels_are_rounded_to_six_bits_of_the_fraction(tmp_path):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="score")(image))
    model.get_layer("score").set_weights(
        [np.array([[[[1 + 1 / 100, -3.07]]]]), np.array([1 / 3, 1.01])]
    )
    save_weights_npz(model, tmp_path / "w.npz")
    load_weights_npz(model, tmp_path / "w.npz")
    kernel, bias = model.get_layer("score").get_weights()
    assert kernel.ravel().tolist() == [1 + 1 / 64, -3 - 2 / 32]
    np.testing.assert_array_equal(bias, np.float16([1 / 3, 1.01]))
    model.get_layer("score").kernel.assign([[[[1 + 1 / 90, -3.07]]]])
    save_weights_npz(model, tmp_path / "w.npz", bits=8)
    load_weights_npz(model, tmp_path / "w.npz")
    assert model.get_layer("score").get_weights()[0].ravel().tolist() == [1 + 3 / 256, -3 - 9 / 128]


def test_numbers_that_float16_cannot_hold_stay_as_they_are(tmp_path):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.BatchNormalization(name="norm")(image))
    values = [np.float32([x]) for x in (1 / 3, 0.0, -1e3, 123_456.7)]
    model.get_layer("norm").set_weights(values)
    save_weights_npz(model, tmp_path / "w.npz")
    load_weights_npz(model, tmp_path / "w.npz")
    gamma, _, mean, variance = model.get_layer("norm").get_weights()
    assert (gamma[0], mean[0]) == (np.float16(1 / 3), -1e3)
    assert variance[0] == values[3][0]


def test_a_kernel_that_rounding_would_make_infinite_stays_as_it_is(tmp_path):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="score")(image))
    kernel = np.float32([[[[65_500, 1.01]]]])
    model.get_layer("score").set_weights([kernel, np.zeros(2)])
    save_weights_npz(model, tmp_path / "w.npz")
    load_weights_npz(model, tmp_path / "w.npz")
    np.testing.assert_array_equal(model.get_layer("score").get_weights()[0], kernel)
