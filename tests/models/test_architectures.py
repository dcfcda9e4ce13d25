"""What makes each network the one of its paper. FCN has a file of its own."""

import keras
import numpy as np
import pytest
from keras import layers

from kseg.backbones import Endpoints
from kseg.decoders import dilated_decoder
from kseg.layers import Resize
from kseg.models import MODELS


@pytest.fixture
def living(make, enliven):
    """A function that builds a network of the table at a fixed size, with lively weights."""

    def build(name, size=(64, 64), **arguments):
        return enliven(make(name, size=size, **arguments), size)

    return build


def image(size=(64, 64)):
    return np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")


def outputs(model, *names, size=(64, 64)):
    """Returns what layers of a network make of an image."""
    part = keras.Model(model.input, [model.get_layer(name).output for name in names])
    return [keras.ops.convert_to_numpy(y) for y in part(image(size))]


def convolved(x, model, name):
    """A 1x1 convolution by hand."""
    kernel, *bias = model.get_layer(name).get_weights()
    return x @ kernel[0, 0] + (bias[0] if bias else 0)


def folded(model, name):
    """Returns factor and offset that a batch norm comes down to."""
    norm = model.get_layer(name)
    gamma, beta, mean, variance = norm.get_weights()
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


def conv_norm(x, model, name):
    """A 1x1 convolution and its batch norm by hand."""
    factor, offset = folded(model, f"{name}_norm")
    return convolved(x, model, f"{name}_conv") * factor + offset


def relu6(x):
    return np.clip(x, 0, 6)


