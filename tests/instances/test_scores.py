"""Scores of objects by hand; test_oracles.py has them as other programs give them."""

import json

import numpy as np
import pytest

from kseg.instances import Groups, ObjectMatcher, Quality, instances_of


def instances(label_map, ids, class_ids, scores=None):
    scores = np.ones(len(class_ids)) if scores is None else scores
    return instances_of(
        Groups(
            np.array(label_map, "uint8"),
            np.array(ids, "uint16"),
            np.array(class_ids, "uint8"),
            np.array(scores, "float32"),
        )
    )


def row(*parts):
    """Returns an array of one row from (value, times) pairs."""
    return np.concatenate([np.full(times, value) for value, times in parts])[None]


def score(truth, found, things=(1,), names=("ground", "cell")):
    matcher = ObjectMatcher(len(names), things)
    matcher.update(*truth, found)
    return matcher.scores(names)


def test_quality_by_hand():
    # Two cells of 10 pixels. The first is found with 8 of its pixels, the second with 5 of 10, and
    # one is invented in 4 pixels of the ground.
    ids = row((0, 10), (1, 10), (2, 10))
    guess = row((3, 4), (0, 8), (1, 8), (2, 5), (0, 5))
    found = instances(guess > 0, guess, [1, 1, 1])
    scores = score((np.int32(ids > 0), ids), found)
    # IoU 0.8 is a match and 0.5 is none: 1 right, 2 wrong, 1 missed.
    assert scores.per_class["cell"] == pytest.approx((0.8 / 2.5, 0.8, 1 / 2.5))
    # The ground: 6 of its 10 pixels, and 2 + 5 more.
    assert scores.per_class["ground"] == pytest.approx((0, 0, 0))
    assert scores.things == scores.per_class["cell"]
    assert scores.pq == pytest.approx(0.16)
    # StarDist counts from the threshold on: both are right at 0.5, one up to 0.8.
    assert scores.tp_over_all[0.5] == pytest.approx(2 / 3)
    assert scores.tp_over_all[0.8] == pytest.approx(1 / 4)
    assert scores.tp_over_all[0.85] == 0
    assert (scores.objects, scores.found, scores.images) == (2, 3, 1)
    assert scores.mean_iou == pytest.approx((6 / 17 + 13 / 24) / 2)


def test_average_precision_by_hand():
    # The surest is wrong, then one with an IoU of 0.8 and one of 1: precisions 1/2 and 2/3 at
    # recalls 1/2 and 1, so 2/3 at all of them up to an IoU of 0.8; then 1/3 up to recall 1/2.
    ids = row((0, 10), (1, 10), (2, 10))
    guess = row((3, 4), (0, 8), (1, 8), (2, 10))
    scores = score(
        (np.int32(ids > 0), ids), instances(guess > 0, guess, [1, 1, 1], [0.8, 0.7, 0.9])
    )
    assert scores.ap50 == pytest.approx(2 / 3)
    assert scores.ap == pytest.approx((7 * 2 / 3 + 3 * (51 * 1 / 3) / 101) / 10)


def test_ignored_pixels_count_nowhere_by_hand():
    labels = row((255, 10), (1, 10), (0, 10))
    ids = row((0, 10), (1, 10), (0, 10))
    guess = row((2, 6), (1, 14), (0, 10))  # 4 pixels of the one are ignored, all of the other
    scores = score((labels, ids), instances(guess > 0, guess, [1, 1]))
    assert scores.all == Quality(1, 1, 1) and scores.tp_over_all[0.9] == 1
    # COCO has no ignored pixels but crowds: they take no pixel from an object, so IoU is 10 / 14.
    assert scores.ap50 == pytest.approx(1) and scores.ap == pytest.approx(0.5)


def test_half_an_object_of_a_crowd_is_not_wrong():
    labels = row((1, 20), (0, 10))
    ids = row((0, 10), (1, 10), (0, 10))
    for inside, wrong in ((4, 0), (3, 1)):
        guess = row((0, 10 - inside), (2, inside), (1, 10), (2, 3), (0, 7))
        scores = score((labels, ids), instances(guess > 0, guess, [1, 1]))
        assert scores.per_class["cell"].rq == pytest.approx(1 / (1 + wrong / 2))
        assert scores.tp_over_all[0.5] == pytest.approx(1 / (1 + wrong))


def test_classes_must_agree():
    ids = row((1, 10), (0, 10))
    found = instances(2 * (ids > 0), ids, [2])
    scores = score((np.int32(ids > 0), ids), found, (1, 2), ("ground", "cell", "dirt"))
    assert scores.per_class["cell"] == scores.per_class["dirt"] == Quality(0, 0, 0)
    assert scores.things == Quality(0, 0, 0) and scores.stuff == Quality(1, 1, 1)
    assert scores.tp_over_all[0.5] == 0 and scores.ap == 0


def test_two_halves_at_an_iou_of_exactly_one_half_are_one_match():
    ids, guess = row((1, 10), (0, 2)), row((1, 5), (2, 5), (0, 2))
    scores = score((np.int32(ids > 0), ids), instances(guess > 0, guess, [1, 1], [0.9, 0.8]))
    assert scores.tp_over_all[0.5] == pytest.approx(1 / 2)
    assert scores.things == Quality(0, 0, 0)
    assert scores.ap50 == pytest.approx(1)


def test_nothing_to_find_and_nothing_found():
    labels = np.zeros((4, 4), int)
    scores = score((labels, labels), instances(labels, labels, []))
    assert scores.things is None and scores.ap is None and scores.tp_over_all[0.5] is None
    assert scores.stuff == Quality(1, 1, 1) and scores.per_class["cell"] is None
    assert json.loads(json.dumps(scores.to_json()))["per_class"]["cell"] is None


def test_shapes_must_be_equal():
    labels = np.zeros((4, 4), int)
    with pytest.raises(ValueError, match=r"shape \(4, 4\) and the ids have \(4, 5\); they must be"):
        ObjectMatcher(2, (1,)).update(labels, np.zeros((4, 5), int), instances(labels, labels, []))
