import warnings

import keras
import pytest

import kseg
from kseg.cli.file_sizes import file_size

layers = keras.layers


def strided():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 3, strides=8, padding="same")(image)
    return keras.Model(image, layers.UpSampling2D(8)(x))


def joined():
    image = keras.Input((None, None, 3))
    x = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(image))
    return keras.Model(image, layers.Conv2D(3, 1)(layers.Concatenate()([x, image])))


@pytest.mark.parametrize("build", [strided, joined])
def test_a_file_takes_the_next_size_of_which_the_network_makes_a_whole_grid(build):
    with pytest.warns(UserWarning, match="of 96 x 96: of 71 x 91 the network makes no whole grid"):
        assert file_size(build(), None, (71, 91)) == (96, 96)


@pytest.mark.parametrize("size", [(64, 96), (72, 88)])
def test_a_size_that_suits_stays(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert file_size(strided(), None, size) == size


def test_networks_of_kseg_take_every_size():
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    assert file_size(model, None, (71, 91)) == (71, 91)


def test_a_size_is_asked_for_where_nothing_tells_it():
    with pytest.raises(ValueError, match="name the file's input with --size H W"):
        file_size(strided(), None, None)
    fixed = keras.Sequential([keras.Input((40, 50, 3)), layers.Conv2D(3, 1)])
    assert file_size(fixed, None, None) == (40, 50)