def cells(x):
    """Turns (N, 2 * H, 2 * W, C) into (N, H, W, 4, C), the four pixels of each cell."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    return x.reshape(batch, height // 2, width // 2, 4, channels)


def test_segnet_places_features_where_the_encoders_maxima_were(living):
    model = living("segnet")
    for stage in range(1, 6):
        coarse, source = model.get_layer(f"unpool{stage}").input
        assert source is model.get_layer(f"pool{stage}").input
        above = f"decode{stage + 1}_{(2, 2, 3, 3, 3)[stage]}_relu" if stage < 5 else "pool5"
        assert coarse is model.get_layer(above).output
        names = [above, source._keras_history.operation.name, f"unpool{stage}"]
        coarse, source, placed = outputs(model, *names)
        at_switch = np.arange(4)[:, None] == cells(source).argmax(3)[:, :, :, None]
        expected = np.where(at_switch, coarse[:, :, :, None], 0)
        np.testing.assert_array_equal(cells(placed), expected)


def test_segnets_logits_follow_the_switches(living):
    """Of encoder features that pool alike, those with other maxima give other logits."""
    model = living("segnet")
    coarse, source = model.get_layer("unpool1").input
    decoder = keras.Model([coarse, source, model.input], model.output)
    coarse, source = outputs(model, "decode2_2_relu", "encode1_2_relu")
    mirrored = source.reshape(2, 64, 32, 2, -1)[:, :, :, ::-1].reshape(source.shape)
    pool = layers.MaxPooling2D(2)
    np.testing.assert_array_equal(pool(source), pool(mirrored))
    logits, other = (decoder([coarse, s, image()]).numpy() for s in (source, mirrored))
    np.testing.assert_allclose(logits, model(image()), atol=1e-4)
    assert np.abs(other - logits).max() > 0.1


@pytest.mark.parametrize("name", ["unet", "unet-backbone"])
def test_unet_concatenates_every_level(name, make):
    model = make(name, size=(64, 64))
    if name == "unet":
        skips = [f"contract{level}_2_relu" for level in range(4)]
    else:
        skips = [model.kseg_endpoints[f"c{level}"] for level in range(1, 5)]
    for level, skip in enumerate(skips):
        fuse = model.get_layer(f"fuse{level}")
        assert isinstance(fuse, layers.Concatenate)
        assert fuse.input[0] is model.get_layer(f"upsample{level}").output
        assert fuse.input[1] is model.get_layer(skip).output
        assert fuse.output.shape[3] == sum(part.shape[3] for part in fuse.input)
    assert len([x for x in model.layers if isinstance(x, layers.Conv2DTranspose)]) == 4


def test_linknet_adds_every_level(make):
    model = make("linknet", size=(64, 64))
    for level in ("c2", "c3", "c4"):
        fuse = model.get_layer(f"fuse_{level}")
        assert isinstance(fuse, layers.Add)
        skip = model.get_layer(model.kseg_endpoints[level]).output
        assert fuse.input[0] is model.get_layer(f"widen_{level}_relu").output
        assert fuse.input[1] is skip and fuse.output.shape == skip.shape
        assert isinstance(model.get_layer(f"upsample_{level}"), layers.Conv2DTranspose)
    assert not any(isinstance(layer, layers.Concatenate) for layer in model.layers)


@pytest.mark.parametrize("name", ["deeplab_v3", "deeplab_v3_plus"])
@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
def test_deeplabs_rates_grow_as_its_stride_shrinks(name, output_stride, rates, make):
    model = make(name, size=(64, 64), output_stride=output_stride)
    c5 = model.get_layer(model.kseg_endpoints["c5"]).output
    assert c5.shape[1:3] == (64 // output_stride, 64 // output_stride)
    assert model.get_layer("pyramid1_conv").input is c5
    for rate in rates:
        branch = model.get_layer(f"pyramid{rate}_depthwise_conv")
        assert branch.input is c5 and branch.dilation_rate == (rate, rate)
    assert len(model.get_layer("pyramid_concat").input) == 4


def assert_is_papers_pooling(model, near, pooled_branch, project, image_project, result):
    """The paper enlarges the pooled branch, joins it to the others and projects all at once."""
    concat, pooled, got = outputs(model, near, pooled_branch, result)
    pooled = np.broadcast_to(pooled, (*concat.shape[:3], pooled.shape[3]))
    joined = np.concatenate([concat, pooled], -1)
    kernels, offset = [], 0
    for part in (project, image_project):
        factor, add = folded(model, f"{part}_norm")
        kernels.append(model.get_layer(f"{part}_conv").get_weights()[0][0, 0] * factor)
        offset = offset + add
    expected = relu6(joined @ np.concatenate(kernels) + offset)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_deeplabs_image_pooling_is_the_papers(output_stride, living):
    model = living("deeplab_v3", output_stride=output_stride)
    c5, pooled = outputs(model, model.kseg_endpoints["c5"], "image_pool_relu")
    mean = c5.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(pooled, relu6(conv_norm(mean, model, "image_pool")), atol=1e-4)
    assert_is_papers_pooling(
        model, "pyramid_concat", "image_pool_relu", "pyramid_project", "image_project",
        "pyramid_relu",
    )  # fmt: skip


def test_deeplab_v3_plus_joins_features_of_stride_4(make):
    model = make("deeplab_v3_plus", size=(64, 64))
    coarse, detail = model.get_layer("fuse_c2").input
    assert coarse is model.get_layer("upsample_c2").output
    assert detail.shape == (None, 16, 16, 48)
    c2 = model.get_layer(model.kseg_endpoints["c2"]).output
    assert model.get_layer("detail_c2_conv").input is c2
    assert model.get_layer("score_c2").output.shape[1:3] == (16, 16)


def test_lraspp_gates_its_features_by_the_whole_image(living):
    model = living("lraspp")
    ends = [model.kseg_endpoints[level] for level in ("c5", "c3")]
    c5, c3, gated, upsampled, fused = outputs(model, *ends, "gated_c5", "upsample_c3", "fuse_c3")
    assert (c5.shape[1], c3.shape[1]) == (64 // 16, 64 // 8)
    gate = 1 / (1 + np.exp(-convolved(c5.mean((1, 2), keepdims=True), model, "gate")))
    assert 0 < gate.min() and gate.max() < 1 and np.ptp(gate) > 0.1
    expected = relu6(conv_norm(c5, model, "context_c5")) * gate
    np.testing.assert_allclose(gated, expected, atol=1e-4)
    scores = convolved(upsampled, model, "score_c5") + convolved(c3, model, "score_c3")
    np.testing.assert_allclose(fused, scores, atol=1e-3)


def test_fast_scnns_branches_share_the_first_layers(make):
    model = make("fast_scnn", size=(64, 64))
    shared = model.get_layer("learn_to_downsample3_pointwise_relu").output
    assert shared.shape[1:] == (8, 8, 64)
    assert model.get_layer("fuse_fine_conv").input is shared
    assert model.get_layer("stage1_block0_expand_conv").input is shared
    coarse = model.get_layer("pool_relu").output
    assert coarse.shape[1:] == (2, 2, 128) and model.get_layer("upsample_c3").input is coarse
    blocks = [layer for layer in model.layers if layer.name.endswith("_project_conv")]
    assert [layer.filters for layer in blocks if "stage" in layer.name] == [
        *[64] * 3, *[96] * 3, *[128] * 3
    ]  # fmt: skip
    assert [model.get_layer(f"pool{window}").pool_size for window in (3, 5, 9)] == [
        (3, 3), (5, 5), (9, 9)
    ]  # fmt: skip


def test_fast_scnns_image_pooling_is_the_papers(living):
    assert_is_papers_pooling(
        living("fast_scnn"), "pool_concat", "image_pool_relu", "pool_project", "image_project",
        "pool_relu",
    )  # fmt: skip


def test_context_module_is_the_identity_at_the_start(make):
    model = make("dilated_fcn", size=(64, 64))
    assert model.get_layer("score_c5").output.shape[1:3] == (8, 8)
    model.get_layer("score_c5").kernel.assign(
        np.random.default_rng(0).normal(size=(1, 1, 64, 3)) * 1e8  # features are 1e-8 as built
    )
    before, after, logits = outputs(model, "score_c5", "score_context", "logits")
    assert before.min() < 0 < before.max()
    np.testing.assert_array_equal(after, np.maximum(before, 0))
    np.testing.assert_allclose(logits, Resize(8)(after), atol=1e-4)


def test_context_module_sees_67_positions():
    x = keras.Input((99, 99, 2))
    logits = dilated_decoder(Endpoints(x, x, x, x, x), 2, 8)
    model = keras.Model(x, keras.Model(x, logits).get_layer("score_context").output)
    for number, rate in enumerate((1, 1, 2, 4, 8, 16, 1), start=1):
        layer = model.get_layer(f"context{number}")
        assert layer.dilation_rate == (rate, rate)
        layer.kernel.assign(np.ones(layer.kernel.shape))
    model.get_layer("score_c5").kernel.assign(np.ones((1, 1, 2, 2)))
    spot = np.zeros((1, 99, 99, 2), "float32")
    spot[0, 49, 49] = 1
    change = model(spot).numpy() - model(np.zeros_like(spot)).numpy()
    expected = np.zeros((99, 99), bool)
    expected[49 - 33 : 49 + 34, 49 - 33 : 49 + 34] = True
    np.testing.assert_array_equal(change[0, :, :, 0] != 0, expected)


@pytest.mark.parametrize("name", ["atrous_fpn", "atrous_fpn-16"])
def test_atrous_fpn_reaches_stride_4(name, make):
    model = make(name, size=(64, 64))
    for level, side in (("c2", 16), ("c3", 8), ("c4", 4)):
        end = model.get_layer(model.kseg_endpoints[level]).output
        assert model.get_layer(f"lateral_{level}_conv").input is end
        fuse = model.get_layer(f"fuse_{level}")
        assert isinstance(fuse, layers.Add) and fuse.output.shape[1:3] == (side, side)
    assert model.get_layer("score_c2").output.shape[1:3] == (16, 16)
    assert model.get_layer("upsample_image").scale == 4
    rates = [model.get_layer(f"atrous{r}_depthwise_conv").dilation_rate[0] for r in (2, 4, 8)]
    assert rates == [2, 4, 8] and len(model.get_layer("context_concat").input) == 4


def test_atrous_fpn_without_interpolated_features_takes_the_weights_of_the_other(make):
    bilinear, nearest = make("atrous_fpn"), make("atrous_fpn-nearest")
    assert [(w.path, w.shape) for w in nearest.weights] == [
        (w.path, w.shape) for w in bilinear.weights
    ]
    resizes = [layer for layer in nearest.layers if isinstance(layer, Resize)]
    assert {layer.name: layer.interpolation for layer in resizes} == {
        "upsample_c4": "nearest",
        "upsample_c3": "nearest",
        "upsample_c2": "nearest",
        "upsample_image": "bilinear",
    }


def test_panoptic_deeplab_is_the_atrous_fpn_and_a_branch_for_objects(make, enliven):
    model = enliven(make("panoptic_deeplab"))
    semantic = make("atrous_fpn")
    for layer in semantic.layers:  # all of them are there, under the same names
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    found = model(image())
    np.testing.assert_allclose(found["semantic"], semantic(image()), atol=1e-5)
    own = {layer.name for layer in model.layers if layer.weights}
    own -= {layer.name for layer in semantic.layers}
    assert {name.partition("_")[0] for name in own} == {"objects", "center", "offset", "score"}
    for name, channels in (("center", 1), ("offset", 2)):
        assert model.get_layer(f"{name}_c2_depthwise_conv").kernel_size == (5, 5)
        # Neither is squeezed: offsets go both ways, and errors of the heatmap too.
        score = model.get_layer(f"score_{name}")
        assert score.output.shape[-1] == channels and score.activation.__name__ == "linear"


def test_panoptic_deeplab_is_small():
    model = MODELS["panoptic_deeplab"](2, weights=None)
    assert 3.8e6 < model.count_params() < 4e6


@pytest.mark.parametrize(
    ("name", "arguments", "millions", "tolerance"),
    [
        ("segnet", {"num_classes": 12}, 29.5, 0.005),
        # Batch norms have two numbers a channel where the paper has a bias: 5,888 more.
        ("unet", {"num_classes": 2}, 31.0, 0.005),
        # The paper does not count by layer; its networks that others wrote have 1.14 M too.
        ("fast_scnn", {"num_classes": 19}, 1.11, 0.03),
        pytest.param(
            # The last step, x8, is fixed here and a layer of 0.1 M in the paper's code.
            "fcn8s", {"num_classes": 21, "backbone": "vgg16", "weights": None}, 134.5, 0.005,
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_parameters_are_the_papers(name, arguments, millions, tolerance):
    model = MODELS[name](**arguments)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert count / 1e6 == pytest.approx(millions, rel=tolerance)
