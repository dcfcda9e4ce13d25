"""From an image to its objects."""

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.instances.predicting import check_outputs

SIZE = (48, 64)


def spots():
    """Returns an image of three bright spots, of which two touch, and their centres."""
    down, right = np.mgrid[: SIZE[0], : SIZE[1]]
    image, centers = np.zeros(SIZE, "uint8"), [(20, 14), (20, 31), (30, 52)]
    for y, x in centers:
        image[(down - y) ** 2 + (right - x) ** 2 < 81] = 250
    return np.repeat(image[..., None], 3, 2), centers


def perfect(scale=1, centers=None):
    """Returns a callable that knows the centres, in shares of the image, and says what it saw."""
    centers = np.array(centers or spots()[1]) / SIZE
    seen = []

    def model(images):
        seen.append(images.shape[1:3])
        height, width = images.shape[1:3]
        down, right = (np.mgrid[: height // scale, : width // scale] + 0.5) * scale - 0.5
        y, x = ((centers + 0.5 / np.array(SIZE)) * (height, width) - 0.5).T
        far = (down[..., None] - y) ** 2 + (right[..., None] - x) ** 2
        nearest = far.argmin(-1)
        bright = images[0, scale // 2 :: scale, scale // 2 :: scale, 0] > 128
        offset = np.stack([y[nearest] - down, x[nearest] - right], -1)
        return {
            "semantic": np.stack([~bright, bright], -1)[None] * 4.0,
            "center": np.exp(-far.min(-1) / 32)[None, ..., None],
            "offset": offset[None],
        }

    model.seen = seen
    return model


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("size", [None, (96, 128), (24, 32)])
def test_objects_are_at_the_images_own_size(scale, size):
    image, centers = spots()
    model = perfect(scale)
    found = kseg.predict_instances(model, image, things=[1], size=size)
    assert model.seen == [size or SIZE]
    assert found.ids.shape == SIZE and len(found.objects) == 3
    step = scale * SIZE[0] / model.seen[0][0]  # the side of what an output stands for
    for y, x in centers:
        thing = found.objects[found.ids[y, x] - 1]
        middle = thing.box.y + thing.box.height / 2, thing.box.x + thing.box.width / 2
        assert np.abs(np.subtract(middle, (y, x))).max() <= 1.5 + step / 2
        assert 160 < thing.area < 340 and thing.class_id == 1 and thing.score > 0.5


def test_things_are_those_of_the_model():
    image, _ = spots()
    model = perfect()
    model.kseg_things = (1,)
    assert len(kseg.predict_instances(model, image).objects) == 3
    with pytest.raises(ValueError, match=r"things must name the classes .* as things=\[1\]; the"):
        kseg.predict_instances(perfect(), image)
    with pytest.raises(ValueError, match=r"ids of the model's classes, 0 to 1; got 2"):
        kseg.predict_instances(perfect(), image, things=[2])
    with pytest.raises(ValueError, match=r"whole numbers from 0 on; got \['cell'\]"):
        kseg.predict_instances(perfect(), image, things=["cell"])


def test_the_mirror_image_has_mirrored_offsets(make):
    image, _ = spots()
    network = make(input_shape=(*SIZE, 3))
    found, turned = (
        kseg.predict_instances(network, x, things=[1, 2], flip=True, threshold=-9)
        for x in (image, image[:, ::-1])
    )
    np.testing.assert_array_equal(found.label_map, turned.label_map[:, ::-1])
    assert (found.ids == turned.ids[:, ::-1]).mean() > 0.9


def test_a_network_of_a_fixed_size_takes_smaller_images(make):
    network = make(input_shape=(64, 96, 3))
    network.kseg_things = (1,)
    image, _ = spots()
    found = kseg.predict_instances(network, image, threshold=-9)
    free = make()
    free.set_weights(network.get_weights())
    padded = np.pad(image, ((0, 16), (0, 32), (0, 0)), mode="symmetric")
    expected = kseg.predict_instances(free, padded, things=[1], threshold=-9)
    np.testing.assert_array_equal(found.label_map, expected.label_map[:48, :64])


def test_images_are_read_from_paths(tmp_path):
    image, _ = spots()
    Image.fromarray(image).save(tmp_path / "spots.png")
    found = kseg.predict_instances(perfect(), tmp_path / "spots.png", things=[1])
    np.testing.assert_array_equal(
        found.ids, kseg.predict_instances(perfect(), image, things=[1]).ids
    )


def test_classes_alone_are_predicted_too(make):
    """`kseg.predict` and `kseg.evaluate` take the semantic output of such a network."""
    network = make()
    image, _ = spots()
    expected = network.predict_on_batch(image[None])["semantic"][0].argmax(-1)
    np.testing.assert_array_equal(kseg.predict(network, image), expected)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda found: found["semantic"], "it gives ndarray. kseg.predict labels classes alone"),
        (lambda found: {"semantic": found["semantic"]}, r"it gives semantic\. kseg"),
        (
            lambda found: {**found, "offset": found["center"]},
            r"offset has shape .*, not \(N",
        ),
        (lambda found: {**found, "semantic": found["center"]}, r"not \(N, h, w, 2 to 255\)"),
        (lambda found: {**found, "center": found["center"] + np.nan}, "center that are no numbers"),
    ],
)
def test_other_outputs_are_refused(change, match):
    found = perfect()(spots()[0][None].astype("float32"))
    assert check_outputs(found).keys() == found.keys()
    with pytest.raises(ValueError, match=match):
        check_outputs(change(found))


def test_a_class_that_is_ruled_out_changes_no_other():
    model = perfect(scale=4)

    def ruling_out(images):
        outputs = model(images)
        out = np.full_like(outputs["semantic"][..., :1], -np.inf)
        return {**outputs, "semantic": np.concatenate([outputs["semantic"], out], -1)}

    image = spots()[0]
    expected = kseg.predict_instances(model, image, things=[1])
    found = kseg.predict_instances(ruling_out, image, things=[1])
    np.testing.assert_array_equal(found.label_map, expected.label_map)
    assert found.label_map.any()
