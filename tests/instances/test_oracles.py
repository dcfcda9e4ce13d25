"""Scores of objects are those of panopticapi, pycocotools and StarDist."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from kseg.classes import IGNORE_CLASS
from kseg.instances import Groups, ObjectMatcher, instances_of

NAMES = ("sky", "road", "car", "person")


def panopticapi(cases, num_classes, things):
    """Returns {class: [iou, tp, fp, fn]} as panopticapi's evaluation counts, segment by segment.

    Args:
        cases: (true label map, true ids, predicted label map, predicted ids) of each image.
        num_classes: How many classes there are.
        things: Ids of the things.
    """
    stat = {class_id: [0.0, 0, 0, 0] for class_id in range(num_classes)}
    for labels, ids, found_labels, found_ids in cases:
        truth, crowds = _segments(labels, ids, things, crowds=True)
        found, _ = _segments(found_labels, found_ids, things, crowds=False)
        void = labels == IGNORE_CLASS
        matched_truth, matched_found = set(), set()
        for key, mask in truth.items():
            for other, guess in found.items():
                if key[0] != other[0]:
                    continue
                both = (mask & guess).sum()
                iou = both / (mask.sum() + guess.sum() - both - (void & guess).sum())
                if iou > 0.5:
                    stat[key[0]][0] += iou
                    stat[key[0]][1] += 1
                    matched_truth.add(key)
                    matched_found.add(other)
        for key in truth.keys() - matched_truth:
            stat[key[0]][3] += 1
        for key in found.keys() - matched_found:
            free = void.copy()
            if key[0] in crowds:
                free |= crowds[key[0]]
            if (free & found[key]).sum() / found[key].sum() <= 0.5:
                stat[key[0]][2] += 1
    return stat


def quality(stat, classes):
    """Returns panopticapi's (pq, sq, rq) over classes."""
    rows = []
    for class_id in classes:
        iou, tp, fp, fn = stat[class_id]
        if tp + fp + fn:
            half = tp + 0.5 * fp + 0.5 * fn
            rows.append((iou / half, iou / tp if tp else 0, tp / half))
    return np.mean(rows, axis=0)


def _segments(labels, ids, things, crowds):
    found, crowd = {}, {}
    for class_id in range(255):
        area = labels == class_id
        if not area.any():
            continue
        if class_id not in things:
            found[class_id, 0] = area & (ids == 0)
            continue
        for number in np.unique(ids[area]):
            mask = area & (ids == number)
            if number:
                found[class_id, int(number)] = mask
            elif crowds:
                crowd[class_id] = mask
    return found, crowd


def coco_ap(cases, things):
    """Returns pycocotools' mask AP and AP50, for any number of objects in an image.

    Args:
        cases: (true label map, true ids, `Instances`) of each image. What is ignored, and pixels
            of a thing without an id, are a crowd.
        things: Ids of the things.
    """
    truth = {"images": [], "annotations": [], "categories": [{"id": i} for i in things]}
    found = []
    for image, (labels, ids, instances) in enumerate(cases, start=1):
        truth["images"].append({"id": image, "height": labels.shape[0], "width": labels.shape[1]})
        for class_id in things:
            area = labels == class_id
            masks = [(area & (ids == i), 0) for i in np.unique(ids[area]) if i]
            crowd = (labels == IGNORE_CLASS) | (area & (ids == 0))
            masks += [(crowd, 1)] * bool(crowd.any())
            for mask, iscrowd in masks:
                truth["annotations"].append({
                    "id": len(truth["annotations"]) + 1, "image_id": image, "iscrowd": iscrowd,
                    "category_id": class_id, "area": int(mask.sum()), "segmentation": _rle(mask),
                })  # fmt: skip
        found += [
            {
                "image_id": image, "category_id": thing.class_id, "score": thing.score,
                "segmentation": _rle(instances.ids == thing.id),
            }
            for thing in instances.objects
        ]  # fmt: skip
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    judge = COCOeval(coco, coco.loadRes(found), "segm")
    judge.params.maxDets = [1, 10, 10_000]
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # IoU, recall, class
    return precision[precision > -1].mean(), precision[0][precision[0] > -1].mean()


def _rle(mask):
    return encode(np.asfortranarray(mask.astype("uint8")))


@pytest.mark.parametrize("seed", range(6))
def test_panoptic_quality_is_that_of_panopticapi(scenes, things, seed):
    cases = scenes(seed)
    matcher = ObjectMatcher(4, things)
    for case in cases:
        matcher.update(*case)
    scores = matcher.scores(NAMES)
    expected = panopticapi(
        [(labels, ids, found.label_map, found.ids) for labels, ids, found in cases], 4, things
    )
    for class_id, name in enumerate(NAMES):
        assert scores.per_class[name] == pytest.approx(quality(expected, [class_id])), name
    for part, classes in (("all", range(4)), ("things", things), ("stuff", (0, 1))):
        assert getattr(scores, part) == pytest.approx(quality(expected, classes)), part
    assert 0.1 < scores.things.pq < 0.9


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_pycocotools(scenes, things, seed, capsys):
    cases = scenes(seed)
    matcher = ObjectMatcher(4, things)
    for case in cases:
        matcher.update(*case)
    scores = matcher.scores(NAMES)
    assert (scores.ap, scores.ap50) == pytest.approx(coco_ap(cases, things), abs=1e-9)
    assert 0.05 < scores.ap < scores.ap50 < 0.95


def test_matches_are_those_of_an_optimal_assignment(scenes, things):
    """As StarDist's code finds them, where nothing is ignored."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
    right = np.zeros(9)
    wrong, missed = np.zeros(9), np.zeros(9)
    matcher = ObjectMatcher(3, (2,))
    for _, _, found in scenes(7, count=6):
        truth = np.roll(found.ids, 1, 1).astype(int)
        class_ids = np.full(len(found.objects), 2)
        label_map = np.where(found.ids > 0, 2, 0).astype("uint8")
        one = instances_of(Groups(label_map, found.ids, class_ids, np.ones(len(class_ids))))
        matcher.update(np.where(truth > 0, 2, 0), truth, one)
        count = found.ids.max() + 1
        both = np.bincount((truth * count + found.ids).ravel(), minlength=count**2)
        both = both.reshape(count, count)
        iou = both / (both.sum(0) + both.sum(1)[:, None] - both)
        for place, threshold in enumerate(np.arange(0.5, 0.91, 0.05)):
            pairs = optimize.linear_sum_assignment(iou[1:, 1:] < threshold - 1e-12)
            hits = (iou[1:, 1:][pairs] >= threshold - 1e-12).sum()
            right[place] += hits
            wrong[place] += count - 1 - hits
            missed[place] += count - 1 - hits
    scores = matcher.scores(("a", "b", "c"))
    expected = right / (right + wrong + missed)
    assert list(scores.tp_over_all.values()) == pytest.approx(expected)
    assert expected[0] > expected[-2] > 0
