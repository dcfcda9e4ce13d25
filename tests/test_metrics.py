import dataclasses
import json
import math

import keras
import numpy as np
import pytest
from scipy import ndimage

from kseg.metrics import (
    BoundaryCounts,
    Calibration,
    ConfusionMatrix,
    Scores,
    probabilities_of,
)

NAMES = ("a", "b", "c")

# label:      a  a  a  b  b  c  ignored
# prediction: a  a  b  b  a  c  b
LABELS = np.array([[0, 0, 0, 1, 1, 2, 255]])
PREDICTION = np.array([[0, 0, 1, 1, 0, 2, 1]])


def scored(label_map, prediction, names=NAMES):
    matrix = ConfusionMatrix(len(names))
    matrix.update(label_map, prediction)
    return matrix.scores(names)


def test_scores_by_hand():
    scores = scored(LABELS, PREDICTION)
    assert scores.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert scores.iou_per_class == pytest.approx({"a": 2 / 4, "b": 1 / 3, "c": 1})
    assert scores.mean_iou == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert scores.pixel_accuracy == pytest.approx(4 / 6)
    assert scores.images == 1


def test_class_absent_from_the_labels_is_none_and_not_in_the_mean():
    scores = scored(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]))
    assert scores.iou_per_class == {"a": 1 / 2, "b": 1, "c": None}
    assert scores.mean_iou == pytest.approx(3 / 4)


def test_class_never_predicted_right_is_0_and_in_the_mean():
    scores = scored(np.array([[0, 1]]), np.array([[0, 0]]))
    assert scores.iou_per_class == {"a": 1 / 2, "b": 0, "c": None}
    assert scores.mean_iou == pytest.approx(1 / 4)


def test_one_matrix_over_all_images_not_a_mean_of_images():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((1, 10), int), np.zeros((1, 10), int))
    matrix.update(np.ones((1, 2), int), np.array([[1, 0]]))
    scores = matrix.scores(("a", "b"))
    # a: 10 right, 1 wrong; b: 1 right of 2. The mean of per-image means would be 3/4.
    assert scores.mean_iou == pytest.approx((10 / 11 + 1 / 2) / 2)
    assert scores.images == 2


def test_it_equals_keras_where_both_are_defined():
    rng = np.random.default_rng(0)
    matrix, theirs = ConfusionMatrix(5), keras.metrics.MeanIoU(5, ignore_class=255)
    for _ in range(3):
        labels, prediction = rng.integers(0, 5, (2, 7, 9))
        labels[0] = 255
        matrix.update(labels, prediction)
        theirs.update_state(labels, prediction)
    scores = matrix.scores(tuple("abcde"))
    assert scores.mean_iou == pytest.approx(float(theirs.result()), rel=1e-6)


@pytest.mark.parametrize("what", ["label map", "prediction"])
@pytest.mark.parametrize("value", [3, 200, -1])
def test_value_that_is_no_class_is_refused_where_keras_leaves_it_out(what, value):
    labels, prediction = np.array([[0, 1, 2, 0]]), np.array([[0, 1, 2, 0]])
    (labels if what == "label map" else prediction)[0, 3] = value
    theirs = keras.metrics.MeanIoU(3)
    theirs.update_state(labels, prediction)
    assert float(theirs.result()) == pytest.approx(1)  # as if all were right
    with pytest.raises(ValueError, match=rf"The {what} holds {value}, but classes go from 0 to 2"):
        scored(labels, prediction)


def test_refused_image_is_not_counted_in_part():
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match="The prediction holds 9"):
        matrix.update(np.array([[0, 1]]), np.array([[0, 9]]))
    assert not matrix.counts.any() and matrix.images == 0


def test_any_prediction_under_an_ignored_pixel_will_do():
    scores = scored(np.array([[0, 255]]), np.array([[0, 255]]))
    assert scores.pixel_accuracy == 1 and scores.confusion.sum() == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64"])
def test_bytes_do_not_overflow_with_255_classes(dtype):
    labels = np.arange(255, dtype=dtype).reshape(5, 51)
    matrix = ConfusionMatrix(255)
    matrix.update(labels, labels)
    assert (np.diag(matrix.counts) == 1).all() and matrix.counts.sum() == 255


def test_signed_bytes_do_not_overflow():
    labels = np.arange(128, dtype="int8").reshape(8, 16)
    matrix = ConfusionMatrix(128)
    matrix.update(labels, labels)
    assert (np.diag(matrix.counts) == 1).all() and matrix.counts.sum() == 128


def test_another_class_can_be_ignored():
    matrix = ConfusionMatrix(2, ignore_class=0)
    matrix.update(np.array([[0, 1]]), np.array([[1, 1]]))
    assert matrix.counts.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("shape", [(1, 6), (7, 1), (1, 7, 1)])
def test_shapes_must_be_equal(shape):
    match = rf"label map has shape \(1, 7\) and the prediction .*{shape[-1]}.*; they must be equal"
    with pytest.raises(ValueError, match=match):
        ConfusionMatrix(3).update(LABELS, np.zeros(shape, int))


def test_no_pixel_is_no_score():
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match="There is no pixel to score"):
        matrix.scores(("a", "b"))
    matrix.update(np.full((2, 2), 255), np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="There is no pixel to score"):
        matrix.scores(("a", "b"))


def test_scores_stand_still_while_counting_goes_on():
    matrix = ConfusionMatrix(3)
    matrix.update(LABELS, PREDICTION)
    scores = matrix.scores(NAMES)
    matrix.update(LABELS, PREDICTION)
    assert scores.confusion.sum() == 6


