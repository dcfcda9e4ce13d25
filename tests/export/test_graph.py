import keras
import numpy as np
import pytest
from keras import layers

import kseg
from export import GateError
from export.graph.comparison import check_fixed
from export.graph.ends import strides
from export.graph.fixed import Original, fix_model
from export.graph.rewrites import unfuse_activations
from kseg import build_atrous_fpn
from kseg.analysis.graph import trace
from kseg.layers import CropLike, Resize


def _own(end, channels=4):
    """A small network whose last layers are given."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 128, -127 / 128)(image)
    x = layers.Conv2D(channels, 3, 4, padding="same")(x)
    return keras.Model(image, end(x, image))


def _image(size):
    return np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")


def _interpolated(x):
    """Enlarged by 4, each channel of itself."""

    def kernel(shape, dtype=None):
        return np.ones((*shape[:2], 1, 1)) * np.eye(shape[2])

    last = layers.Conv2DTranspose(4, 8, 4, "same", use_bias=False, kernel_initializer=kernel)
    return last(x)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda x, image: Resize(4)(x), [1, 4]),
        (lambda x, image: CropLike()([Resize(2)(Resize(2)(x)), image]), [1, 2, 4]),
        (lambda x, image: layers.UpSampling2D(4, interpolation="bilinear")(x), [1, 4]),
        (lambda x, image: layers.Conv2D(3, 1)(Resize(4)(x)), [1, 4]),
        (lambda x, image: _interpolated(x), [1, 4]),
        (lambda x, image: layers.Conv2DTranspose(4, 8, 1, "same", use_bias=False)(x), [4]),
        # None of these gives the same logits once the enlarging layer is gone.
        (lambda x, image: layers.Conv2DTranspose(4, 8, 4, "same")(x), [1]),
        (lambda x, image: layers.Conv2D(3, 3, padding="same")(Resize(4)(x)), [1]),
        (lambda x, image: layers.ReLU()(Resize(4)(x)), [1]),
        (lambda x, image: layers.Conv2D(3, 1, activation="relu")(Resize(4)(x)), [1]),
        (
            lambda x, image: layers.Conv2D(3, 1)(
                layers.Conv2DTranspose(4, 8, 4, "same", use_bias=False)(x)
            ),
            [1],
        ),
    ],
)
def test_where_a_network_can_end(end, expected):
    assert list(_strides(_own(end))) == expected


def _strides(model):
    return strides(trace(model, (64, 64)))


def test_where_networks_of_the_zoo_can_end():
    arguments = {"backbone": "separable", "weights": None}
    assert list(_strides(kseg.build_fcn8s(3, **arguments))) == [1, 8]
    assert list(_strides(kseg.build_fcn8s(3, upsampling="all_transposed", **arguments))) == [1, 8]
    assert list(_strides(kseg.build_fcn32s(3, **arguments))) == [1, 32]
    assert list(_strides(build_atrous_fpn(3, **arguments))) == [1, 4]


@pytest.mark.parametrize("keep_scaling", [True, False])
def test_ending_early_loses_nothing(keep_scaling):
    for end in (
        lambda x, image: layers.Conv2D(3, 1)(Resize(4)(x)),
        lambda x, image: CropLike()([Resize(4)(x), image]),
    ):
        model = _own(end)
        expected = np.asarray(model(_image((64, 48))))
        for stride in (1, 4):
            fixed = fix_model(model, (64, 48), keep_scaling=keep_scaling, stride=stride)
            assert fixed.scaling == ((1, 0) if keep_scaling else (1 / 128, -127 / 128))
            assert fixed.logits(_image((64, 48))).shape[1:3] == (64 // stride, 48 // stride)
            np.testing.assert_allclose(fixed(_image((64, 48))), expected, atol=1e-4)


def test_coarse_sizes_are_rounded_up(enliven):
    model = enliven(kseg.build_fcn8s(3, backbone="separable", weights=None))
    image = _image((50, 61))
    fixed = fix_model(model, (50, 61), keep_scaling=False, stride=8)
    assert fixed.logits(image).shape == (1, 7, 8, 3)
    expected = np.asarray(model(image))
    # At the bottom and right the cut map lacks the neighbour that lies in the padding.
    np.testing.assert_allclose(fixed(image)[:, :44, :56], expected[:, :44, :56], atol=1e-3)
    assert fixed(image).shape == expected.shape


def test_a_stride_that_a_network_lacks_is_refused():
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    with pytest.raises(ValueError, match=r"can end, 1 or 8; got 4\."):
        fix_model(model, (64, 64), keep_scaling=False, stride=4)


def test_a_network_whose_output_is_no_grid_of_its_input_is_refused():
    model = _own(lambda x, image: layers.Conv2D(3, 3)(Resize(4)(x)))
    with pytest.raises(ValueError, match=r"makes \(62, 62\) logits of an image of \(64, 64\)"):
        fix_model(model, (64, 64), keep_scaling=False)


def test_a_network_may_end_at_a_coarser_grid_by_itself():
    model = _own(lambda x, image: Resize(2)(x))
    assert list(_strides(model)) == [2, 4]
    fixed = fix_model(model, (64, 48), keep_scaling=False)
    assert fixed.stride == 2
    assert fixed.logits(_image((64, 48))).shape == (1, 32, 24, 4)


def test_rewritten_layers_give_equal_outputs():
    def end(x, image):
        x = layers.Conv2D(8, 3, padding="same", groups=2, activation="relu", name="grouped")(x)
        x = layers.Conv2D(16, 3, padding="same", groups=8, use_bias=False, name="by_channel")(x)
        return layers.Conv2D(3, 1)(layers.UpSampling2D((4, 4), name="nearest")(x))

    model = _own(end)
    fixed = fix_model(model, (32, 48), keep_scaling=True)
    names = {layer.name for layer in fixed.model.layers}
    assert {"grouped_group0", "grouped_group1", "by_channel_depthwise"} <= names
    assert not names & {"grouped", "by_channel", "nearest"}
    expected = np.asarray(model(_image((32, 48))))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(fixed.logits(_image((32, 48))), expected, atol=1e-5)


def test_a_rewrite_that_changes_outputs_is_a_bug(monkeypatch):
    monkeypatch.setattr("export.graph.fixed.rewrite", _doubled)
    model = _own(lambda x, image: Resize(4, name="twice")(x))
    fixed = fix_model(model, (32, 32), keep_scaling=True)
    with pytest.raises(GateError, match="differs from the model, first in the layer twice, by 1 "):
        check_fixed(model, fixed, [_image((32, 32))])


def _doubled(layer, args):
    return Resize(4)(args[0] * 2.0) if layer.name == "twice" else None


def test_files_without_transposed_convolutions_stay_as_they_are(int8):
    content = int8.path.read_bytes()
    assert unfuse_activations(content) == content


class _Decides(keras.layers.Layer):
    """Halves bright images, by a decision in Python, which cannot be compiled."""

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)

    def call(self, x):
        return x / 2 if float(np.asarray(x).max()) > 100 else x


class _Counts(keras.layers.Layer):
    """Gives something else each time."""

    times = 0

    def call(self, x):
        self.times += 1
        return x + self.times


@pytest.mark.parametrize("layer", [layers.Rescaling(2.0), _Decides(), _Counts()])
def test_the_original_is_compiled_only_where_that_changes_nothing(layer):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layer(image))
    original = Original(model, (8, 8))
    dark, bright = (np.full((1, 8, 8, 3), value, "float32") for value in (40, 200))
    found = [original.logits(image).max() for _ in range(6) for image in (dark, bright)]
    if isinstance(layer, _Counts):
        assert np.all(np.diff(found[::2]) > 0)
    else:
        expected = [80, 400] if isinstance(layer, layers.Rescaling) else [40, 100]
        assert found == expected * 6
