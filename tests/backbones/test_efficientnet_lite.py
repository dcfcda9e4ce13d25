import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from kseg.backbones import BACKBONES, load_imagenet_weights
from kseg.backbones.catalogue import IMAGENET_WEIGHTS
from kseg.backbones.torch_file import efficientnet_lite_arrays
from kseg.backbones.weights import _find

# The size of the pictures, and the number of parameters, that each was published with.
PUBLISHED = {
    "efficientnet_lite0": (224, 4_694_024),
    "efficientnet_lite1": (240, 5_470_344),
    "efficientnet_lite2": (260, 6_150_168),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def backbone(request):
    pytest.importorskip(IMAGENET_WEIGHTS[request.param].package)
    return request.param


@pytest.fixture(scope="module")
def classifier(backbone):
    """An EfficientNet-Lite as published, with its classifier and weights."""
    image = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(BACKBONES[backbone](image).c5)
    model = keras.Model(image, layers.Dense(1000, name="classifier")(pooled))
    model.jit_compile = False
    load_imagenet_weights(model, backbone)
    return model


def test_it_has_the_published_number_of_parameters(classifier, backbone):
    assert classifier.count_params() == PUBLISHED[backbone][1]


def test_every_weight_of_the_file_has_its_layer_and_the_other_way_round(classifier, backbone):
    path = _find(IMAGENET_WEIGHTS[backbone])
    arrays = efficientnet_lite_arrays(path, backbone)
    weighted = {layer.name: layer.get_weights() for layer in classifier.layers if layer.weights}
    assert set(arrays) == set(weighted)
    for name, values in arrays.items():
        for value, weight in zip(values, weighted[name], strict=True):
            np.testing.assert_array_equal(value, weight)


@pytest.mark.parametrize(
    ("picture", "classes"), [("chelsea", range(281, 286)), ("coffee", (967, 968))]
)
def test_it_names_what_is_in_a_picture(classifier, backbone, picture, classes):
    data = pytest.importorskip("skimage.data")
    size = PUBLISHED[backbone][0]
    image = Image.fromarray(getattr(data, picture)()).resize((size, size), Image.Resampling.BICUBIC)
    scores = classifier.predict_on_batch(np.asarray(image, "float32")[None])
    assert scores.argmax() in classes


def test_dilation_keeps_the_weights_and_nearly_the_verdict():
    """Output stride 8 is what dilated decoders need of the same weights."""
    image = keras.Input((224, 224, 3))
    pooled = layers.GlobalAveragePooling2D()(
        BACKBONES["efficientnet_lite0"](image, output_stride=8).c5
    )
    dilated = keras.Model(image, layers.Dense(1000, name="classifier")(pooled))
    dilated.jit_compile = False
    load_imagenet_weights(dilated, "efficientnet_lite0")
    data = pytest.importorskip("skimage.data")
    picture = Image.fromarray(data.chelsea()).resize((224, 224), Image.Resampling.BICUBIC)
    scores = dilated.predict_on_batch(np.asarray(picture, "float32")[None])
    assert scores.argmax() in range(281, 286)


def test_cut_is_the_whole_up_to_stride_16():
    image = keras.Input((64, 96, 3))
    whole, cut = (BACKBONES[f"efficientnet_lite0{end}"](image) for end in ("", "_cut"))
    models = [keras.Model(image, endpoints[:4]) for endpoints in (whole, cut)]
    for model in models:
        assert model.count_params() == 794_880
        load_imagenet_weights(model, "efficientnet_lite0_cut")
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    for value, expected in zip(models[1](x), models[0](x), strict=True):
        assert np.ptp(expected) > 1
        np.testing.assert_array_equal(value, expected)
    assert cut.c5 is cut.c4
