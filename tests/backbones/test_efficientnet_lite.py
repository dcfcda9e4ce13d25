import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from kseg.backbones import efficientnet_lite0, load_imagenet_weights
from kseg.backbones.weights import IMAGENET_WEIGHTS, _find, efficientnet_lite_arrays


@pytest.fixture(scope="module")
def classifier():
    """EfficientNet-Lite0 as published, with its classifier and weights."""
    image = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(efficientnet_lite0(image).c5)
    model = keras.Model(image, layers.Dense(1000, name="classifier")(pooled))
    load_imagenet_weights(model, "efficientnet_lite0")
    return model


def test_it_has_the_published_number_of_parameters(classifier):
    assert classifier.count_params() == 4_694_024


def test_every_weight_of_the_file_has_its_layer_and_the_other_way_round(classifier):
    path = _find(IMAGENET_WEIGHTS["efficientnet_lite0"])
    arrays = efficientnet_lite_arrays(path, "efficientnet_lite0")
    weighted = {layer.name: layer.get_weights() for layer in classifier.layers if layer.weights}
    assert set(arrays) == set(weighted)
    for name, values in arrays.items():
        for value, weight in zip(values, weighted[name], strict=True):
            np.testing.assert_array_equal(value, weight)


@pytest.mark.parametrize(
    ("photo", "classes"), [("chelsea", range(281, 286)), ("coffee", (967, 968))]
)
def test_it_names_what_is_in_a_photo(classifier, photo, classes):
    data = pytest.importorskip("skimage.data")
    image = Image.fromarray(getattr(data, photo)()).resize((224, 224), Image.Resampling.BICUBIC)
    scores = classifier.predict_on_batch(np.asarray(image, "float32")[None])
    assert scores.argmax() in classes


def test_dilation_keeps_the_weights_and_nearly_the_verdict(classifier):
    """Output stride 8 is what dilated decoders need of the same weights."""
    image = keras.Input((224, 224, 3))
    pooled = layers.GlobalAveragePooling2D()(efficientnet_lite0(image, output_stride=8).c5)
    dilated = keras.Model(image, layers.Dense(1000)(pooled))
    dilated.set_weights(classifier.get_weights())
    data = pytest.importorskip("skimage.data")
    photo = Image.fromarray(data.chelsea()).resize((224, 224), Image.Resampling.BICUBIC)
    scores = dilated.predict_on_batch(np.asarray(photo, "float32")[None])
    assert scores.argmax() in range(281, 286)
