import numpy as np
import pytest
from PIL import Image

from kseg.data import Augmentation, fit_inside
from kseg.data.augmentation import AUGMENTATIONS, augment
from kseg.data.transforms import FILL, mirror_out, resize, resize_image, stack

IDS = (0, 3, 7, 200)


def scene(size=(48, 64), seed=0):
    """Returns an image whose red and blue are a function of the label, and the label map.

    Patches of 8 x 8; green goes from 0 at the left to 126 at the right, the patches of the label
    map do not.
    """
    rng = np.random.default_rng(seed)
    patches = rng.choice(IDS, (size[0] // 8, size[1] // 8)).astype("uint8")
    label_map = patches.repeat(8, 0).repeat(8, 1)
    image = np.zeros((*size, 3), "uint8")
    image[..., 0], image[..., 2] = label_map, 255 - label_map
    image[..., 1] = np.arange(size[1]) * 2
    return image, label_map


def draws(augmentation, size=None, count=30, image_size=(48, 64)):
    image, label_map = scene(image_size)
    for seed in range(count):
        yield augment(image, label_map, augmentation, size, np.random.default_rng(seed))


def away_from_borders(label_map, margin):
    """Returns where the surroundings of a pixel, which must be in the crop, have its label."""
    padded = np.pad(label_map, margin, constant_values=255)
    same = np.ones(label_map.shape, bool)
    height, width = label_map.shape
    for i in range(2 * margin + 1):
        for j in range(2 * margin + 1):
            same &= padded[i : i + height, j : j + width] == label_map
    return same


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((360, 480), None, (360, 480)),
        ((360, 480), (360, 480), (360, 480)),
        ((360, 480), (180, 480), (180, 240)),
        ((360, 480), (999, 240), (180, 240)),
        ((100, 50), (200, 400), (200, 100)),
        ((1000, 1), (10, 10), (10, 1)),
        ((3, 7), (10, 10), (4, 10)),
    ],
)
def test_fit_inside(size, box, expected):
    assert fit_inside(size, box) == expected


def test_resizing_to_the_same_size_is_no_resizing():
    image = Image.fromarray(scene()[0])
    assert resize_image(image, (48, 64)) is image
    assert resize_image(image, (24, 16)).size == (16, 24)


def test_image_is_interpolated():
    image = Image.fromarray(np.array([[[0] * 3, [100] * 3]], "uint8"))
    assert np.asarray(resize_image(image, (1, 4)))[0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("size", [None, (24, 24), (96, 200)])
@pytest.mark.parametrize("crop", [(32, 64), (64, 32), (96, 96)])
def test_crop_has_its_size_and_labels_get_no_new_id(crop, size):
    seen = set()
    for image, label_map in draws(Augmentation(crop, scale=(0.3, 3.0), aspect=0.3), size):
        assert image.shape == (*crop, 3) and label_map.shape == crop
        assert image.dtype == label_map.dtype == np.uint8
        seen |= set(np.unique(label_map).tolist())
    assert set(IDS) <= seen <= {*IDS, 255}


def test_image_and_label_map_stay_on_top_of_each_other():
    """The image encodes its labels, so each can be read from the other after any variation."""
    share = []
    for image, label_map in draws(Augmentation((48, 48), (0.6, 2.0), 0.2, color=0.0)):
        inner = away_from_borders(label_map, 2) & (label_map != 255)
        share.append(inner.mean())
        np.testing.assert_allclose(image[..., 0][inner], label_map[inner], atol=3)
        np.testing.assert_allclose(image[..., 2][inner], 255 - label_map[inner], atol=3)
    assert np.mean(share) > 0.2


def test_outside_the_image_is_grey_and_ignored():
    filled = 0
    for image, label_map in draws(Augmentation((96, 96), (0.5, 1.0), color=0.0)):
        outside = label_map == 255
        filled += outside.mean() > 0.3
        assert (image[outside] == FILL).all()
        # Red and blue add up to 255 within the image and to 254 in the fill.
        whole = image[..., 0].astype(int) + image[..., 2]
        assert (abs(whole[~outside] - 255) <= 1).all()
    assert filled == 30


def test_the_fill_is_grey_after_colors_were_changed_too():
    """It stands for the padding of the model, which no change of colour reaches."""
    for image, label_map in draws(Augmentation((96, 96), (0.5, 1.0), color=0.5), count=5):
        assert (image[label_map == 255] == FILL).all()


def test_half_the_images_are_mirrored_with_their_labels():
    mirrored = 0
    for image, _ in draws(Augmentation((48, 64), (1, 1), 0.0, color=0.0), count=100):
        rising = np.diff(image[0, :, 1].astype(int))
        assert (rising > 0).all() or (rising < 0).all()
        mirrored += rising[0] < 0
    assert 30 < mirrored < 70


def test_without_flip_none_is_mirrored():
    for image, _ in draws(Augmentation((48, 64), (1, 1), 0.0, flip=False, color=0.0), count=20):
        assert (np.diff(image[0, :, 1].astype(int)) > 0).all()


def test_augmentation_of_nothing_is_the_image_itself():
    image, label_map = scene()
    same = augment(
        image,
        label_map,
        Augmentation((48, 64), (1, 1), 0.0, flip=False, color=0.0),
        None,
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], label_map)


