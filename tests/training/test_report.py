import csv
import json
import re
import shutil
import sys

import numpy as np
import pytest

import kseg
from kseg.classes import Classes
from kseg.training.evaluation import Judged, Look, judge
from kseg.training.images import spread
from kseg.training.report import examine, prepare_folder, report_on_run, write_report
from kseg.training.report_page import make_page

REPORT = sys.modules[examine.__module__]
CLASSES = Classes(("ground", "red", "blue"))


def judged(name, truth, labels, scores=None):
    """An image of 10 x 10 whose top row has other labels than the rest."""
    maps = [np.full((10, 10), value[1], "uint8") for value in (truth, labels)]
    for labels_of, value in zip(maps, (truth, labels), strict=True):
        labels_of[0] = value[0]
    image = np.full((10, 10, 3), 90, "uint8")
    logits = np.log(np.where(np.eye(3)[maps[1]], 0.8, 0.1)) if scores is None else scores(maps[1])
    return Judged(name, image, maps[0], logits.astype("float32"), (10, 10))


@pytest.fixture
def report():
    images = [
        judged("all right", (0, 1), (0, 1)),
        judged("half wrong", (0, 1), (1, 1)),
        judged("ignored", (255, 255), (0, 1)),
        judged("all wrong", (1, 0), (0, 1)),
    ]
    return examine(images, CLASSES)


def test_images_are_ordered_by_their_own_score(report):
    assert [(e.name, e.mean_iou) for e in report.worst] == [
        ("all wrong", 0),
        ("half wrong", pytest.approx(0.45)),  # 0 of ground, 90 of 100 of red
    ]
    assert [(e.name, e.mean_iou) for e in report.best] == [("all right", 1)]
    assert report.scores.images == 4


def test_scores_are_those_of_evaluate_and_of_probabilities(report):
    # ground: 10 right, 10 + 90 + 10 in either; red: 90 + 90 right, of 90 + 100 + 10 + 90 in either.
    assert report.scores.confusion.tolist() == [[10, 100, 0], [10, 180, 0], [0, 0, 0]]
    assert report.scores.iou_per_class == {"ground": 10 / 120, "red": 180 / 290, "blue": None}
    assert report.boundary_iou["blue"] is None
    # All are 80 % sure, and 190 of 300 pixels are right.
    assert report.calibration.error() == pytest.approx(0.8 - 190 / 300, abs=1e-6)
    assert report.to_json()["calibration_error"] == pytest.approx(0.8 - 190 / 300, abs=1e-6)


def test_only_the_three_worst_and_best_are_kept():
    right = [(0, 1), (1, 1)]
    images = [judged(str(i), (0, 1), right[i % 2]) for i in range(10)]
    report = examine(images, CLASSES)
    assert [e.mean_iou for e in report.worst] == pytest.approx([0.45] * 3)
    assert [e.mean_iou for e in report.best] == [1] * 3


def test_large_images_are_shrunk_and_their_labels_picked():
    truth = np.zeros((1000, 500), "uint8")
    truth[500:] = 1
    logits = np.eye(3, dtype="float32")[truth] * 9
    image = np.zeros((1000, 500, 3), "uint8")
    (example,) = examine([Judged("large", image, truth, logits, (1000, 500))], CLASSES).worst
    assert example.image.shape == (480, 240, 3)
    assert example.truth.shape == example.labels.shape == (480, 240)
    assert (example.truth == np.repeat([0, 1], 240)[:, None]).all()


def test_class_maps_have_no_calibration():
    report = examine([judged("a", (0, 1), (0, 1), lambda m: np.eye(3)[m])], CLASSES)
    assert report.calibration is None and report.to_json()["calibration_error"] is None
    page = make_page(report, "a", [])
    assert "class maps, without probabilities" in page


