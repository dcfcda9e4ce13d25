"""ImageNet weights for gray and multispectral images."""

import keras
import numpy as np
import pytest

import kseg
from kseg.backbones import BACKBONES, load_imagenet_weights
from kseg.backbones.channels import fit_channels
from kseg.backbones.keras_file import rescaled_from_caffe


def _stem(kernel):
    return {"stem": [np.array(kernel, "float32").reshape(1, 1, 3, 1)], "norm": [np.ones(1)]}


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (1, [6]),  # the sum
        (2, [3, 3]),  # mean * 3 / 2
        (3, [1, 2, 3]),
        (4, [0.75, 1.5, 2.25, 1.5]),  # own kernels, then the mean, each * 3 / 4
        (6, [0.5, 1, 1.5, 1, 1, 1]),
    ],
)
def test_kernels_by_hand(channels, expected):
    arrays = fit_channels(_stem([1, 2, 3]), channels)
    assert arrays["stem"][0].shape == (1, 1, channels, 1)
    np.testing.assert_allclose(arrays["stem"][0].ravel(), expected, rtol=1e-6)
    assert arrays["stem"][0].dtype == np.float32
    assert arrays["norm"][0].tolist() == [1]


def _features(channels, size=(64, 96)):
    image = keras.Input((*size, channels))
    backbone = BACKBONES["efficientnet_lite0_cut"]
    model = keras.Model(image, backbone(image)._asdict())
    model.jit_compile = False
    load_imagenet_weights(model, backbone.name)
    return model


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_equal_channels_give_the_features_of_the_gray_image(channels):
    """At 33 x 47 pixels, so that padding counts too."""
    size = (33, 47)
    gray = np.random.default_rng(0).uniform(0, 255, (2, *size, 1)).astype("float32")
    expected = _features(3, size)(np.repeat(gray, 3, -1))
    features = _features(channels, size)(np.repeat(gray, channels, -1))
    for level, value in expected.items():
        assert np.ptp(value) > 1
        np.testing.assert_allclose(features[level], value, atol=1e-4 * np.ptp(value))


def test_first_three_of_four_channels_are_red_green_and_blue():
    """A fourth channel of 127 is zero once scaled, and adds nothing to 3/4 of the RGB image."""
    rgb = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    four = np.concatenate([rgb, np.full_like(rgb[..., :1], 127)], -1)
    stems = []
    for channels, image in ((3, rgb), (4, four)):
        model = _features(channels)
        stem = keras.Model(model.input, model.get_layer("stem_conv").output)
        stems.append(keras.ops.convert_to_numpy(stem(image)))
    np.testing.assert_allclose(stems[1], 0.75 * stems[0], atol=1e-5 * np.ptp(stems[0]))


def test_kernels_that_keras_trained_with_means_taken_off():
    """A gray image g through ImageNet's kernel for BGR minus the means, and through its fit."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 3, 5)), rng.normal(size=5)
    gray = rng.uniform(0, 255, (3, 3))
    bgr = gray[:, :, None] - np.array([103.939, 116.779, 123.68])
    expected = np.einsum("hwc,hwcf->f", bgr, kernel) + bias
    fitted, offset = fit_channels({"conv1": rescaled_from_caffe(kernel, bias)}, 1)["conv1"]
    got = np.einsum("hw,hwf->f", (gray - 127) / 128, fitted[:, :, 0]) + offset
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_a_gray_network_of_imagenet_weights_is_the_rgb_network_on_gray_images():
    networks = [
        kseg.build_dilated_fcn(3, input_shape=(None, None, channels)) for channels in (1, 3)
    ]
    heads = [[layer for layer in n.layers if "context" in layer.name or "score" in layer.name]
             for n in networks]  # fmt: skip
    for mine, other in zip(*heads, strict=True):
        mine.set_weights(other.get_weights())
    gray = np.random.default_rng(0).uniform(0, 255, (1, 33, 47, 1)).astype("float32")
    expected = networks[1](np.repeat(gray, 3, -1)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(networks[0](gray), expected, atol=1e-4)
