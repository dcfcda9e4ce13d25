import keras
import numpy as np
import pytest

from kseg import strips
from kseg.strips import label_map, resize_logits


def _logits(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


@pytest.mark.parametrize("size", [(7, 5), (7, 11), (40, 61), (3, 2), (1, 1), (200, 3)])
@pytest.mark.parametrize("pixels", [1, 64, 1 << 20])
def test_strips_give_what_keras_gives_at_once(size, pixels, monkeypatch):
    monkeypatch.setattr(strips, "_PIXELS", pixels)
    logits = _logits(7, 5, 4)
    expected = keras.ops.convert_to_numpy(
        keras.ops.image.resize(logits[None], size, interpolation="bilinear")
    )[0]
    np.testing.assert_allclose(resize_logits(logits, size), expected, atol=1e-6)
    np.testing.assert_array_equal(label_map(logits, size), expected.argmax(-1))


def test_half_way_between_two_pixels_is_their_mean():
    logits = np.array([0.0, 4.0], "float32").reshape(1, 2, 1)
    assert resize_logits(logits, (1, 4)).ravel().tolist() == [0, 1, 3, 4]


def test_of_equal_logits_the_first_class_counts():
    logits = np.zeros((2, 3, 5), "float32")
    logits[0, 0, 2:] = 1
    expected = [[2, 0, 0], [0, 0, 0]]
    assert label_map(logits).tolist() == expected and label_map(logits).dtype == np.uint8


def test_256_classes_fit():
    logits = np.zeros((1, 1, 256), "float32")
    logits[..., 255] = 1
    assert (label_map(logits, (2, 2)) == 255).all()


def test_strips_together_are_the_resized_logits(monkeypatch):
    monkeypatch.setattr(strips, "_PIXELS", 100)
    logits = np.random.default_rng(0).normal(size=(9, 11, 4)).astype("float32")
    found = list(strips.resized_strips(logits, (37, 23)))
    assert [rows.start for rows, _ in found] == list(range(0, 37, 4))
    joined = np.concatenate([scores for _, scores in found])
    np.testing.assert_array_equal(joined, strips.resize_logits(logits, (37, 23)))