def test_files_say_the_same(report, tmp_path):
    prepare_folder(tmp_path / "new", overwrite=False)
    write_report(tmp_path / "new", report, "title", [("model", "m")])
    scores = json.loads((tmp_path / "new/scores.json").read_text())
    assert scores["mean_iou"] == report.scores.mean_iou
    with (tmp_path / "new/confusion.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == ["ground", "red", "blue"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == report.scores.confusion.tolist()
    page = (tmp_path / "new/report.html").read_text(encoding="utf-8")
    assert f"{report.scores.mean_iou:.4f}" in page and "half wrong" in page


def test_a_report_is_written_over_only_when_asked(report, tmp_path):
    prepare_folder(tmp_path / "new", overwrite=False)
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has scores\.json already; add --overwrite, or name"):
        prepare_folder(tmp_path, overwrite=False)
    prepare_folder(tmp_path, overwrite=True)
    with pytest.raises(ValueError, match=r"is a file; --report takes a folder"):
        prepare_folder(tmp_path / "scores.json", overwrite=True)
    with pytest.raises(ValueError, match=r"scores\.json/new cannot be written to \(Not a"):
        prepare_folder(tmp_path / "scores.json/new", overwrite=True)


def test_names_are_escaped_and_the_page_stands_alone():
    evil = Classes(("<script>alert(1)</script>", 'b"><img src=x>', "c" * 300))
    image = judged("<b>name", (0, 1), (2, 1))
    page = make_page(examine([image], evil), "<i>title", [("<u>", "<u>")], [])
    for tag in ("<script", "<img src=x", "<b>name", "<i>", "<u>"):
        assert tag not in page
    assert all(a.startswith("data:image/jpeg;base64,") for a in re.findall(r'src="([^"]*)"', page))


def test_run_gets_a_page_with_curves_of_its_classes(trained, training_data, tmp_path):
    model, run, _ = trained
    shutil.copytree(run.path, tmp_path / "run")
    copy = kseg.Run(tmp_path / "run", run.record)
    report = report_on_run(copy, model, training_data)
    assert report.scores == kseg.evaluate(model, training_data)
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    lines = re.findall(r'<polyline points="([^"]*)"', page)
    assert [len(line.split()) for line in lines] == [3] * 4  # three epochs; classes and mean
    assert page.count("<circle") == 12
    assert "IoU over the epochs" in page and "part" not in page.split("What is taken for")[0]
    by_minutes = kseg.Run(copy.path, {**run.record, "pace": {"steps": 2}})
    report_on_run(by_minutes, model, training_data)
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "IoU over the parts" in page and "epoch" not in page.split("What is taken for")[0]


def test_report_that_is_late_is_on_fewer_images(trained, training_data, tmp_path, monkeypatch):
    model, run, _ = trained
    shutil.copytree(run.path, tmp_path / "run")
    copy = kseg.Run(tmp_path / "run", run.record)
    monkeypatch.setattr(REPORT, "_LEAST_REPORTED", 2)
    found = report_on_run(copy, model, training_data, until=0.0)
    assert found.scores.images == 2
    assert "val, 2 of 3 images" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_few_images_of_many_lie_evenly():
    order = spread(tuple(range(101)))
    assert sorted(order) == list(range(101)) and spread(()) == () and spread((7,)) == (7,)
    for count in (2, 4, 10, 30):
        first = np.sort(order[:count])
        assert np.diff([0, *first, 101]).max() <= 2.6 * 101 / count


def test_one_epoch_is_seen_as_points():
    history = [{"epoch": 1, "mean_iou": 0.5, "iou ground": 0.5, "iou red": None}]
    page = make_page(examine([judged("a", (0, 1), (0, 1))], CLASSES), "a", [], history)
    assert page.count("<circle") == 2  # the mean and ground


def test_flip_and_scales_look_more_often(training_data):
    widths = []

    def model(images):
        widths.append(images.shape[2])
        return np.zeros((*images.shape[:3], 3), "float32")

    list(judge(model, training_data, Look(flip=True, scales=(0.5, 1.0))))
    assert widths[:4] == [32, 32, 64, 64]
    scores = kseg.evaluate(model, training_data, flip=True)
    assert scores.confusion[:, 1:].sum() == 0
