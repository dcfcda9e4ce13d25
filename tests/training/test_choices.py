"""The rules by which settings are chosen, with worked numbers."""

import numpy as np
import pytest

from kseg.training import choices
from kseg.training.facts import thickness


@pytest.mark.parametrize(
    "label_map, expected",
    [
        (np.eye(8, dtype="uint8"), [4.0, 1.0]),  # background runs: 14 in 56 pixels
        (np.repeat([[0, 1, 0]], [4, 2, 4], axis=1).repeat(6, 0), [4.0, 2.0]),  # a pole
        (np.repeat([[0], [1], [0]], [4, 2, 4], axis=0).repeat(6, 1), [4.0, 2.0]),  # lying
        (np.zeros((4, 6), int), [4.0, np.nan]),
        (np.full((4, 6), 255), [np.nan, np.nan]),
    ],
)
def test_thickness_is_the_shorter_mean_run(label_map, expected):
    found = thickness(label_map.astype("uint8"), 2)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    "size, thin, pixels, working",
    [
        ((240, 320), [80, 30], 172_800, None),  # small images stay as they are
        ((550, 830), [200, 12], 172_800, (352, 512)),  # street photographs
        ((4000, 3000), [900, 300], 172_800, (480, 384)),  # a phone's: never at 12 megapixels
        ((4000, 3000), [900, 8], 307_200, (640, 480)),  # thin things: as large as it gets
        ((512, 512), [90, 6], 262_144, None),  # membranes of 6 pixels: their own size
        ((1024, 1024), [90, 10], 307_200, (576, 576)),
        ((256, 1600), [200, 20], 172_800, (192, 1056)),  # long images are not cut by a side
        ((480, 640), [np.nan, np.nan], 172_800, (384, 480)),
    ],
)
def test_working_size(size, thin, pixels, working):
    found = choices.working_pixels(np.array(thin, float), size)
    assert abs(found - pixels) <= 1
    assert choices.working_size(size, size[0] * size[1], found) == working


def test_small_images_with_a_few_large_ones_are_fitted_and_with_middling_ones_not():
    assert choices.working_size((300, 400), 4000 * 3000, 172_800) == (320, 416)
    assert choices.working_size((300, 400), 600 * 800, 172_800) is None


def test_images_are_made_smaller_where_the_time_would_not_suffice():
    # 1,000 images 8 times in 480 s at 1 Mpx/s: 60,000 pixels each.
    assert choices.affordable_pixels(172_800, 480, 1e6, 1000) == 60_000
    assert choices.affordable_pixels(172_800, 2700, 1e6, 1000) == 172_800
    assert choices.affordable_pixels(172_800, 60, 1e6, 1000) == 256 * 192


@pytest.mark.parametrize(
    "size, usual, crop",
    [
        (None, (240, 320), (256, 320)),
        (None, (33, 64), (32, 64)),  # one pixel is cut off, not 31 added
        ((352, 512), (550, 830), (352, 512)),
        ((480, 480), (1000, 2000), (256, 480)),
    ],
)
def test_crops_show_the_whole_image_in_multiples_of_32(size, usual, crop):
    assert choices.crop_for(size, usual) == crop


@pytest.mark.parametrize(
    "images, room, batch",
    [
        (16, 10**9, 4),
        (99, 10**9, 4),
        (100, 10**9, 8),
        (5000, 350, 2),
        (5000, 100, 1),
        (5000, None, 8),
    ],
)
def test_few_images_and_little_memory_make_small_batches(images, room, batch):
    assert choices.batch_size_for(images, [100, 200, 400, 800], room) == batch
    assert choices.batch_size_for(images, [None] * 4, room) == (4 if images < 100 else 8)


@pytest.mark.parametrize(
    "images, batch, step, epochs",
    [
        (16, 4, 0.1, 300),  # 1,200 steps of 4 to an epoch
        (16, 4, 0.5, 150),  # 5 minutes: 600 steps
        (16, 4, 9.0, 75),  # never under 300 steps
        (1000, 8, 0.2, 30),  # 3,750 steps in 12.5 minutes
        (1000, 8, 1.8, 24),  # 90 minutes: 3,000 steps of 125 to an epoch
        (100_000, 8, 0.01, 2),  # 20,000 steps at most, of 12,500
    ],
)
def test_epochs_are_a_budget_of_steps_and_time(images, batch, step, epochs):
    assert choices.epochs_for(images, batch, step) == epochs


@pytest.mark.parametrize(
    "images, image, seconds, expected",
    [
        (4, 0.05, 300, (20, None)),  # 0.2 s each: cheap
        (100, 0.1, 600, (7, None)),  # 72 s for 10 s each
        (500, 0.1, 600, (4, 180)),  # 4 of 50 s would take 200: 18 s each
        (500, 0.1, 20, (1, 20)),  # one there is always, on 20 images at least
        (10, 0.0, 60, (20, None)),
    ],
)
def test_validation_takes_an_eighth_of_the_time(images, image, seconds, expected):
    assert choices.validation(images, image, seconds) == expected


def test_patience_is_wide_and_off_for_few_evaluations():
    assert [choices.patience_for(times) for times in (1, 11, 12, 20)] == [None, None, 6, 10]


@pytest.mark.parametrize(
    ("crop", "pixels", "apart", "focus"),
    [
        ((224, 224), [980, 15, 5], False, 1.0),  # a fifth of the image, a class of half a percent
        ((224, 224), [900, 60, 40], False, 0.0),  # none is rare
        ((224, 224), [1000, 0], False, 0.0),  # one that never occurs is not looked for
        ((384, 384), [980, 15, 5], False, 0.0),  # more than half of the image
        ((224, 224), [980, 20, 5], True, 0.0),
    ],
)
def test_small_crops_are_put_around_classes_where_one_is_rare(crop, pixels, apart, focus):
    assert choices.focus_for(crop, (512, 512), np.array(pixels), apart=apart) == focus


def test_images_of_many_sizes_keep_their_scale():
    assert choices.working_size((256, 320), 1040 * 1388, 172_800) is not None
    assert choices.working_size((256, 320), 1040 * 1388, 172_800, apart=True) is None
    assert choices.working_size((256, 320), 4000 * 3000, 172_800, apart=True) is not None
