"""The page in Chromium labels pictures as `kseg.predict` does with LiteRT, pixel for pixel."""

import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import export.web
import kseg
from export import ExportOptions, convert, float16, load_tflite
from export.web.facts import WebModel, zoo
from export.web.page import make_page

RUNTIMES = ("litert", "mediapipe")
SECONDS = 5  # to the first result, on a quiet machine
SLACK = 6  # tests share theirs


def agreement(opened, model, pictures):
    """Returns the share of the pictures' pixels that page and Python name alike."""
    equal = []
    with load_tflite(model.path) as file:
        for picture in pictures:
            assert opened.choose(picture) == ""
            labels = opened.labels()
            expected = kseg.predict(file, picture, size=model.working_size)
            assert labels.shape == expected.shape
            equal.append((labels == expected).ravel())
    return np.concatenate(equal).mean()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_of_the_zoo(runtime, runtime_package, open_page, pictures, tmp_path):
    titles = ("atrous_fpn_tiny_camvid", "lraspp_camvid")
    model, other = (m for m in zoo() if m.title in titles)
    page = make_page([model, other], tmp_path / "page", runtime=runtime_package(runtime))
    opened = open_page(page)
    begin = time.monotonic()
    opened.load()
    opened.choose(pictures[0])
    assert time.monotonic() - begin < SECONDS * SLACK
    assert agreement(opened, model, pictures) >= 0.9999
    assert len(np.unique(opened.labels())) > 1
    opened.model(other.title)  # MediaPipe would report what it did to Google when it is closed
    assert agreement(opened, other, pictures[2:]) >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_street_network_of_the_zoo(
    runtime, runtime_package, open_page, pictures, camvid, tmp_path
):
    pictures = [*sorted((camvid / "val").iterdir())[:60:20], *pictures[1:]]
    street = [model for model in zoo() if model.title.endswith("_camvid")]
    page = make_page(street, tmp_path / "page", runtime=runtime_package(runtime))
    opened = open_page(page).load()
    for model in street:
        opened.model(model.title)
        assert agreement(opened, model, pictures) >= 0.9999, model.title


@pytest.fixture(scope="session")
def kinds(trained, recipe, data, int8, int8_argmax, tmp_path_factory):
    """Files of every head, stride and kind of number: title -> path."""
    made = {"logits": int8.path, "argmax": int8_argmax.path}
    for head, stride, recipe_used in (
        ("softmax", 1, recipe),
        ("logits", 8, recipe),
        ("argmax", 8, recipe),
        ("softmax", 8, float16()),
        ("logits", 1, float16()),
    ):
        title = f"{recipe_used.name}-{head}-{stride}"
        path = tmp_path_factory.mktemp(title) / f"{title}.tflite"
        options = ExportOptions(head=head, stride=stride, classes=data.classes)
        convert(trained, recipe_used, input_size=(64, 64), path=path, options=options)
        made[title] = path
    return made


@pytest.mark.slow
def test_heads_strides_and_numbers(kinds, data, runtime_package, open_page, draw, tmp_path):
    models = []
    for title, path in kinds.items():
        own = tmp_path / f"{title}.tflite"
        own.write_bytes(path.read_bytes())
        models.append(WebModel(own, data.classes, title=title))
    picture, large = tmp_path / "own.png", tmp_path / "large.png"
    Image.fromarray(np.uint8(data.images("val", 1)[0])).save(picture)
    draw(3, (97, 130)).save(large)
    page = make_page(models, tmp_path / "page", runtime=runtime_package("litert"))
    opened = open_page(page).load()
    for model in models:
        opened.model(model.title)
        assert agreement(opened, model, [picture, large]) >= 0.9999, model.title
        opened.choose(picture)
        assert len(np.unique(opened.labels())) == 3, model.title


@pytest.mark.slow
def test_mediapipe_takes_softmax_and_float(kinds, data, runtime_package, open_page, draw, tmp_path):
    picture = tmp_path / "large.png"
    draw(3, (97, 130)).save(picture)
    models = [
        WebModel(path, data.classes, title=title)
        for title, path in kinds.items()
        if title in ("full_integer-softmax-1", "float16-logits-1")
    ]
    assert len(models) == 2
    page = make_page(models, tmp_path / "page", runtime=runtime_package("mediapipe"))
    opened = open_page(page).load()
    for model in models:
        opened.model(model.title)
        assert agreement(opened, model, [picture]) >= 0.9999, model.title


def test_a_small_working_size_and_other_formats(
    int8, data, runtime_package, open_page, draw, tmp_path
):
    # Turned by its EXIF tag, fitted into less than the file's input, padded, and brought back.
    picture, grey = tmp_path / "turned.jpg", tmp_path / "grey.png"
    image = draw(5, (300, 210))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(picture, exif=exif, quality=95)
    image.convert("L").save(grey)
    model = WebModel(int8.path, data.classes, working_size=(48, 40))
    page = make_page([model], tmp_path / "page", runtime=runtime_package("litert"))
    opened = open_page(page).load()
    assert agreement(opened, model, [picture, grey]) >= 0.9999
    assert opened.labels().shape == (300, 210)


@pytest.fixture
def blank(tmp_path):
    """A folder with pixels.js alone, and a page without anything."""
    shutil.copyfile(
        Path(export.web.__file__).with_name("static") / "pixels.js", tmp_path / "pixels.js"
    )
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    return tmp_path


def test_pixels_are_resized_as_pillow_does(blank, open_page, draw):
    opened = open_page(blank)
    opened.page.goto(opened.address)
    for size, to in (((40, 60), (17, 31)), ((23, 19), (64, 50)), ((30, 30), (30, 7))):
        image = draw(1, size)
        pixels = np.asarray(image.convert("RGBA")).ravel().tolist()
        made = opened.page.evaluate(
            "async ([pixels, size, to]) => {"
            "  const { resize } = await import('./pixels.js');"
            "  return Array.from(resize(Uint8ClampedArray.from(pixels), size, to)); }",
            [pixels, size, to],
        )
        expected = np.asarray(image.resize(to[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(np.reshape(made, (*to, 4))[..., :3], expected)


def test_scores_are_resized_as_keras_does(blank, open_page):
    opened = open_page(blank)
    opened.page.goto(opened.address)
    scores = np.random.default_rng(0).integers(-9, 9, (3, 4, 3)).astype("float32")
    for stride, fitted, own in ((1, (3, 4), (10, 9)), (4, (11, 14), (23, 40)), (1, (2, 3), (2, 3))):
        made = opened.page.evaluate(
            "async ([scores, stride, fitted, own]) => {"
            "  const { toLabels } = await import('./pixels.js');"
            "  const output = { scores: Float32Array.from(scores), grid: [3, 4], stride };"
            "  return Array.from(toLabels(output, 3, fitted, own)); }",
            [scores.ravel().tolist(), stride, fitted, own],
        )
        expected = keras.ops.image.resize(scores, (3 * stride, 4 * stride))
        expected = keras.ops.image.resize(expected[: fitted[0], : fitted[1]], own)
        expected = keras.ops.convert_to_numpy(expected).argmax(-1)
        np.testing.assert_array_equal(np.reshape(made, own), expected)
