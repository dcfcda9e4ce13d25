import keras
import numpy as np
import pytest

import kseg
from kseg.tiles import label_tiles

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 200), (300, 130), (129, 64)])
@pytest.mark.parametrize("tile", [(64, 64), (96, 160), (20, 33), (1, 7)])
def test_tiles_of_the_same_logits_are_the_whole(size, tile):
    logits = RNG.normal(size=(*size, 3)).astype("float32")
    seen = []

    def logits_of(rows, columns):
        seen.append((rows, columns))
        return logits[rows, columns]

    np.testing.assert_array_equal(label_tiles(logits_of, size, tile), logits.argmax(-1))
    for axis in (0, 1):
        assert max(part[axis].stop - part[axis].start for part in seen) <= tile[axis]


def test_weights_go_from_one_tile_to_the_next_and_are_0_near_an_edge():
    """The first tile says 1, the second -1: class 0 wins where the first has over half."""
    values = {0: 1.0, 96: -1.0}

    def logits_of(rows, columns):
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        value = np.full(shape, values[columns.start])
        return np.stack([value, -0.5 * np.ones(shape)], -1)

    labels = label_tiles(logits_of, (10, 200), (128, 128))
    # Overlap 96..127: all of the first tile to 104, all of the second from 120; at 0.25 of the
    # first tile the mean is -0.5, which is between the columns 115 and 116.
    assert (labels == (np.arange(200) > 115)).all()


def test_a_large_image_takes_the_memory_of_a_row_of_tiles():
    import tracemalloc

    def logits_of(rows, columns):
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start, 8), "float32")

    tracemalloc.start()
    label_tiles(logits_of, (4000, 2000), (128, 128))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = 4000 * 2000 * 8 * 4
    assert peak < 4000 * 2000 + whole / 20


def test_a_network_with_small_receptive_field_gives_the_whole_image_exactly():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 5, 2, "same", activation="relu")(image)
    x = keras.layers.Conv2D(8, 3, 1, "same", activation="relu")(x)
    x = keras.layers.Conv2DTranspose(3, 4, 2, "same")(x)
    model = keras.Model(image, x)
    picture = RNG.normal(size=(160, 256, 3)).astype("float32")

    def logits_of(rows, columns):
        return keras.ops.convert_to_numpy(model(picture[None, rows, columns]))[0]

    whole = logits_of(slice(0, 160), slice(0, 256)).argmax(-1)
    labels = label_tiles(logits_of, (160, 256), (128, 128))
    assert (labels != whole).mean() < 1e-4 and len(np.unique(labels)) == 3


class ClassMap:
    """A file that gives a class map and does not say how many classes it knows."""

    num_classes, input_size = None, (64, 64)

    def __call__(self, images):
        ids = images[..., 0].astype(int)
        return (ids[..., None] == np.arange(max(2, ids.max() + 1))).astype("float32")


def test_class_maps_of_which_each_tile_names_others():
    ids = np.zeros((150, 170), "uint8")
    ids[30:60, 100:] = 1
    ids[100:, :40] = 3
    ids[140:, 150:] = 6
    image = np.repeat(ids[..., None], 3, -1)
    np.testing.assert_array_equal(kseg.predict(ClassMap(), image, native=True), ids)
    model = ClassMap()
    model.input_size = None
    found = kseg.predict(model, image, flip=True, scales=(1, 0.25))
    assert (found == ids).mean() > 0.97


def test_a_class_map_is_scored_on_images_without_the_last_classes(rectangles_yaml):
    data = kseg.load_data(rectangles_yaml)

    def dark(images):
        return ClassMap()(images * 0)

    dark.num_classes = None
    scores = kseg.evaluate(dark, data)
    assert scores.iou_per_class["ground"] > 0 and scores.mean_iou > 0
    dark.num_classes = 2
    with pytest.raises(ValueError, match="The model has 2 classes and"):
        kseg.evaluate(dark, data)


def test_logits_of_ever_more_classes_are_refused():
    def model(images):
        return np.full((*images.shape[:3], images.shape[1]), -1.0, "float32")

    with pytest.raises(ValueError, match="as many classes each time; it gives 4 and 8"):
        kseg.predict(model, np.full((8, 8, 3), 9, "uint8"), scales=(1, 0.5))
