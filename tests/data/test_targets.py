"""Targets of centres and offsets, and that augmentation keeps objects whole."""

import numpy as np
import pytest

from kseg.classes import IGNORE_CLASS
from kseg.data import Augmentation
from kseg.data.augmentation import augment
from kseg.data.targets import targets_of
from kseg.data.transforms import picked, stack


def with_ids(*boxes, size=(64, 80), class_id=1):
    """Labels (H, W, 2) of boxes (top, left, bottom, right), numbered from 1."""
    labels = np.zeros((*size, 2), "int32")
    for number, (top, left, bottom, right) in enumerate(boxes, start=1):
        labels[top:bottom, left:right] = class_id, number
    return labels


def made(labels):
    found = targets_of(labels[None], (1,))
    return found["semantic"][0], found["center"][0], found["offset"][0]


def test_offsets_lead_to_the_centre_of_mass():
    semantic, _, offset = made(with_ids((10, 20, 13, 25), (40, 50, 42, 54)))
    y, x = np.mgrid[:64, :80]
    for inside, centre in ((np.s_[10:13, 20:25], (11, 22)), (np.s_[40:42, 50:54], (40.5, 51.5))):
        np.testing.assert_allclose(y[inside] + offset[(*inside, 0)], centre[0])
        np.testing.assert_allclose(x[inside] + offset[(*inside, 1)], centre[1])
        assert (offset[(*inside, 2)] == 1).all() and (semantic[inside] == 1).all()
    assert offset[..., 2].sum() == 15 + 8
    assert not offset[semantic == 0].any()
    assert offset.dtype == np.float32 and semantic.dtype == np.int32


@pytest.mark.parametrize("side, sigma", [(5, 3.0), (25, 5.0), (41, 8.0), (61, 8.0)])
def test_heatmap_is_a_gaussian_as_wide_as_the_object_asks_for(side, sigma):
    _, center, _ = made(with_ids((20, 20, 20 + side, 20 + side), size=(128, 128)))
    heat, middle = center[..., 0], 20 + side // 2
    assert heat[middle, middle] == heat.max() == 1
    for away in (1, 4, 9):
        expected = np.exp(-(away**2) / (2 * sigma**2))
        for place in ((middle + away, middle), (middle, middle - away)):
            assert heat[place] == pytest.approx(expected, rel=1e-5)
    assert heat[middle + 2, middle + 3] == pytest.approx(np.exp(-13 / (2 * sigma**2)), rel=1e-5)
    assert not heat[: middle - 3 * int(sigma) - 1].any()


def test_where_gaussians_meet_the_higher_one_counts():
    boxes = (10, 10, 21, 21), (10, 21, 21, 32)
    _, center, _ = made(with_ids(*boxes))
    alone = [made(with_ids(box))[1][..., 0] for box in boxes]
    np.testing.assert_array_equal(center[..., 0], np.maximum(*alone))
    assert center[..., 0].max() == 1


def test_what_is_ignored_does_not_count():
    labels = with_ids((10, 20, 20, 30))
    labels[:, 40:] = IGNORE_CLASS, 0
    semantic, center, offset = made(labels)
    assert (center[:, 40:, 1] == 0).all() and (center[:, :40, 1] == 1).all()
    assert (semantic[:, 40:] == IGNORE_CLASS).all() and offset[:, 40:].sum() == 0


def test_an_image_without_objects_has_a_heatmap_of_0():
    _, center, offset = made(with_ids())
    assert not center[..., 0].any() and (center[..., 1] == 1).all() and not offset.any()


def drawn(labels, crop, **options):
    """An augmentation of labels whose image shows the ids."""
    image = np.repeat(labels[..., 1:].astype("uint8") * 40, 3, -1)
    options = {"scale": (1, 1), "aspect": 0, "flip": False, "color": 0} | options
    seed = options.pop("seed", 0)
    augmentation = Augmentation(crop, **options)
    return augment(image, labels, augmentation, None, np.random.default_rng(seed))


def test_a_crop_drops_objects_outside_and_centres_what_is_left_of_others():
    labels = with_ids((0, 0, 20, 20), (30, 0, 64, 20), (10, 60, 20, 70), (0, 22, 64, 58))
    for seed in range(20):
        _, cropped = drawn(labels, (32, 32), seed=seed)
        _, center, offset = made(cropped)
        ids = cropped[..., 1]
        assert set(np.unique(ids)) <= {0, 1, 2, 3, 4}
        for value in np.unique(ids[ids > 0]):
            y, x = np.nonzero(ids == value)
            np.testing.assert_allclose(y + offset[y, x, 0], y.mean(), atol=1e-4)
            np.testing.assert_allclose(x + offset[y, x, 1], x.mean(), atol=1e-4)
            assert center[round(y.mean()), round(x.mean()), 0] == pytest.approx(1)
        assert (offset[..., 2] > 0).sum() == (ids > 0).sum()


def test_ids_go_with_the_image_whatever_is_varied():
    labels = with_ids((5, 5, 30, 30), (5, 30, 30, 60), (34, 8, 60, 70))
    for seed in range(10):
        image, varied = drawn(labels, (96, 96), scale=(0.7, 1.6), aspect=0.08, flip=True, seed=seed)
        inside = varied[..., 0] != IGNORE_CLASS
        # Bilinear and nearest differ at borders alone.
        same = image[..., 0] == varied[..., 1] * 40
        assert same[inside].mean() > 0.85
        assert (varied[..., 1] > 0)[~inside].sum() == 0
        assert ((varied[..., 0] == 1) == (varied[..., 1] > 0)).all()


def test_offsets_follow_a_mirrored_and_enlarged_image():
    labels = with_ids((16, 8, 48, 40))
    image, varied = drawn(labels, (128, 160), scale=(2, 2), flip=True, seed=1)
    plain = drawn(labels, (128, 160), scale=(2, 2), seed=1)[1]
    np.testing.assert_array_equal(varied, plain[:, ::-1])  # this seed mirrors
    assert (image[..., 0] > 0).sum() > 4000
    mine, other = made(varied)[2], made(plain)[2][:, ::-1]
    np.testing.assert_allclose(mine[..., 0], other[..., 0], atol=1e-4)
    np.testing.assert_allclose(mine[..., 1], -other[..., 1], atol=1e-4)
    assert mine[..., 1].max() == pytest.approx(31.5)


def test_ids_beyond_16_bits_survive_picking():
    labels = with_ids((0, 0, 32, 32), size=(32, 64))
    labels[..., 1] *= 70000
    small = picked(labels, (16, 32))
    assert small.shape == (16, 32, 2) and set(np.unique(small[..., 1])) == {0, 70000}


def test_a_batch_is_filled_with_what_does_not_count():
    pairs = [(np.zeros((*size, 3), "uint8"), with_ids(size=size)) for size in ((4, 6), (6, 4))]
    images, labels = stack(pairs)
    assert images.shape == (2, 6, 6, 3) and labels.shape == (2, 6, 6, 2)
    assert (labels[0, 4:] == (IGNORE_CLASS, 0)).all() and (labels[1, :, 4:, 0] == 255).all()
    assert not labels[0, :4].any()
