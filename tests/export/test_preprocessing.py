from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from export import ExportOptions, GateError, convert, float32
from export.graph.fixed import Original
from export.proof.preprocessing import _USUAL, check_preprocessing

COLORS = np.array([(90, 90, 90), (230, 40, 30), (40, 60, 220)], "float32")


def _nearest(change):
    """Returns a network that labels by the nearest colour, of images as `change` makes them."""
    colors = change(COLORS[:, None, None])[:, 0, 0]
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(3, 1)(image))
    # The nearest colour c of a pixel x has the largest 2 x c - c c.
    kernel = 2 * colors.T[None, None]
    model.layers[-1].set_weights([kernel, -(colors**2).sum(1)])
    return model


def test_a_model_of_bytes_passes(data):
    check_preprocessing(Original(_nearest(lambda x: x), (64, 64)), data)


@pytest.mark.parametrize("usual", _USUAL)
def test_a_model_of_other_images_is_stopped_with_what_fits(usual, data):
    model = _nearest(_USUAL[usual][0])
    with pytest.raises(GateError, match=r"on 4 validation images as RGB, 0\.\.255, and of") as said:
        check_preprocessing(Original(model, (64, 64)), data)
    # To the nearest colour, -1..1 is as good as 0..1, and a mean makes no difference.
    fitting = str(said.value).split("on the same as ")[1].split(". It was")[0]
    assert ("BGR" in fitting) == ("BGR" in usual)
    assert ("..1" in fitting) == ("..1" in usual) or "ImageNet" in usual


def test_the_step_that_is_named_mends_it(data):
    image = keras.Input((64, 64, 3))
    pixels = np.float32(data.images("val", 1)[0][None])
    for usual, (change, step) in _USUAL.items():
        written = eval(step, {"keras": keras, "image": image})
        got = keras.Model(image, written)(pixels)
        np.testing.assert_allclose(got, change(pixels), atol=0.01, err_msg=usual)


def test_convert_stops_a_model_of_scaled_images(data, tmp_path):
    with pytest.raises(GateError, match=r"as -1\.\.1\. .*Rescaling\(1 / 127\.5, -1\)\(image\)"):
        convert(
            _nearest(_USUAL["-1..1"][0]), float32(), input_size=(64, 64),
            path=tmp_path / "x.tflite", validation=data,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_model_far_under_its_record_is_stopped(data, tmp_path):
    model = _nearest(lambda x: x)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.add(bias, (0, -4e4, 0))])  # finds no red
    arguments = {"input_size": (64, 64), "path": tmp_path / "x.tflite", "validation": data}
    options = ExportOptions(recorded=0.97)
    with pytest.raises(GateError, match=r"training recorded 0\.9700\. Pass the data set"):
        convert(model, float32(), **arguments, options=options)
    assert convert(model, float32(), **arguments, options=replace(options, recorded=None)).certified
