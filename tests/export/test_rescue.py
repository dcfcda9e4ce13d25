from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from export import ExportOptions, GateError, convert, dynamic_range
from export.graph.calibration import calibration
from export.graph.converter import to_tflite
from export.graph.fixed import fix_model
from export.graph.rescue import CalibratedModel, _lost, fewest_in_float
from export.tflite.reader import read_model
from export.tflite.runtime import load_tflite

COLORS = np.array([(90, 90, 90), (230, 40, 30), (40, 60, 220)], "float32")


@pytest.fixture(scope="module")
def loud():
    """A network that labels each pixel by the nearest colour, with one loud, useless channel.

    The loud channel stretches the range of its layer, so that int8 rounds the others away.
    """
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 128, -127 / 128)(image)
    x = layers.Conv2D(3, 1, name="first")(x)
    x = layers.Conv2D(4, 1, name="loud")(x)
    x = layers.Conv2D(3, 1, name="score")(x)
    model = keras.Model(image, layers.Conv2D(3, 1, name="last")(x))
    colors = (COLORS - 127) / 128
    weights = {
        "first": (np.eye(3), np.zeros(3)),
        "loud": (np.concatenate([np.eye(3), [[3000], [0], [0]]], 1), np.zeros(4)),
        # The nearest colour c of a pixel x has the largest 2 x c - c c.
        "score": (np.concatenate([2 * colors.T, np.zeros((1, 3))]), -(colors**2).sum(1)),
        "last": (np.eye(3), np.zeros(3)),
    }
    for name, (kernel, bias) in weights.items():
        model.get_layer(name).set_weights([kernel[None, None], bias])
    return model


def test_a_lost_model_is_rescued_by_the_layer_that_harms(loud, recipe, data, tmp_path):
    path = tmp_path / "x.tflite"
    arguments = {"input_size": (64, 64), "path": path, "validation": data}
    with pytest.raises(GateError, match="let --rescue keep some layers in float"):
        convert(loud, recipe, **arguments)
    assert not list(tmp_path.iterdir())
    result = convert(loud, recipe, **arguments, options=ExportOptions(rescue=True, explain=True))
    assert result.mean_iou_float > 0.95
    assert result.mean_iou > 0.97 * result.mean_iou_float
    assert result.report["rescued"] == ["loud", "score"]  # and what reads it
    assert result.report["noise"][0]["layer"] == "loud"
    graph = read_model(path)
    kinds = [graph.tensors[op.outputs[0]].dtype for op in graph.ops if op.name == "CONV_2D"]
    assert kinds == ["int8", "float32", "float32", "int8"]
    assert graph.tensors[graph.inputs[0]].dtype == graph.tensors[graph.outputs[0]].dtype == "uint8"


def test_what_needs_no_rescue_stays_int8(int8, trained, recipe, data, tmp_path):
    path = tmp_path / "x.tflite"
    options = ExportOptions(rescue=True)
    result = convert(
        trained, recipe, input_size=(64, 64), path=path, validation=data, options=options
    )
    assert result.report["rescued"] == []
    assert read_model(path).op_counts() == read_model(int8.path).op_counts()


def test_what_rescue_makes_is_held_against_the_model(loud, recipe, data, tmp_path, monkeypatch):
    """Its file is made of a network in which two kernels of equal shape changed places."""
    swapped = keras.models.clone_model(loud)
    swapped.set_weights(loud.get_weights())
    first, last = (swapped.get_layer(name) for name in ("first", "last"))
    turned = np.roll(np.eye(3), 1, axis=1)[None, None]
    last.set_weights([turned, last.get_weights()[1]])
    first.set_weights(loud.get_layer("last").get_weights())
    fixed = fix_model(swapped, (64, 64), keep_scaling=False)
    images = partial(calibration, recipe.images, (64, 64), fixed.scaling, None)
    calibrated = CalibratedModel(fixed.model, recipe, "logits", images)
    content = calibrated.with_float(calibrated.movable)
    monkeypatch.setattr("export.conversion.fewest_in_float", lambda *_: (content, ["loud"]))
    with pytest.raises(GateError, match="Mean IoU falls"):
        convert(
            loud, recipe, input_size=(64, 64), path=tmp_path / "x.tflite", validation=data,
            options=ExportOptions(rescue=True),
        )  # fmt: skip


def test_a_calibrated_model_is_what_tensorflow_makes(trained, recipe, tmp_path):
    fixed = fix_model(trained, (64, 64), keep_scaling=False)
    images = partial(calibration, recipe.images, (64, 64), fixed.scaling, None)
    asked = fixed.model, recipe, "logits", images
    paths = tmp_path / "calibrated.tflite", tmp_path / "tensorflow.tflite"
    paths[0].write_bytes(CalibratedModel(*asked).content)
    paths[1].write_bytes(to_tflite(*asked))
    made, expected = (load_tflite(path)(recipe.images[0][None, :64, :64]) for path in paths)
    np.testing.assert_array_equal(made, expected)
    assert len(np.unique(made)) > 20


def test_loss_is_taken_by_channel():
    expected = np.array([[[[1000.0, 2.0]], [[-1000.0, -2.0]]]])
    quantized = np.round(expected / 8).astype("int8")  # 2 becomes 0: lost
    assert _lost(expected, quantized, 8, 0) == pytest.approx(0.5)
    assert _lost(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3), "int8"), 1, 0) == 0


class _Fake:
    """Stands in for CalibratedModel: a file is the number of layers kept."""

    def __init__(self, count):
        self.movable = [f"net/layer{index}_1/x" for index in range(count)]

    def with_float(self, kept):
        return str(len(kept)).encode()

    def in_float(self, kept):
        return list(kept)


@pytest.mark.parametrize("needed", range(1, 12))
def test_the_fewest_are_found(needed):
    content, kept = fewest_in_float(_Fake(11), lambda content: int(content) >= needed)
    assert content == str(needed).encode()
    assert kept == [f"layer{index}" for index in range(needed)]


@pytest.mark.parametrize("count", [0, 5])
def test_what_no_layer_rescues_is_refused(count):
    with pytest.raises(GateError, match=f"Even with {count} layers in float"):
        fewest_in_float(_Fake(count), lambda content: False)


def test_rescue_is_for_int8_on_android_with_labels(trained, recipe, data, tmp_path):
    arguments = {"input_size": (64, 64), "path": tmp_path / "x.tflite"}
    arguments["options"] = ExportOptions(rescue=True)
    with pytest.raises(ValueError, match="only the target android takes; got the target edgetpu"):
        convert(trained, recipe, target="edgetpu", validation=data, **arguments)
    with pytest.raises(ValueError, match="the recipe dynamic_range"):
        convert(trained, dynamic_range(), validation=data, **arguments)
    with pytest.raises(ValueError, match="rescue needs labelled images"):
        convert(trained, recipe, **arguments)


def test_a_model_too_bad_to_certify_is_not_searched_for_a_rescue(loud, recipe, data, tmp_path):
    bad = keras.models.clone_model(loud)
    bad.set_weights([np.zeros(weight.shape) for weight in loud.get_weights()])
    with pytest.raises(GateError, match="nothing can be certified"):
        convert(
            bad, recipe, input_size=(64, 64), path=tmp_path / "x.tflite", validation=data,
            options=ExportOptions(rescue=True),
        )  # fmt: skip
