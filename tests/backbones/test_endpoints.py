import functools

import keras
import numpy as np
import pytest

from kseg.backbones import BACKBONES
from kseg.backbones.endpoints import StrideToDilation, round_filters, scale_to_unit

# One or two of each family; what sets the others apart is a number or two.
LIGHT = (
    "efficientnet_lite0_cut",
    "mobilenet_v1_025",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "mobilenet_v3_small_minimalistic",
    "separable",
)
OTHERS = sorted(set(BACKBONES) - set(LIGHT) - {"resnet50", "vgg16"})
HEAVY = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "vgg16")]
# Squeeze-and-excite averages over the whole map, so v3_small's features know the map's stride.
LOCAL = [name for name in LIGHT if name != "mobilenet_v3_small"]


def endpoints_model(backbone, output_stride=None, shape=(64, 96, 3)):
    image = keras.Input(shape)
    model = keras.Model(image, BACKBONES[backbone](image, output_stride=output_stride)._asdict())
    model.jit_compile = False  # XLA compiles for seconds what TensorFlow runs in milliseconds
    return model


# For tests that only look at light networks.
built = functools.cache(endpoints_model)


def shapes(model):
    return {level: tensor.shape for level, tensor in model.output.items()}


def images(size, count=1):
    return np.random.default_rng(0).uniform(0, 255, (count, *size, 3)).astype("float32")


@pytest.mark.parametrize("output_stride", [None, 16, 8])
@pytest.mark.parametrize("backbone", [*LIGHT, *HEAVY])
def test_endpoints_have_the_promised_strides_and_channels(backbone, output_stride):
    expected = {}
    for k, channels in enumerate(BACKBONES[backbone].channels, start=1):
        stride = min(2**k, output_stride or BACKBONES[backbone].stride)
        expected[f"c{k}"] = (None, 64 // stride, 96 // stride, channels)
    build = built if backbone in LIGHT else endpoints_model
    assert shapes(build(backbone, output_stride)) == expected


@pytest.mark.parametrize("backbone", OTHERS)
def test_wider_and_deeper_variants_have_the_promised_channels(backbone):
    _, heights, _, channels = zip(*shapes(endpoints_model(backbone)).values(), strict=True)
    assert channels == BACKBONES[backbone].channels
    assert heights[-1] == 64 // BACKBONES[backbone].stride
    assert heights[:4] == (32, 16, 8, 4)


@pytest.mark.parametrize("backbone", [*LIGHT, *HEAVY])
def test_any_size_is_the_size_padded_with_grey_by_hand(backbone, enliven):
    dynamic = endpoints_model(backbone, shape=(None, None, 3))
    x = images((33, 47))
    if backbone != "vgg16":  # which has no norms to set
        enliven(dynamic, (64, 64))
    padded = np.full((1, 64, 64, 3), 127, "float32")
    step = BACKBONES[backbone].stride
    height, width = 33 + -33 % step, 47 + -47 % step
    padded[:, :33, :47] = x
    static = endpoints_model(backbone, shape=(33, 47, 3))
    static.set_weights(dynamic.get_weights())
    expected = dynamic(padded[:, :height, :width])
    # As a graph too, where an unknown size is a tensor.
    for features in (dynamic.predict_on_batch(x), static(x)):
        for k, level in enumerate(features, start=1):
            stride = min(2**k, step)
            assert features[level].shape[1:3] == (height // stride, width // stride)
            scale = np.ptp(expected[level])
            assert scale > 1e-5
            # A graph rounds otherwise than layer by layer, and twenty norms enlarge that.
            np.testing.assert_allclose(features[level], expected[level], atol=1e-3 * scale)


@pytest.mark.parametrize("backbone", LIGHT)
def test_names_of_layers_and_weights_are_unique(backbone):
    model = built(backbone, 16)
    for names in ([layer.name for layer in model.layers], [w.path for w in model.weights]):
        assert len(set(names)) == len(names)
    # A bare keras.ops call is an operation that is no layer.
    assert {operation.name for operation in model.operations} == {n.name for n in model.layers}


@pytest.mark.parametrize("backbone", LIGHT)
def test_names_and_weights_are_the_same_whatever_was_built_before(backbone):
    fine, coarse = (built(backbone, stride) for stride in (8, None))
    assert [layer.name for layer in fine.layers[1:]] == [layer.name for layer in coarse.layers[1:]]
    described = [[(w.path, tuple(w.shape)) for w in model.weights] for model in (fine, coarse)]
    assert described[0] == described[1]


@pytest.mark.parametrize("backbone", [n for n, b in BACKBONES.items() if b.stride == 32])
@pytest.mark.parametrize("output_stride", [4, 64, 0])
def test_other_output_strides_are_refused(backbone, output_stride):
    with pytest.raises(ValueError, match=rf"must be 8, 16 or 32; got {output_stride}\."):
        BACKBONES[backbone](keras.Input((64, 96, 3)), output_stride=output_stride)


@pytest.mark.parametrize("output_stride", [4, 32, 0])
def test_cut_backbone_refuses_strides_that_it_does_not_reach(output_stride):
    with pytest.raises(ValueError, match=rf"ends at stride 16.*8 or 16; got {output_stride}\."):
        BACKBONES["efficientnet_lite0_cut"](keras.Input((64, 96, 3)), output_stride=output_stride)


def test_strides_beyond_the_output_stride_become_dilation():
    plan = StrideToDilation(8)
    steps = [plan.step(s) for s in (2, 2, 2, 1, 2, 1, 2, 1)]
    # The paper's strides are 2, 4, 8, 8, 16, 16, 32, 32; the layer after the one that would
    # have strided sees twice as far, that one itself does not yet.
    expected = [(2, 1), (2, 1), (2, 1), (1, 1), (1, 1), (1, 2), (1, 2), (1, 4)]
    assert steps == expected


@pytest.mark.parametrize("backbone", [*LOCAL, *HEAVY])
def test_dilated_features_are_the_strided_ones_and_others_between(backbone, enliven):
    size = (64, 96)
    coarse = endpoints_model(backbone, shape=(*size, 3))
    if backbone != "vgg16":
        enliven(coarse, size)
    x = images(size)
    c5 = coarse(x)["c5"]
    scale = np.ptp(c5)
    assert scale > 1e-5
    fine = endpoints_model(backbone, 8, (*size, 3))
    fine.set_weights(coarse.get_weights())
    c5_fine = fine(x)["c5"]
    # A stride-2 "same" convolution starts at offset 1 of an even map; ResNet's 1x1 convolutions
    # and VGG's poolings start at 0.
    step = BACKBONES[backbone].stride // 8
    first = 0 if backbone in ("resnet50", "vgg16") else step - 1
    np.testing.assert_allclose(c5_fine[:, first::step, first::step], c5, atol=1e-4 * scale)


def test_scaling_is_minus_127_over_128():
    x = np.array([0, 127, 255], "float32").reshape(1, 1, 1, 3)
    y = keras.ops.convert_to_numpy(scale_to_unit(keras.ops.convert_to_tensor(x)))
    np.testing.assert_array_equal(y.ravel(), [-127 / 128, 0, 1])


def test_widths_are_rounded_to_8_but_not_by_over_a_tenth():
    # 11 is nearer to 8, but 8 is under 90 % of it.
    assert [round_filters(f) for f in (3, 8, 11, 11.9, 12, 33.6, 36.4)] == [
        8,
        8,
        16,
        16,
        16,
        32,
        40,
    ]
