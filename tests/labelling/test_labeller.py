import os
import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.data.files import read_image
from kseg.labelling.labeller import size_seen
from kseg.models import TRAINED
from kseg.models.trained import packaged

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (20, 30, 3), "uint8") for _ in range(3)]


class BrightOrDark:
    """Two classes by the red channel."""

    def __call__(self, images):
        red = np.asarray(images)[..., 0]
        return np.stack([127.5 - red, red - 127.5], -1)


def bright(image):
    return (image[..., 0] > 127).astype("uint8")


def _bytes(image, path):
    Image.fromarray(image).save(path)
    return path.read_bytes()


def test_a_sequence_gives_a_row_for_each_image_and_the_bad_ones_stop_nothing(tmp_path):
    path = tmp_path / "x.png"
    batch = [IMAGES[0], _bytes(IMAGES[1], path), path, str(path), b"broken", "gone.png", 5]
    rows = kseg.Labeller(BrightOrDark())(batch)
    for row, image in zip(rows, (IMAGES[0], *[IMAGES[1]] * 3), strict=False):
        assert row.error is None
        np.testing.assert_array_equal(row.labels, bright(image))
    assert [row.labels for row in rows[4:]] == [None] * 3
    said = [row.error for row in rows[4:]]
    assert "cannot be read as an image" in said[0] and "gone.png" in said[1]
    assert said[2] == "the image must be an array, the bytes of an image file or its path; got int."


def test_a_dict_keeps_its_columns_and_gains_two():
    batch = {"image": np.stack(IMAGES), "key": np.arange(3)}
    done = kseg.Labeller(BrightOrDark())(batch)
    assert list(done) == ["image", "key", "labels", "error"] and list(batch) == ["image", "key"]
    assert done["labels"].dtype == np.uint8
    np.testing.assert_array_equal(done["labels"], bright(np.stack(IMAGES)))
    assert done["error"].tolist() == [""] * 3


def test_maps_of_different_sizes_are_arrays_in_an_array():
    column = np.empty(3, object)
    column[:] = [IMAGES[0], IMAGES[1][:7], b"broken"]
    done = kseg.Labeller(BrightOrDark(), column="x")({"x": column})
    assert [labels.shape for labels in done["labels"]] == [(20, 30), (7, 30), (0, 0)]
    assert [bool(error) for error in done["error"]] == [False, False, True]


def test_columns_that_are_there_already_are_kept():
    batch = {"image": IMAGES[:2], "labels": [7, 8], "source_error": [1, 2], "error": [3, 4]}
    done = kseg.Labeller(BrightOrDark())(batch)
    kept = ["image", "source_labels", "source_error", "source_source_error"]
    assert list(done) == [*kept, "labels", "error"]
    assert done["source_error"] == [1, 2] and done["source_source_error"] == [3, 4]
    assert done["source_labels"] == [7, 8] and len(done["labels"]) == 2


def test_png_gives_bytes_that_hold_the_map(tmp_path):
    labeller = kseg.Labeller(BrightOrDark(), png=True)
    column = [{"bytes": _bytes(IMAGES[0], tmp_path / "x.png"), "path": None}, b"broken"]
    labels = labeller({"image": column})["labels"]
    (tmp_path / "y.png").write_bytes(labels[0])
    np.testing.assert_array_equal(Image.open(tmp_path / "y.png"), bright(IMAGES[0]))
    assert labels[1] == b""


def test_a_missing_column_and_a_missing_model_are_sentences():
    with pytest.raises(ValueError, match=r"no column 'image'; it has a, b\. Name the one"):
        kseg.Labeller(BrightOrDark())({"a": [], "b": []})
    with pytest.raises(ValueError, match="'nowhere' is neither a run folder"):
        kseg.Labeller("nowhere")([IMAGES[0]])


def test_bytes_are_read_as_their_file_is_whatever_the_channels(tmp_path):
    path = tmp_path / "five.tif"
    import tifffile

    tifffile.imwrite(
        path,
        RNG.integers(0, 256, (8, 9, 5), "uint8"),
        photometric="minisblack",
        planarconfig="contig",
    )
    model = BrightOrDark()
    model.channels = 5
    read = kseg.Labeller(model).read(path.read_bytes())
    np.testing.assert_array_equal(read, read_image(path, 5))


def _network():
    keras.utils.set_random_seed(3)
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    model.kseg_size = (16, 24)
    return model


def test_a_keras_model_goes_through_pickle_with_its_working_size(enliven):
    model = enliven(_network())
    labeller = kseg.Labeller(model)
    there = pickle.loads(pickle.dumps(labeller))
    (row,) = there(IMAGES[:1])
    np.testing.assert_array_equal(row.labels, kseg.predict(model, IMAGES[0]))


def _calls(model, monkeypatch):
    """Notes the shapes of the images that a model is called with."""
    plain, seen = model.predict_on_batch, []
    monkeypatch.setattr(model, "predict_on_batch", lambda x: seen.append(x.shape) or plain(x))
    return seen


