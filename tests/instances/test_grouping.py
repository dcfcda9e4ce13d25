"""From centres and offsets to objects."""

import time

import numpy as np
import pytest

from kseg.instances import group, instances_of
from kseg.instances.grouping import find_peaks

# Classes: 0 is the ground, 1 and 2 are things, 3 is stuff.
THINGS = (1, 2)


def outputs(size, centers, class_ids, radius=12, noise=0.0, seed=0):
    """Returns what a perfect network would say of discs, with noise on the offsets."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[: size[0], : size[1]]
    y, x = np.array(centers, float).T
    far = (down[..., None] - y) ** 2 + (right[..., None] - x) ** 2
    nearest = far.argmin(-1)
    inside = far.min(-1) < radius**2
    labels = np.where(inside, np.array(class_ids)[nearest], 0)
    semantic = 4 * np.eye(4, dtype="float32")[labels]
    center = np.exp(-far.min(-1) / 128)[..., None].astype("float32")
    offset = np.stack([y[nearest] - down, x[nearest] - right], -1)
    offset += rng.normal(size=offset.shape) * noise
    return semantic, center, offset.astype("float32"), np.where(inside, nearest + 1, 0)


def same_partition(ids, truth):
    """Whether two id maps tell the same objects apart, however these are numbered."""
    pairs = np.unique(np.stack([ids.ravel(), truth.ravel()]), axis=1)
    return all(len(np.unique(row)) == pairs.shape[1] for row in pairs)


def test_touching_objects_of_one_class_are_told_apart():
    semantic, center, offset, truth = outputs((60, 80), [(30, 20), (30, 40), (30, 60)], [1, 1, 2])
    groups = group(semantic, center, offset, things=THINGS)
    assert same_partition(groups.ids, truth)
    assert groups.ids.dtype == np.uint16 and groups.label_map.dtype == np.uint8
    np.testing.assert_array_equal(groups.label_map, semantic.argmax(-1))
    assert sorted(groups.class_ids.tolist()) == [1, 1, 2]


def test_stuff_has_no_objects():
    semantic, center, offset, truth = outputs((60, 80), [(30, 20), (30, 60)], [1, 3])
    groups = group(semantic, center, offset, things=THINGS)
    assert groups.ids.max() == 1 and (groups.ids > 0).sum() == (truth == 1).sum()
    assert (groups.label_map == 3).sum() == (truth == 2).sum()


def test_class_is_what_most_pixels_say():
    semantic, center, offset, truth = outputs((40, 40), [(20, 20)], [1])
    semantic[:14] = semantic[:14, :, [0, 2, 1, 3]]  # a smaller part says 2
    groups = group(semantic, center, offset, things=THINGS)
    assert groups.class_ids.tolist() == [1]
    np.testing.assert_array_equal(groups.label_map, truth)


def test_score_is_the_height_of_the_centre_times_the_mean_probability():
    semantic, center, offset, truth = outputs((40, 40), [(20, 20)], [1])
    inside = truth == 1
    semantic[inside, 1] = np.random.default_rng(0).uniform(1, 5, inside.sum())
    groups = group(semantic, 0.5 * center, offset, things=THINGS)
    shares = np.exp(semantic) / np.exp(semantic).sum(-1, keepdims=True)
    assert groups.scores == pytest.approx(0.5 * shares[inside, 1].mean(), rel=1e-5)
    # A file with a softmax at its end gives the probabilities themselves.
    other = group(shares, 0.5 * center, offset, things=THINGS)
    assert other.scores == pytest.approx(groups.scores, rel=1e-4)


def test_the_best_object_is_the_first():
    semantic, center, offset, truth = outputs((40, 60), [(20, 15), (20, 45)], [1, 2])
    center[:, :30] *= 0.6
    groups = group(semantic, center, offset, things=THINGS)
    assert groups.scores[0] > groups.scores[1] and groups.class_ids.tolist() == [2, 1]
    assert (truth[groups.ids == 1] == 2).all()


def test_centres_are_above_the_threshold_and_no_more_than_asked_for():
    semantic, center, offset, _ = outputs((40, 90), [(20, 15), (20, 45), (20, 75)], [1, 1, 1])
    center *= np.repeat([0.05, 0.5, 0.9], 30)[:, None]
    assert group(semantic, center, offset, things=THINGS).ids.max() == 2
    assert group(semantic, center, offset, things=THINGS, threshold=0.6).ids.max() == 1
    only = group(semantic, center, offset, things=THINGS, threshold=0.01, most=1)
    assert only.ids.max() == 1 and only.scores[0] > 0.8


def test_without_a_centre_things_stay_a_class():
    semantic, center, offset, truth = outputs((40, 40), [(20, 20)], [1])
    groups = group(semantic, 0 * center, offset, things=THINGS)
    assert groups.ids.max() == 0 and len(groups.scores) == 0
    np.testing.assert_array_equal(groups.label_map, truth)
    assert instances_of(groups).objects == ()


def test_a_flat_top_is_one_centre():
    """Integers of 8 bits and bilinear interpolation make neighbours equal."""
    semantic, center, offset, truth = outputs((60, 80), [(30, 20), (30, 60)], [1, 1])
    coarse = np.round(center * 8) / 8
    assert (coarse == 1).sum() > 20
    groups = group(semantic, coarse, offset, things=THINGS)
    assert same_partition(groups.ids, truth)


def test_of_two_maxima_in_a_window_the_higher_stays():
    heat = np.zeros((20, 20), "float32")
    heat[10, 10], heat[10, 13], heat[10, 17] = 0.9, 0.8, 0.7
    for window, expected in ((7, [10, 17]), (5, [10, 13, 17]), (9, [10])):
        assert find_peaks(heat, 0.1, window, 10).x.tolist() == expected, window


def test_outputs_may_be_coarser_and_the_result_larger():
    semantic, center, offset, truth = outputs((96, 128), [(40, 40), (40, 64), (70, 90)], [1, 1, 2])
    fine = group(semantic, center, offset, things=THINGS)
    coarse = group(semantic[2::4, 2::4], center, offset[2::4, 2::4], things=THINGS)
    assert (coarse.ids == fine.ids).mean() > 0.98
    large = group(semantic, center, offset, things=THINGS, size=(192, 192))
    assert large.ids.shape == (192, 192)
    rows, columns = np.arange(96) * 2, np.arange(128) * 3 // 2
    assert (large.ids[rows][:, columns] == fine.ids).mean() > 0.98
    assert same_partition(fine.ids, truth)


def test_offsets_are_scaled_with_the_result():
    semantic, center, offset, _ = outputs((40, 120), [(20, 20), (20, 60), (20, 100)], [1, 1, 1], 18)
    groups = group(semantic, center, offset, things=THINGS, size=(160, 240))
    for number in (1, 2, 3):
        columns = np.nonzero(groups.ids == number)[1]
        assert 68 <= np.ptp(columns) <= 74


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"window": 4}, "window must be an odd number of pixels, such as 7; got 4"),
        ({"window": -1}, "window must be an odd number"),
        ({"most": 0}, "most must be from 1 to 65535, the ids of 16 bits; got 0"),
        ({"most": 70_000}, "most must be from 1 to 65535"),
    ],
)
def test_refusals(arguments, match):
    with pytest.raises(ValueError, match=match):
        group(*outputs((8, 8), [(4, 4)], [1])[:3], things=THINGS, **arguments)


def test_objects_have_boxes_areas_and_masks():
    semantic, center, offset, _ = outputs((60, 80), [(30, 20), (22, 40), (45, 60)], [1, 1, 2])
    instances = instances_of(group(semantic, center, offset, things=THINGS))
    assert [thing.id for thing in instances.objects] == [1, 2, 3]
    for thing in instances.objects:
        y, x = np.nonzero(instances.ids == thing.id)
        assert thing.area == len(y)
        assert thing.box == (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
        rows = slice(thing.box.y, thing.box.y + thing.box.height)
        columns = slice(thing.box.x, thing.box.x + thing.box.width)
        np.testing.assert_array_equal(thing.mask, instances.ids[rows, columns] == thing.id)
        assert (instances.label_map[instances.ids == thing.id] == thing.class_id).all()
        assert sum(region.pixels for region in thing.regions) == thing.area
        low, high = np.min(thing.polygon, axis=0), np.max(thing.polygon, axis=0)
        assert (*low, *(high - low)) == thing.box


def test_50_objects_are_grouped_in_30_ms():
    rng = np.random.default_rng(0)
    centers = rng.uniform((10, 10), (350, 470), (50, 2))
    found = outputs((360, 480), centers, [1] * 50, radius=22, noise=2.0)[:3]
    times = []
    for _ in range(7):
        start = time.process_time()  # of this process: others may be busy too
        groups = group(*found, things=THINGS)
        times.append(time.process_time() - start)
    assert groups.ids.max() == 50 and (groups.ids > 0).mean() > 0.3
    assert min(times) < 0.09, times  # 12 ms on one core of a desktop
