"""Networks of three maps on their way to a file: what is taken, compared and left out."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from export import (
    ExportOptions,
    GateError,
    convert,
    float32,
    verify,
)
from export.graph.comparison import check_fixed
from export.graph.ends import strides
from export.graph.fixed import Original, fix_model
from kseg.analysis.graph import trace
from kseg.layers import Resize

NAMES = ("semantic", "center", "offset")
SIZE = (64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_every_output_is_compared_with_the_models_own(name, disc_reader, monkeypatch):
    def wrong(layer, args):
        return layer(args[0]) * 1.01 if layer.name == f"score_{name}" else None

    monkeypatch.setattr("export.graph.fixed.rewrite", wrong)
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    for stride in (1, 2):
        fixed = fix_model(disc_reader, SIZE, keep_scaling=True, stride=stride)
        sentence = rf"first in the layer score_{name}, by 0\.01"
        with pytest.raises(GateError, match=sentence) as raised:
            check_fixed(disc_reader, fixed, [image])
        assert (f"largest value of {name}" in str(raised.value)) == (stride == 1)


def _three(end, shared=1):
    """A network whose maps are what `end` makes of features at stride 4, by name."""
    image = keras.Input((None, None, 3))
    x = layers.AveragePooling2D(4)(image)
    x = layers.Conv2D(8, 3, padding="same", name="features")(x)
    channels = {"semantic": 3, "center": 1, "offset": 2}
    return keras.Model(image, end(x, channels))


def _each(make):
    return lambda x, channels: {
        name: make(layers.Conv2D(count, 1)(x), name) for name, count in channels.items()
    }


def _one_resize_for_all(x, channels):
    large = Resize(4)(x)
    return {name: layers.Conv2D(count, 1)(large) for name, count in channels.items()}


def _one_resize_for_two(x, channels):
    large = Resize(4)(x)
    found = {name: layers.Conv2D(count, 1)(large) for name, count in channels.items()}
    sharp = layers.Conv2D(8, 3, padding="same", activation="relu")(large)
    small = layers.AveragePooling2D(4)(sharp)
    return found | {"center": Resize(4)(layers.Conv2D(1, 1)(small))}


def _one_map_at_full_size(x, channels):
    found = _one_resize_for_all(x, channels)
    sharp = layers.Conv2D(1, 3, padding="same", activation="relu")(Resize(4)(x))
    return found | {"center": sharp}


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (_each(lambda x, name: Resize(4)(x)), [1, 4]),
        (_each(lambda x, name: Resize(2)(Resize(2)(x))), [1, 2, 4]),
        (_one_resize_for_all, [1, 4]),
        (_one_resize_for_two, [1]),  # the enlarged features are needed to make the centres
        (_one_map_at_full_size, [1]),
    ],
)  # fmt: skip
def test_a_network_can_end_where_all_its_maps_can(end, expected):
    model = _three(end)
    assert list(strides(trace(model, SIZE))) == expected
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    whole = Original(model, SIZE)(image)
    for stride in expected:
        fixed = fix_model(model, SIZE, keep_scaling=True, stride=stride)
        check_fixed(model, fixed, [image])
        for name, values in fixed(image).items():
            if expected == [1, 4]:  # two enlargings by 2 are not quite one by 4
                np.testing.assert_allclose(values, whole[name], rtol=1e-3, atol=1e-3)


REFUSED = {
    "no dict": (
        lambda x, c: list(_each(lambda x, name: Resize(4)(x))(x, c).values()),
        r"has 3 outputs, .* \(A network that tells objects apart gives a dict of semantic, center",
    ),
    "other names": (
        lambda x, c: {"classes": x, "center": x, "offset": x}, "gives a dict of semantic, center",
    ),
    "two centres": (
        lambda x, c: _each(lambda x, name: Resize(4)(x))(x, c | {"center": 2}),
        r"The output center .* must be 1 channel\(s\) of the height and width of semantic",
    ),
    "another grid": (
        _each(lambda x, name: x if name == "offset" else Resize(4)(x)),
        r"The output offset .* must be 2 channel\(s\) of the height and width of semantic",
    ),
    "one class": (
        lambda x, c: _each(lambda x, name: Resize(4)(x))(x, c | {"semantic": 1}),
        "returns one channel, and labels are taken from the largest",
    ),
    "nobody says what things are": (
        _each(lambda x, name: Resize(4)(x)), "Nobody says which classes are things",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("end", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_network_of_three_maps_is_refused(end, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        convert(_three(end), float32(), input_size=SIZE, path=tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_who_says_what_things_are(disc_reader, discs, trained, tmp_path):
    def refused(sentence, model=disc_reader, **arguments):
        with pytest.raises(ValueError, match=sentence):
            convert(model, float32(), input_size=SIZE, path=tmp_path / "x.tflite", **arguments)

    refused("ids of the model's classes, 0 to 1; got 7", options=ExportOptions(things=(7,)))
    refused("objects of the classes 0 apart, and .* those of 1; name the same",
            options=ExportOptions(things=(0,)), validation=discs)  # fmt: skip
    refused("does not tell objects apart", validation=replace(discs, things=()))
    refused("things is for models of the outputs semantic", trained,
            options=ExportOptions(things=(1,)))  # fmt: skip


class _Stub:
    """Stands in for a model or a file: the maps of an image of two columns of objects."""

    output_names = NAMES
    kseg_things = (1,)

    def __init__(self, columns, shift=0.0):
        self.columns, self.shift = columns, shift

    def __call__(self, images):
        labels = np.zeros((8, 32), int)
        center, offset = np.zeros((1, 8, 32, 1)), np.zeros((1, 8, 32, 2))
        for column in self.columns:
            labels[2:7, column : column + 5] = 1
            center[0, 4, column + 2] = 1
            y, x = np.mgrid[2:7, column : column + 5]
            offset[0, 2:7, column : column + 5] = np.stack([4 - y, column + 2 - x], -1)
        return {
            "semantic": 4 * np.eye(2)[labels][None],
            "center": center,
            "offset": offset + self.shift,
        }

    def saturated(self, name=None):
        return None


def test_objects_of_a_file_are_scored_against_the_models():
    """Of objects at columns 2, 10 and 20 the file has two, and one elsewhere."""
    image = np.zeros((8, 32, 3), "uint8")
    result = verify(_Stub((2, 10, 26), shift=0.3), _Stub((2, 10, 20)), [image, image])
    objects = result.objects
    assert objects.agreement.tp_over_all[0.5] == 2 / 4
    assert objects.agreement.things.pq == 2 / 3  # 2 of IoU 1, over 2 + 1/2 + 1/2
    assert objects.offset_error == pytest.approx(_mean_offset_error(), rel=1e-5)
    assert objects.differences["center"] == 1
    assert objects.scores is None and result.scores is None
    assert result.worst[0].agreement == 2 / 4
    assert len(result.worst[0].instances.objects) == 3
    # Pixels: 25 of one object are lost and 25 elsewhere are new.
    assert result.agreement == 1 - 50 / 256


def _mean_offset_error():
    """Over the pixels of the three objects: two are off by 0.3 both ways, one by all its way."""
    y, x = np.mgrid[-2:3, -2:3]
    near = np.hypot(0.3, 0.3)
    lost = np.hypot(-y - 0.3, -x - 0.3).mean()
    return (2 * near + lost) / 3
