"""`kseg predict` and `kseg evaluate` with a stand-in for a network that tells objects apart."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import kseg
from kseg.cli import main
from kseg.polygons import find_regions

CLASSES = kseg.Classes(("dark", "cell"))
CENTERS = ((12, 12), (12, 27), (30, 45))  # the first two touch


class Model:
    """Says that discs of 8 pixels around the centres are cells, where the image is bright."""

    output_names = ("center", "offset", "semantic")
    kseg_things = (1,)

    def __call__(self, images):
        height, width = images.shape[1:3]
        down, right = np.mgrid[:height, :width]
        y, x = np.array(CENTERS, float).T
        far = (down[..., None] - y) ** 2 + (right[..., None] - x) ** 2
        nearest, bright = far.argmin(-1), images[..., 0] > 127
        return {
            "semantic": np.stack([~bright, bright], -1) * 4.0,
            "center": np.exp(-far.min(-1) / 32)[None, ..., None],
            "offset": np.stack([y[nearest] - down, x[nearest] - right], -1)[None],
        }


def write(folder):
    """Writes an image of discs, one with a hole, and its ids; returns the ids."""
    down, right = np.mgrid[:40, :60]
    ids = np.zeros((40, 60), "uint16")
    for number, (y, x) in enumerate(CENTERS, start=1):
        ids[(down - y) ** 2 + (right - x) ** 2 < 64] = number
    ids[30:32, 44:46] = 0
    for name in ("images", "ids"):
        (folder / name).mkdir()
    Image.fromarray(np.repeat(np.uint8(ids > 0)[..., None] * 255, 3, 2)).save(
        folder / "images/a.png"
    )
    Image.fromarray(ids).save(folder / "ids/a.png")
    (folder / "cells.yaml").write_text(
        "val: {images: images, instances: ids}\ntrain: {images: images, instances: ids}\n"
        "names: [dark, cell]\ninstances: [cell]\n"
    )
    return ids


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (Model(), CLASSES, None))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path):
    return sorted(file.name for file in path.iterdir())


def same(ids, truth):
    """Whether two id maps tell the same objects apart."""
    return len(np.unique(np.stack([ids.ravel(), truth.ravel()]), axis=1).T) == truth.max() + 1


def test_ids_of_16_bits_and_an_overlay_are_written(folder, capsys):
    truth = write(folder)
    assert main(["predict", "m", "images/a.png"]) == 0
    out = folder / "predictions"
    assert capsys.readouterr().out.startswith("images/a.png: 3 x cell -> ")
    assert names(out) == ["a.instances.png", "a.overlay.png"]
    with Image.open(out / "a.instances.png") as picture:
        assert picture.mode == "I;16"
        assert same(np.asarray(picture), truth) and np.asarray(picture).max() == 3
    with Image.open(out / "a.overlay.png") as picture:
        assert picture.size == (240, 160) and len(picture.getcolors(10**5)) > 20


def test_polygons_are_coco_and_geojson(folder):
    truth = write(folder)
    assert main(["predict", "m", "images/a.png", "--polygons", "--save", "labels", "csv"]) == 0
    out = folder / "predictions"
    assert names(out) == ["a.coco.json", "a.csv", "a.geojson", "a.ids.png"]
    coco = COCO(out / "a.coco.json")
    masks = {i: coco.annToMask(found) for i, found in coco.anns.items()}
    assert same(sum(i * mask.astype(int) for i, mask in masks.items()), truth)
    for found in coco.anns.values():
        assert found["category_id"] == 2 and 0 < found["score"] <= 1
        y, x = np.nonzero(masks[found["id"]])
        assert found["area"] == len(y)
        assert found["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
    features = json.loads((out / "a.geojson").read_text())["features"]
    assert sorted(len(f["geometry"]["coordinates"]) for f in features) == [1, 1, 2]  # a hole
    assert [f["properties"]["id"] for f in features] == [1, 2, 3]
    assert {f["properties"]["class"] for f in features} == {"cell"}
    rows = list(csv.DictReader((out / "a.csv").read_text().splitlines()))
    assert [int(row["pixels"]) for row in rows] == [masks[i].sum() for i in (1, 2, 3)]
    assert float(rows[0]["score"]) >= float(rows[2]["score"]) > 0


def test_polygons_of_classes_too(folder, monkeypatch):
    write(folder)
    model = lambda images: Model()(images)["semantic"]  # noqa: E731
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (model, CLASSES, None))
    assert main(["predict", "m", "images/a.png", "--polygons"]) == 0
    expected = ["a.coco.json", "a.geojson", "a.labels.png", "a.overlay.png"]
    assert names(folder / "predictions") == expected
    labels = np.asarray(Image.open(folder / "predictions/a.labels.png"))
    features = json.loads((folder / "predictions/a.geojson").read_text())["features"]
    assert len(features) == len(find_regions(labels, 2)) == 4


def test_what_is_there_is_kept(folder, capsys):
    write(folder)
    assert main(["predict", "m", "images/a.png"]) == 0
    assert main(["predict", "m", "images/a.png"]) == 2
    assert "there is predictions/a.overlay.png already" in capsys.readouterr().err
    (folder / "predictions/a.overlay.png").unlink()
    assert main(["predict", "m", "images/a.png"]) == 2
    said = capsys.readouterr().err
    assert "there is predictions/a.instances.png already" in said
    assert main(["predict", "m", "images/a.png", "--resume"]) == 0
    assert main(["predict", "m", "images/a.png", "--resume"]) == 0
    assert "1 skipped" in capsys.readouterr().out


def test_json_counts_objects(folder, capsys):
    write(folder)
    assert main(["predict", "m", "images/a.png", "--json"]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["objects"] == {"cell": 3} and image["shares"]["cell"] > 0.2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--native"], "--native is for networks that label classes alone; m tells objects apart"),
        (["--threshold", "2"], "--threshold must be from 0 to 1; got 2."),
        (["--scales", "1", "2"], "--scales is for networks that label classes alone; m tells"),
    ],
)
def test_options_of_the_other_kind_are_refused(folder, capsys, options, match):
    write(folder)
    assert main(["predict", "m", "images/a.png", *options]) == 2
    assert match in capsys.readouterr().err
    assert not (folder / "predictions").exists()


def test_threshold_is_that_of_the_heatmap(folder, monkeypatch, capsys):
    write(folder)
    assert main(["predict", "m", "images/a.png", "--threshold", "1"]) == 0  # peaks are 1 high
    assert capsys.readouterr().out.startswith("images/a.png: no objects -> ")
    assert main(["evaluate", "m", "cells.yaml", "--threshold", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"] == 0
    model = lambda images: Model()(images)["semantic"]  # noqa: E731
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (model, CLASSES, None))
    assert main(["predict", "m", "images/a.png", "--out", "o", "--threshold", "0.2"]) == 2
    assert "--threshold is for networks that tell objects apart" in capsys.readouterr().err
    assert main(["evaluate", "m", "cells.yaml", "--threshold", "0.2"]) == 2
    assert "--threshold is for networks that tell objects apart" in capsys.readouterr().err


def test_ids_of_a_network_without_objects_are_refused(folder, monkeypatch, capsys):
    write(folder)
    model = lambda images: Model()(images)["semantic"]  # noqa: E731
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (model, CLASSES, None))
    assert main(["predict", "m", "images/a.png", "--save", "instances"]) == 2
    assert "such as panoptic_deeplab; m labels classes alone." in capsys.readouterr().err


def test_evaluate_prints_the_scores_of_objects(folder, capsys):
    write(folder)
    assert main(["evaluate", "m", "cells.yaml"]) == 0
    printed = capsys.readouterr().out
    for line in ("cell                1.0000", "AP, IoU 0.5                   1.0000", "objects"):
        assert line in printed, printed
    assert main(["evaluate", "m", "cells.yaml", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["things"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0}
    assert scores["tp_over_all"]["0.9"] == 1 and scores["objects"] == scores["found"] == 3
    for option in (["--pad-to", "64", "64"], ["--report", "r"], ["--scales", "2"]):
        assert main(["evaluate", "m", "cells.yaml", *option]) == 2
        assert f"{option[0]} is for networks that label classes alone" in capsys.readouterr().err


def test_evaluate_on_data_without_instances_scores_the_classes(folder, capsys):
    ids = write(folder)
    (folder / "labels").mkdir()
    Image.fromarray(np.uint8(ids > 0)).save(folder / "labels/a.png")
    (folder / "classes.yaml").write_text(
        "val: {images: images, labels: labels}\ntrain: {images: images, labels: labels}\n"
        "names: [dark, cell]\n"
    )
    assert main(["evaluate", "m", "classes.yaml"]) == 0
    assert "mean IoU" in capsys.readouterr().out
