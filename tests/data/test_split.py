import keras
import numpy as np
import pytest
from PIL import Image

from kseg.data import Augmentation, load_data
from kseg.losses import SparseCrossEntropy

AUGMENTATION = Augmentation((32, 32))


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_rectangles):
    """Eight images for training, three of other sizes for validation."""
    sizes = [(64, 64)] * 8 + [(40, 64), (64, 40), (64, 64)]
    return load_data(write_rectangles(tmp_path_factory.mktemp("split") / "data", sizes))


def batches(split, count):
    return [split[index] for index in range(count)]


def assert_equal(a, b):
    for (images, labels), (other_images, other_labels) in zip(a, b, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def differ(a, b):
    return any((x[0] != y[0]).any() for x, y in zip(a, b, strict=True))


def test_without_seed_images_come_in_the_order_of_their_files(data):
    split = data.split("train", batch_size=3)
    assert len(split) == 3
    images = np.concatenate([split[i][0] for i in range(3)])
    expected = [data.read(pair)[0] for pair in data.files("train")]
    np.testing.assert_array_equal(images, expected)
    assert split[2][0].shape == (2, 64, 64, 3)


def test_batch_has_the_types_of_training(data):
    images, labels = data.split("train", batch_size=2)[0]
    assert images.dtype == np.float32 and labels.dtype == np.int32
    assert images.max() > 1


def test_batch_is_a_function_of_seed_and_number(data):
    one, two = (data.split("train", batch_size=3, seed=5, augment=AUGMENTATION) for _ in range(2))
    forwards = batches(one, 7)
    backwards = [two[index] for index in range(6, -1, -1)][::-1]
    assert_equal(forwards, backwards)
    assert_equal(forwards, batches(one, 7))


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_seeds_and_epochs_differ(data, augmentation):
    one, two = (
        data.split("train", batch_size=4, seed=seed, augment=augmentation) for seed in (1, 2)
    )
    assert differ(batches(one, 2), batches(two, 2))
    assert differ(batches(one, 2), [one[2], one[3]])


def test_epochs_differ_without_a_seed_too_where_images_are_varied(data):
    split = data.split("train", batch_size=8, augment=AUGMENTATION)
    assert differ([split[0]], [split[1]])


def test_an_epoch_shows_every_image_once(data):
    split = data.split("train", batch_size=4, seed=3)
    expected = sorted(data.read(pair)[0].sum() for pair in data.files("train"))
    for epoch in range(3):
        images = np.concatenate([split[2 * epoch + i][0] for i in range(2)])
        assert sorted(images.sum((1, 2, 3)).astype(int)) == expected


def test_every_training_batch_is_full_even_beyond_the_images(data):
    for batch_size in (3, 5, 20):
        split = data.split("train", batch_size=batch_size, seed=0, augment=AUGMENTATION)
        for index in range(len(split) + 1):
            images, labels = split[index]
            assert images.shape == (batch_size, 32, 32, 3)
            assert labels.shape == (batch_size, 32, 32)


def test_last_training_batch_is_filled_from_the_beginning_of_its_epoch(data):
    plain = Augmentation((64, 64), (1, 1), 0.0, flip=False, color=0.0)
    split = data.split("train", batch_size=3, seed=0, augment=plain)
    np.testing.assert_array_equal(split[2][0][2], split[0][0][0])
    np.testing.assert_array_equal(split[2][1][2], split[0][1][0])


def test_images_of_one_batch_are_varied_apart(data):
    split = data.split("train", batch_size=16, seed=0, augment=AUGMENTATION)
    images, _ = split[0]
    assert len({image.tobytes() for image in images}) == 16


def test_images_of_other_sizes_are_padded_to_the_largest(data):
    images, labels = data.split("val", batch_size=2)[0]
    assert images.shape == (2, 64, 64, 3)
    assert (labels[0, 40:] == 255).all() and (labels[1, :, 40:] == 255).all()
    assert (images[0, 40:] == 127).all() and (labels[0, :40] < 255).all()


def test_size_fits_images_inside_with_their_aspect(data):
    split = data.split("val", size=(32, 48), batch_size=1)
    assert [split[i][1].shape[1:] for i in range(3)] == [(30, 48), (32, 20), (32, 32)]
    image, labels = data.read(data.files("val")[2])
    np.testing.assert_array_equal(
        split[2][1][0], Image.fromarray(labels).resize((32, 32), Image.Resampling.NEAREST)
    )
    np.testing.assert_array_equal(
        split[2][0][0], Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    )


def test_labels_get_no_new_id_from_resizing(data):
    for size in ((17, 23), (100, 90)):
        split = data.split("val", size=size, batch_size=1)
        for index in range(3):
            assert set(np.unique(split[index][1])) <= {0, 1, 2}


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_plain_keras_trains_on_it(data, augmentation):
    split = data.split("train", batch_size=3, seed=0, augment=augmentation)
    image = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 128, -127 / 128)(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(scaled))
    model.compile(keras.optimizers.Adam(0.05), SparseCrossEntropy(), jit_compile=False)
    losses = model.fit(split, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_file_that_cannot_be_used_is_named_with_the_reason(tmp_path, write_rectangles):
    yaml = write_rectangles(tmp_path / "data", ((16, 16),) * 8)
    data = load_data(yaml)
    pair = data.files("train")[0]
    Image.new("L", (16, 8)).save(pair.label_file)
    match = r"labels/0\.png: it is 16 x 8 pixels and its image 0\.png is 16 x 16; they must be"
    with pytest.raises(ValueError, match=match):
        data.read(pair)
    pair.label_file.unlink()
    with pytest.raises(ValueError, match=r"labels/0\.png cannot be read: No such file"):
        data.split("train")[0]
    pair.image.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"images/0\.png: it cannot be read as an image"):
        data.read(pair)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Six images of squares of one class, each an object."""
    folder = tmp_path_factory.mktemp("told")
    for name in ("images", "ids"):
        (folder / name).mkdir()
    for number in range(6):
        ids = np.zeros((48, 48), "uint16")
        ids[4:20, 4:20], ids[4:20, 20:40] = 1, 2
        ids[24 + number :, 10:30] = 3
        Image.fromarray((ids * 60).astype("uint8")).save(folder / "images" / f"{number}.png")
        Image.fromarray(ids).save(folder / "ids" / f"{number}.png")
    (folder / "data.yaml").write_text(
        "train: {images: images, instances: ids}\nnames: [ground, square]\ninstances: [square]\n"
    )
    return load_data(folder / "data.yaml")


def test_targets_are_a_function_of_seed_and_number(told):
    options = {"batch_size": 2, "seed": 5, "augment": AUGMENTATION, "instances": True}
    one, two = (told.split("train", **options) for _ in range(2))
    forwards = batches(one, 5)
    backwards = [two[index] for index in range(4, -1, -1)][::-1]
    for (images, targets), (others, same) in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(images, others)
        for name in targets:
            np.testing.assert_array_equal(targets[name], same[name])
    # Labels alone are varied in the same way.
    plain = told.split("train", batch_size=2, seed=5, augment=AUGMENTATION)
    np.testing.assert_array_equal(plain[3][0], forwards[3][0])
    np.testing.assert_array_equal(plain[3][1], forwards[3][1]["semantic"])


def test_targets_have_the_types_of_training(told):
    images, targets = told.split("train", batch_size=2, instances=True)[0]
    assert images.shape == (2, 48, 48, 3)
    kinds = {name: (array.shape, array.dtype) for name, array in targets.items()}
    assert kinds == {
        "semantic": ((2, 48, 48), np.int32),
        "center": ((2, 48, 48, 2), np.float32),
        "offset": ((2, 48, 48, 3), np.float32),
    }
    assert (targets["center"][..., 0] == 1).sum() == 6