@pytest.mark.parametrize("size", [None, (96, 120)])
def test_enlargement_is_within_its_limits_and_drawn_on_a_log_scale(size):
    """Measured by the slope of green: 2 per image pixel."""
    zooms = []
    fitted = 1 if size is None else 0.5
    for image, label_map in draws(
        Augmentation((16, 16), (0.5, 2.0), 0.0, flip=False, color=0.0), size, 200, (192, 120)
    ):
        inside = (label_map != 255).all(0)
        green = image[8, :, 1].astype(float)[inside]
        if len(green) > 10:
            slope = (green[-3] - green[2]) / (len(green) - 5)
            zooms.append(2 / slope / fitted)
    assert 0.4 < min(zooms) < 0.65 and 1.7 < max(zooms) < 2.5
    assert len(zooms) > 150
    assert 0.35 < np.mean(np.array(zooms) < 1) < 0.65


def test_colors_change_within_limits_and_only_the_image():
    plain = list(draws(Augmentation((48, 64), (1, 1), 0.0, flip=False, color=0.0), count=20))
    varied = list(draws(Augmentation((48, 64), (1, 1), 0.0, flip=False, color=0.3), count=20))
    changes = []
    for (image, label_map), (other, other_labels) in zip(plain, varied, strict=True):
        np.testing.assert_array_equal(label_map, other_labels)
        changes.append(other.astype(float).mean() - image.mean())
    assert np.std(changes) > 3
    assert np.abs(changes).max() < 255 * 0.3 + 30


def test_color_change_by_hand():
    """One pixel through brightness, contrast, saturation and tint as their words say."""

    class Fixed:
        def uniform(self, low, high, count):
            # brightness 1.1, contrast 0.8, saturation 0.5; then a tint of 4, 0 and -4
            return np.array([1.1, 0.8, 0.5] if low > 0 else [4.0, 0.0, -4.0])

    image = np.array([[[200, 100, 50]]], "uint8")
    pixel = np.array([200, 100, 50.0])
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    saturated = luma + 0.5 * (pixel - luma)
    expected = FILL + 0.8 * (1.1 * saturated - FILL) + np.array([4, 0, -4])
    changed = AUGMENTATIONS["color"](image, None, 0.3, Fixed())[0][0, 0]
    np.testing.assert_allclose(changed, expected, atol=0.6)


def test_stack_pads_to_the_largest_at_the_bottom_and_right():
    pairs = [
        (np.full((2, 3, 3), 9, "uint8"), np.full((2, 3), 1, "uint8")),
        (np.full((4, 1, 3), 200, "uint8"), np.full((4, 1), 2, "uint8")),
    ]
    images, label_maps = stack(pairs)
    assert images.shape == (2, 4, 3, 3) and images.dtype == np.float32
    assert label_maps.dtype == np.int32
    assert label_maps[0].tolist() == [[1, 1, 1], [1, 1, 1], [255] * 3, [255] * 3]
    assert label_maps[1].tolist() == [[2, 255, 255]] * 4
    for image, label_map, value in zip(images, label_maps, (9, 200), strict=True):
        assert (image == np.where(label_map == 255, FILL, value)[..., None]).all()


def test_the_fill_becomes_0_in_a_model():
    from kseg.backbones.endpoints import scale_to_unit

    assert not np.asarray(scale_to_unit(np.full((1, 1, 1, 3), FILL, "float32"))).any()


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_images_of_other_channels_are_varied_like_those_of_three(channels):
    image, label_map = scene()
    bands = np.repeat(image[..., :1], channels, -1)
    varied, labels = augment(
        bands, label_map, Augmentation((32, 40)), (30, 40), np.random.default_rng(1)
    )
    assert varied.shape == (32, 40, channels) and varied.dtype == np.uint8
    assert all((varied[..., 0] == varied[..., band]).all() for band in range(channels))
    _, same = augment(image, label_map, Augmentation((32, 40)), (30, 40), np.random.default_rng(1))
    np.testing.assert_array_equal(labels, same)