def test_scores_become_plain_json():
    scores = scored(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]))
    assert json.loads(json.dumps(scores.to_json())) == {
        "mean_iou": 0.75,
        "pixel_accuracy": 0.75,
        "iou_per_class": {"a": 0.5, "b": 1.0, "c": None},
        "images": 1,
    }


def test_scores_are_a_frozen_record():
    scores = scored(LABELS, PREDICTION)
    assert isinstance(scores, Scores) and "confusion" not in repr(scores)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.mean_iou = 1.0


def test_boundary_iou_by_hand():
    # A square of 6 x 6 in an image of 20 x 20, predicted one pixel too far right. A distance of
    # 1 pixel (0.02 of the diagonal is 0.57) leaves rings of 20 pixels, that share 10: the
    # top and the bottom row have 5 each, and the columns beside them meet nowhere.
    labels, prediction = np.zeros((20, 20), int), np.zeros((20, 20), int)
    labels[7:13, 7:13] = prediction[7:13, 8:14] = 1
    counts = BoundaryCounts(3)
    counts.update(labels, prediction)
    assert counts.counts[:, 1].tolist() == [20, 20, 10]
    ious = counts.iou_per_class(NAMES)
    assert ious["b"] == pytest.approx(10 / 30)
    assert ious["c"] is None


def _band(mask, distance):
    """The reference code's own steps: a border of zeros, erosions, what they took away."""
    square = np.ones((3, 3))
    return mask & ~ndimage.binary_erosion(mask, square, iterations=distance, border_value=0)


@pytest.mark.parametrize(("size", "ratio"), [((40, 60), 0.02), ((64, 48), 0.05), ((9, 9), 0.9)])
def test_boundary_iou_is_that_of_eroded_masks(size, ratio):
    rng = np.random.default_rng(0)
    distance = max(1, round(ratio * math.hypot(*size)))
    counts, expected = BoundaryCounts(4, ratio), np.zeros((2, 4))
    for _ in range(2):
        coarse = rng.integers(0, 4, (2, 8, 8))
        labels, prediction = (
            np.kron(a, np.ones((8, 8), int))[: size[0], : size[1]] for a in coarse
        )
        counts.update(labels, prediction)
        for index in range(4):
            true, found = (_band(a == index, distance) for a in (labels, prediction))
            expected += np.eye(4)[index] * [[(true & found).sum()], [(true | found).sum()]]
    ious = counts.iou_per_class(tuple("abcd"))
    assert list(ious.values()) == pytest.approx((expected[0] / expected[1]).tolist())


def test_the_edge_of_ignored_pixels_is_no_boundary():
    labels, prediction = np.zeros((30, 30), int), np.zeros((30, 30), int)
    labels[:, 15:] = 255
    prediction[:, 15:] = 1
    counts = BoundaryCounts(2)
    counts.update(labels, prediction)
    edge = 15 + 15 + 28  # above, below and on the left
    assert counts.counts.tolist() == [[edge, 0], [edge, 0], [edge, 0]]
    assert counts.iou_per_class(("a", "b")) == {"a": 1, "b": None}


def test_calibration_by_hand():
    # Three pixels at 0.9, of which two are right, one at 0.6, which is right; one is ignored.
    probabilities = np.array([[[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [1, 0]]])
    calibration = Calibration(bins=10)
    calibration.update(np.array([[0, 1, 1, 0, 255]]), probabilities)
    assert calibration.pixels.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 3, 0]
    assert calibration.right.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 2, 0]
    # 3/4 * |2/3 - 0.9| + 1/4 * |1 - 0.6|
    assert calibration.error() == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.4)


def test_probabilities_are_the_softmax_of_logits_and_themselves():
    logits = np.array([[[0.0, math.log(3)], [5, 5]]])
    expected = [[[0.25, 0.75], [0.5, 0.5]]]
    np.testing.assert_allclose(probabilities_of(logits), expected, rtol=1e-6)
    np.testing.assert_allclose(probabilities_of(np.array(expected)), expected)


def test_class_map_has_no_probabilities_even_where_it_was_resized():
    ids = np.kron(np.array([[0, 1], [2, 1]]), np.ones((8, 8), int))
    one_hot = np.eye(3, dtype="float32")[ids]
    assert probabilities_of(one_hot) is None
    resized = keras.ops.image.resize(one_hot, (40, 40), interpolation="bilinear")
    assert probabilities_of(np.asarray(resized)) is None


def test_int8_softmaxes_that_round_to_zeros_are_no_class_map():
    sure = np.zeros((4, 4, 3), "float32")
    sure[..., 1] = 255 / 256
    np.testing.assert_array_equal(probabilities_of(sure), sure)


def test_a_class_without_a_contour_has_no_boundary_iou():
    labels = np.full((64, 64), 255)
    labels[20:44, 20:44] = 1
    counts = BoundaryCounts(2)
    counts.update(labels, np.ones((64, 64), int))
    assert counts.iou_per_class(("a", "b")) == {"a": None, "b": None}


def test_probabilities_near_1_are_no_class_map():
    sure = np.full((4, 4, 3), 1e-7, "float32")
    sure[..., 0] = 1 - 2e-7
    np.testing.assert_array_equal(probabilities_of(sure), sure)


@pytest.mark.parametrize("classes", [3, 80, 150])
def test_shares_of_an_int8_file_stay_shares_however_many_they_are(classes):
    rng = np.random.default_rng(0)
    grown = np.exp(rng.normal(0, 1, (16, 16, classes)))
    shares = np.round(grown / grown.sum(-1, keepdims=True) * 256).clip(0, 255) / 256
    np.testing.assert_array_equal(probabilities_of(shares), shares)
