"""The page tells objects apart as `kseg.instances` does, pixel for pixel."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export.web
import kseg
from export import load_tflite
from export.web.facts import WebModel
from export.web.page import make_page
from kseg.instances import group
from kseg.strips import resize_logits

_GROUP = """async ([maps, network, fitted, own]) => {
  const { group } = await import('./objects.js');
  const { toLabels } = await import('./pixels.js');
  for (const map of Object.values(maps)) map.scores = Float32Array.from(map.scores);
  const labels = toLabels(maps.semantic, network.classes.length, fitted, own);
  const { ids, objects } = group(labels, maps, network, fitted, own);
  return [Array.from(labels), Array.from(ids), objects];
}"""


@pytest.fixture
def grouped(open_page, tmp_path):
    """A function that runs the page's grouping: (maps, stride, fitted, own) -> its result."""
    static = Path(export.web.__file__).with_name("static")
    for name in ("pixels.js", "objects.js"):
        shutil.copyfile(static / name, tmp_path / name)
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    opened = open_page(tmp_path)
    opened.page.goto(opened.address)

    def run(maps, stride, fitted, own):
        sent = {
            name: {
                "scores": values.ravel().tolist(), "grid": list(values.shape[:2]), "stride": stride,
            }
            for name, values in maps.items()
        }  # fmt: skip
        network = {"classes": [{}, {}, {}], "things": [1, 2], "head": "logits"}
        return opened.page.evaluate(_GROUP, [sent, network, list(fitted), list(own)])

    return run


def _maps(seed, size):
    """Returns maps of two classes of things with flat tops and ties, as files of 8 bits have."""
    rng = np.random.default_rng(seed)
    height, width = size
    semantic = np.rint(4 * resize_logits(rng.normal(size=(5, 6, 3)).astype("float32"), size)) / 2
    center = np.rint(9 * resize_logits(rng.uniform(0, 1, (7, 8, 1)).astype("float32"), size)) / 9
    offset = np.rint(rng.normal(0, 3, (height, width, 2)))
    found = {"semantic": semantic, "center": center, "offset": offset}
    return {name: values.astype("float32") for name, values in found.items()}


@pytest.mark.parametrize(
    ("stride", "fitted", "own"),
    [(1, (30, 40), (30, 40)), (1, (30, 37), (61, 75)), (1, (30, 40), (17, 23)),
     (4, (29, 38), (29, 38))],
)  # fmt: skip
def test_grouping_is_python_s(stride, fitted, own, grouped):
    maps = _maps(stride, (8, 10) if stride == 4 else (30, 40))
    labels, ids, objects = grouped(maps, stride, fitted, own)
    whole = {
        name: resize_logits(x, (x.shape[0] * stride, x.shape[1] * stride))
        for name, x in maps.items()
    }
    seen = {name: x[: fitted[0], : fitted[1]] for name, x in whole.items()}
    expected = group(*seen.values(), things=(1, 2), size=own)
    assert len(expected.scores) > 3 and len(set(expected.class_ids.tolist())) == 2
    np.testing.assert_array_equal(np.reshape(ids, own), expected.ids)
    np.testing.assert_array_equal(np.reshape(labels, own), expected.label_map)
    assert [thing["classId"] for thing in objects] == expected.class_ids.tolist()
    scores = [thing["score"] for thing in objects]
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5)


def test_a_page_draws_the_objects_of_a_picture(
    int8_discs, discs, runtime_package, open_page, tmp_path
):
    picture = tmp_path / "discs.png"
    Image.fromarray(discs.images("val", 1)[0]).save(picture)
    model = WebModel(int8_discs.path, discs.classes)
    page = make_page([model], tmp_path / "page", runtime=runtime_package("litert"))
    opened = open_page(page).load()
    assert opened.choose(picture) == ""
    with load_tflite(int8_discs.path) as file:
        expected = kseg.predict_instances(file, picture)
    assert f"{len(expected.objects)} objects" in opened.says("#status")
    np.testing.assert_array_equal(opened.labels(), expected.label_map)
    overlay = np.asarray(opened.saved("#save-overlay")[0].convert("RGB")).astype(int)
    colors = {tuple(np.median(overlay[expected.ids == n], 0)) for n in (1, 2, 3)}
    assert len(colors) == 3  # each object has its own


def test_mediapipe_cannot_tell_objects_apart(int8_discs, discs, tmp_path):
    model = WebModel(int8_discs.path, discs.classes)
    with pytest.raises(ValueError, match="three outputs, and MediaPipe takes files of one"):
        make_page([model], tmp_path / "page", runtime="mediapipe")