def test_a_fourth_channel_is_not_taken_for_transparency():
    """Pillow weighs colours with the alpha channel when it resizes."""
    image = np.full((8, 8, 4), 200, "uint8")
    image[:4, :, 3] = 0
    resized = resize(image, (4, 4))
    assert (resized[..., :3] == 200).all() and resized[0, 0, 3] == 0


def test_a_new_augmentation_is_a_function_and_a_row(monkeypatch):
    def invert(image, label_map, amount, rng):
        return (255 - image * amount).astype("uint8"), label_map

    with pytest.raises(ValueError, match="more takes the augmentations color, flip; got 'invert'"):
        Augmentation((48, 64), more={"invert": 1.0})
    monkeypatch.setitem(AUGMENTATIONS, "invert", invert)
    image, label_map = scene()
    plain = Augmentation((48, 64), (1, 1), 0.0, flip=False, color=0.0, more={"invert": 1.0})
    varied, _ = augment(image, label_map, plain, None, np.random.default_rng(0))
    np.testing.assert_array_equal(varied, 255 - image)


@pytest.mark.parametrize(("crop", "ways"), [((48, 48), 4), ((48, 64), 2)])
def test_crops_are_turned_with_their_labels(crop, ways):
    still = {"scale": (1.0, 1.0), "aspect": 0.0, "flip": False, "color": 0.0}
    image, label_map = scene(crop)
    seen = set()
    for seed in range(40):
        turned, labels = augment(
            image,
            label_map,
            Augmentation(crop, turn=True, **still),
            None,
            np.random.default_rng(seed),
        )
        quarters = next(k for k in range(4) if np.array_equal(np.rot90(label_map, k), labels))
        assert np.array_equal(np.rot90(image, quarters), turned)
        seen.add(quarters)
    assert len(seen) == ways


def test_images_are_mirrored_out_as_often_as_needed():
    image = np.array([[1, 2], [3, 4]], "uint8")[..., None]
    rows = [[1, 2, 2, 1, 1], [3, 4, 4, 3, 3], [3, 4, 4, 3, 3]]
    assert mirror_out(image, (3, 5))[..., 0].tolist() == rows
    assert mirror_out(image[None], (3, 5))[0, ..., 0].tolist() == rows


@pytest.mark.parametrize("extra", [False, True])
def test_crops_are_put_around_classes_however_small_they_are(extra):
    label_map = np.full((256, 192), 255, "uint8")
    label_map[10:, :] = 0
    label_map[200:203, 50:54] = 7
    image = np.repeat(label_map[..., None], 3, -1)
    labels = np.stack([label_map.astype("int32"), label_map], -1) if extra else label_map
    shown, rows = {0.0: 0, 0.5: 0, 1.0: 0}, []
    for focus in shown:
        way = Augmentation((32, 32), scale=(1, 1), aspect=0.0, flip=False, color=0.0, focus=focus)
        for seed in range(300):
            crop, found = augment(image, labels, way, None, np.random.default_rng(seed))
            found = found[..., 0] if extra else found
            assert crop.shape == (32, 32, 3) and found.shape == (32, 32)
            shown[focus] += (found == 7).any()
            rows += [np.nonzero(found == 7)[0].mean()] if focus == 1 and (found == 7).any() else []
    assert shown[0.0] < 20 and 60 <= shown[0.5] <= 100 and 130 <= shown[1.0] <= 180
    assert 13 < np.mean(rows) < 18 and np.std(rows) > 7  # anywhere in the crop, not in its middle


def test_a_crop_around_a_class_of_an_image_without_one_lies_anywhere():
    label_map = np.full((64, 64), 255, "uint8")
    image = np.arange(64 * 64 * 3).reshape(64, 64, 3).astype("uint8")
    still = {"scale": (1.0, 1.0), "aspect": 0.0, "flip": False, "color": 0.0}
    crops = {
        augment(
            image, label_map, Augmentation((32, 32), focus=1.0, **still), None,
            np.random.default_rng(seed),
        )[0].tobytes()
        for seed in range(9)
    }  # fmt: skip
    assert len(crops) > 5
