"""Large images are read once, and what is trained on is nearly what it was."""

import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.data import dataset
from kseg.training.images import training_split
from kseg.training.shrinking import ScratchFile, Shrinking

_RECIPE = kseg.Recipe(size=(48, 64), crop=(64, 64), batch_size=2, epochs=4, deterministic=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory, write_rectangles):
    """Images of 480 x 640, ten times the working size, and 2.png, which is hardly larger."""
    sizes = ((480, 640), (480, 640), (60, 80), *((480, 640),) * 5)
    return kseg.load_data(write_rectangles(tmp_path_factory.mktemp("large") / "data", sizes))


@pytest.fixture
def decoded(monkeypatch):
    """Counts how often each file is decoded."""
    counts, original = Counter(), dataset.decode_image

    def decode(path, *others):
        counts[path] += 1
        return original(path, *others)

    monkeypatch.setattr(dataset, "decode_image", decode)
    return counts


def test_shrunk_images_fit_the_largest_enlargement(large):
    split = training_split(Shrinking.of(large), _RECIPE)
    assert split.data.box == (83, 111)  # 48 and 64 times 1.6 times 1.08
    for pair in large.files("train"):
        image, label_map = split.data.read(pair)
        whole, truth = large.read(pair)
        if truth.size < 3 * 83 * 111:
            assert np.array_equal(image, whole) and np.array_equal(label_map, truth)
            continue
        assert image.shape == (83, 111, 3) and label_map.shape == (83, 111)
        expected = Image.fromarray(whole).resize((111, 83), Image.Resampling.BILINEAR)
        assert np.array_equal(image, expected)
        rows = ((np.arange(83) + 0.5) * 480 / 83).astype(int)
        columns = ((np.arange(111) + 0.5) * 640 / 111).astype(int)
        assert np.array_equal(label_map, truth[rows][:, columns])


def test_crops_are_nearly_those_of_the_whole_images(large):
    shrunk, whole = training_split(Shrinking.of(large), _RECIPE), training_split(large, _RECIPE)
    for index in range(6):
        (images, labels), (expected, truth) = shrunk[index], whole[index]
        assert np.abs(images - expected).mean() < 2
        assert np.mean(labels == truth) > 0.97
        assert set(np.unique(labels)) <= set(np.unique(truth))


def test_each_image_is_decoded_once_and_bits_do_not_depend_on_it(large, decoded):
    split = training_split(Shrinking.of(large), _RECIPE)
    batches = [split[index] for index in range(8)]
    times = {pair.image.name: decoded[pair.image] for pair in large.files("train")}
    assert times.pop("2.png") > 1 and set(times.values()) == {1} and len(times) == 4
    fresh = training_split(Shrinking.of(large), _RECIPE)  # as after a stop
    for index in (7, 3):
        for one, other in zip(batches[index], fresh[index], strict=True):
            assert np.array_equal(one, other)


def test_without_room_the_bits_are_the_same(large, decoded, monkeypatch):
    kept = training_split(Shrinking.of(large), _RECIPE)
    data = Shrinking.of(large)
    data.store.room = 0
    none = training_split(data, _RECIPE)
    full = training_split(Shrinking.of(large), _RECIPE)
    batches = [kept[index] for index in range(4)]
    decoded.clear()
    again = [none[index] for index in range(4)]
    assert max(decoded.values()) > 1

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    filled = [full[index] for index in range(4)]
    for expected, *others in zip(batches, again, filled, strict=True):
        for other in others:
            assert all(np.array_equal(a, b) for a, b in zip(expected, other, strict=True))
    assert full.data.store.room == 0


def test_store_holds_no_more_than_it_may():
    store = ScratchFile(most=100)
    arrays = [np.full((6, 5), value, "uint8") for value in range(4)]
    for key, array in enumerate(arrays):
        store.put(key, array)
    assert store.room == 10 and store.get(3) is None
    for key in range(3):
        assert np.array_equal(store.get(key)[0], arrays[key])


def test_training_decodes_large_images_once(large, decoded, own_model, tmp_path):
    kseg.fit(own_model(), large, _RECIPE, run_dir=tmp_path / "run")
    trained = [pair.image for pair in large.files("train") if pair.image.name != "2.png"]
    assert {decoded[file] for file in trained} == {1}
    # By four validations, and once for the previews.
    assert {decoded[pair.image] for pair in large.files("val")} == {5}
