import keras
import numpy as np
import pytest

from kseg.backbones import BACKBONES
from kseg.backbones.endpoints import StrideToDilation, scale_to_unit

CHANNELS = {
    "efficientnet_lite0": (96, 144, 240, 672, 1280),
    "efficientnet_lite1": (96, 144, 240, 672, 1280),
    "efficientnet_lite2": (96, 144, 288, 720, 1280),
    "efficientnet_lite3": (144, 192, 288, 816, 1280),
    "efficientnet_lite4": (144, 192, 336, 960, 1280),
    "separable": (8, 16, 32, 48, 64),
}
# Lite0 stands for its family: the other four differ by two numbers only.
BUILT_AT_ALL_STRIDES = ("efficientnet_lite0", "separable")


def endpoints_model(backbone, output_stride=32, shape=(64, 96, 3)):
    image = keras.Input(shape)
    return keras.Model(image, BACKBONES[backbone](image, output_stride=output_stride)._asdict())


def shapes(model):
    return {level: tensor.shape for level, tensor in model.output.items()}


def test_every_backbone_is_covered_here():
    assert set(CHANNELS) == set(BACKBONES)


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("backbone", BUILT_AT_ALL_STRIDES)
def test_endpoints_have_the_promised_strides_and_channels(backbone, output_stride):
    expected = {}
    for k, channels in enumerate(CHANNELS[backbone], start=1):
        stride = min(2**k, output_stride)
        expected[f"c{k}"] = (None, 64 // stride, 96 // stride, channels)
    assert shapes(endpoints_model(backbone, output_stride)) == expected


@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - set(BUILT_AT_ALL_STRIDES)))
def test_wider_and_deeper_variants_have_the_promised_channels(backbone):
    _, heights, _, channels = zip(*shapes(endpoints_model(backbone)).values(), strict=True)
    assert channels == CHANNELS[backbone]
    assert heights == (32, 16, 8, 4, 2)


@pytest.mark.parametrize("backbone", BUILT_AT_ALL_STRIDES)
def test_any_size_is_padded_to_whole_strides(backbone):
    _, heights, widths, _ = zip(
        *shapes(endpoints_model(backbone, shape=(33, 1, 3))).values(), strict=True
    )
    assert (heights, widths) == ((32, 16, 8, 4, 2), (16, 8, 4, 2, 1))


@pytest.mark.parametrize("backbone", BUILT_AT_ALL_STRIDES)
def test_names_of_layers_and_weights_are_unique(backbone):
    model = endpoints_model(backbone)
    for names in ([layer.name for layer in model.layers], [w.path for w in model.weights]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("backbone", BUILT_AT_ALL_STRIDES)
def test_output_stride_changes_no_weight(backbone):
    fine, coarse = (endpoints_model(backbone, stride).weights for stride in (8, 32))
    described = [[(w.path, tuple(w.shape)) for w in weights] for weights in (fine, coarse)]
    assert described[0] == described[1]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("output_stride", [4, 64, None])
def test_other_output_strides_are_refused(backbone, output_stride):
    with pytest.raises(ValueError, match=rf"must be 8, 16 or 32; got {output_stride}\."):
        endpoints_model(backbone, output_stride)


def test_strides_beyond_the_output_stride_become_dilation():
    plan = StrideToDilation(8)
    steps = [plan.step(s) for s in (2, 2, 2, 1, 2, 1, 2, 1)]
    # The paper's strides are 2, 4, 8, 8, 16, 16, 32, 32; the layer after the one that would
    # have strided sees twice as far, that one itself does not yet.
    expected = [(2, 1), (2, 1), (2, 1), (1, 1), (1, 1), (1, 2), (1, 2), (1, 4)]
    assert steps == expected


def test_dilated_features_are_the_strided_ones_in_between(enliven):
    coarse, fine = (endpoints_model("separable", stride, (256, 256, 3)) for stride in (32, 16))
    fine.set_weights(enliven(coarse, (256, 256)).get_weights())
    x = np.random.default_rng(0).uniform(0, 255, (1, 256, 256, 3)).astype("float32")
    c5, c5_fine = (model.predict_on_batch(x)["c5"] for model in (coarse, fine))
    # A stride-2 "same" convolution starts at offset 1 of an even map. The border differs: where
    # one pads with zeros, the other pads with more of them.
    np.testing.assert_allclose(c5[:, 1:-1, 1:-1], c5_fine[:, 3:-2:2, 3:-2:2], atol=1e-4)
    assert np.ptp(c5) > 1


def test_scaling_is_minus_127_over_128():
    x = np.array([0, 127, 255], "float32").reshape(1, 1, 1, 3)
    y = keras.ops.convert_to_numpy(scale_to_unit(keras.ops.convert_to_tensor(x)))
    np.testing.assert_array_equal(y.ravel(), [-127 / 128, 0, 1])