@pytest.mark.parametrize("options", [{}, {"flip": True, "scales": (0.75, 1.25)}])
def test_small_images_of_one_shape_are_seen_together_and_labelled_alike(
    options, enliven, monkeypatch
):
    model = enliven(_network())
    alike = [RNG.integers(0, 256, (20, 30, 3), "uint8") for _ in range(5)]
    truth = [kseg.predict(model, image, **options) for image in alike]
    other = RNG.integers(0, 256, (24, 30, 3), "uint8")
    seen = _calls(model, monkeypatch)
    rows = kseg.Labeller(model, **options)([*alike[:2], b"broken", *alike[2:], other])
    assert [bool(row.error) for row in rows] == [False, False, True, *[False] * 4]
    for row, labels in zip([*rows[:2], *rows[3:6]], truth, strict=True):
        np.testing.assert_array_equal(row.labels, labels)
    np.testing.assert_array_equal(rows[6].labels, kseg.predict(model, other, **options))
    calls = 4 if options else 1
    assert [shape[0] for shape in seen[: 3 * calls]] == [2] * calls + [3] * calls + [1] * calls


def test_a_bad_image_among_those_seen_together_fails_alone(enliven):
    model = enliven(_network())
    bad = np.full((20, 30, 3), 300.0)
    rows = kseg.Labeller(model)([IMAGES[0], bad, IMAGES[1]])
    assert rows[1].labels is None and "must have values 0..255" in rows[1].error
    for row, image in ((rows[0], IMAGES[0]), (rows[2], IMAGES[1])):
        np.testing.assert_array_equal(row.labels, kseg.predict(model, image))


def test_images_are_taken_as_they_are_needed(monkeypatch):
    """So a batch of large images is never in memory as a whole."""
    model = _network()
    del model.kseg_size
    seen, taken = _calls(model, monkeypatch), []

    def images(side, count):
        for number in range(count):
            taken.append(number)
            yield np.zeros((side, side, 3), "uint8")

    rows = kseg.Labeller(model).label_all(images(320, 3))
    next(rows)
    assert len(taken) == 1
    seen.clear()
    assert len(list(kseg.Labeller(model).label_all(images(64, 40)))) == 40
    assert [shape[0] for shape in seen] == [32, 8]


def test_runs_files_and_names_label_as_predict_does(tmp_path, enliven):
    model = enliven(_network())
    del model.kseg_size
    model.save(tmp_path / "net.keras")
    (row,) = kseg.Labeller(tmp_path / "net.keras")(IMAGES[:1])
    np.testing.assert_array_equal(row.labels, kseg.predict(model, IMAGES[0]))

    record = TRAINED["atrous_fpn_tiny_camvid"]
    file = packaged(record.int8_file, record.int8_sha256)
    labeller = pickle.loads(pickle.dumps(kseg.Labeller(Path(str(file)), size=(64, 96))))
    (row,) = labeller(IMAGES[:1])
    assert row.error is None and row.labels.shape == (20, 30)
    first = labeller.opened()[0]
    labeller(IMAGES[:1])
    assert labeller.opened()[0] is first
    np.testing.assert_array_equal(row.labels, kseg.predict(first, IMAGES[0], size=(64, 96)))
    # A copy loads its own: one process of LiteRT serves one labeller.
    assert pickle.loads(pickle.dumps(labeller)).opened()[0] is not first


class Born:
    """Knows the process that opened it."""

    def __init__(self):
        self.born = os.getpid()


def test_a_fork_opens_the_model_anew(monkeypatch):
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (Born(), None, None))
    labeller = kseg.Labeller("m")
    assert labeller.opened()[0].born == os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"y" if labeller.opened()[0].born == os.getpid() else b"n")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"y"


def test_a_fault_of_the_model_is_not_one_of_the_image():
    class Broken(BrightOrDark):
        def __call__(self, images):
            error = ValueError("the file is damaged")
            error.exit_code = 4
            raise error

    with pytest.raises(ValueError, match="the file is damaged"):
        kseg.Labeller(Broken())(IMAGES)


@pytest.mark.parametrize(
    ("own", "seen"), [((1000, 1000), None), ((4096, 4096), (2048, 2048)), ((20, 30), None)]
)
def test_without_a_working_size_an_image_is_seen_at_4_megapixels(own, seen):
    assert size_seen(BrightOrDark(), None, own) == seen
    assert size_seen(BrightOrDark(), (5, 5), own) == (5, 5)


def test_what_would_not_be_looked_at_is_refused():
    with pytest.raises(ValueError, match="native labels an image at its own size"):
        kseg.Labeller("m", native=True, size=(8, 8))
    with pytest.raises(ValueError, match="is open already"):
        kseg.Labeller(lambda images: images, opened_with={"kernels": "plain"})
