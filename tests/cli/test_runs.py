import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import kseg
from kseg.cli import main
from kseg.cli.runs import _row
from kseg.training.checkpoints import write_checkpoint
from kseg.training.run import Run, open_run
from kseg.training.summary import summarize, summarize_runs


@pytest.fixture
def runs(run, tmp_path):
    """Four runs: one as it was trained, one damaged, one stopped, one that never began."""
    shutil.copytree(run, tmp_path / "runs/deep/good")
    for name in ("damaged", "stopped", "new"):
        shutil.copytree(run, tmp_path / "runs" / name)
    for weights in (tmp_path / "runs/damaged").glob("checkpoints/*/weights.h5"):
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    shutil.rmtree(tmp_path / "runs/new/checkpoints")
    last, *_ = sorted((tmp_path / "runs/stopped/checkpoints").iterdir(), reverse=True)
    shutil.rmtree(last)
    return tmp_path / "runs"


def test_runs_are_compared_and_damage_is_marked(runs, run, capsys):
    assert main(["runs", str(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    by_name = {entry["path"].rsplit("/", 1)[1]: entry for entry in found}
    good = by_name["good"]
    assert found[0] == good  # the only one that was scored
    assert good["state"] == "done" and good["epochs"] == good["planned"] == 20
    assert good["best"] == good["last"] > 0.3 and good["problem"] is None
    assert good["network"] == "fcn8s separable"
    variables = [np.asarray(variable) for variable in kseg.load(run).variables]
    assert good["params"] == sum(value.size for value in variables if value.dtype.kind == "f")
    assert by_name["stopped"]["state"] == "unfinished" and by_name["stopped"]["epochs"] < 20
    assert by_name["stopped"]["best"] is None
    assert by_name["new"]["state"] == "unfinished" and by_name["new"]["epochs"] == 0
    assert by_name["damaged"]["state"] == "damaged"
    assert "no whole checkpoint" in by_name["damaged"]["problem"]


def test_table_names_each_run_and_tells_what_is_wrong(runs, capsys):
    assert main(["runs", str(runs)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[2].startswith("deep/good") and lines[2].endswith("done")
    assert any(line.startswith("new") and " 0/20 " in line for line in lines)
    assert "damaged: " in err and "weights.h5 is damaged" in err
    assert main(["runs", str(runs / "deep/good")]) == 0
    assert "fcn8s separable" in capsys.readouterr().out


def test_scores_that_do_not_compare_are_marked_and_seen_images_come_last(run, tmp_path, capsys):
    record = open_run(run).record
    part = {"recipe": {**record["recipe"], "validate_images": 2}}
    for name, change in {"part": part, "a_seen": {"saw_val": True}, "whole": {}}.items():
        shutil.copytree(run, tmp_path / name)
        Run.write(tmp_path / name, {**record, **change})
    assert main(["runs", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines)[-1] == "a_seen" and "(val seen)" in lines["a_seen"]
    assert "(of 2)" in lines["part"] and "(" not in lines["whole"]
    assert {row.metric for row in summarize_runs(tmp_path)} == {"mIoU"}
    objects = replace(summarize_runs(tmp_path)[0], metric="PQ", judges=None, saw_val=False)
    assert _row(objects, tmp_path)[6].endswith(" (PQ)")


def test_damaged_record_is_a_row_and_not_the_end(runs, capsys):
    file = runs / "stopped/run.json"
    file.write_text(file.read_text().replace("fcn8s", "fcn16s"))
    assert main(["runs", str(runs)]) == 0
    assert "its checksum is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "pace", "planned", "state"),
    [
        ({"epochs": 50}, None, 50, "unfinished"),
        ({"epochs": 50, "patience": 1}, None, 50, "done"),
        ({"epochs": 40, "minutes": 1.0}, {"parts": 2}, 2, "done"),
        ({"epochs": 1, "minutes": 1.0}, {"parts": 3}, 3, "unfinished"),
    ],
)
def test_run_that_patience_or_time_ended_is_done(tmp_path, recipe, pace, planned, state):
    classes = {"names": ["ground", "red"], "colors": [[0, 0, 0], [9, 0, 0]]}
    record = {"format": 1, "spec": None, "classes": classes, "size": None, "recipe": recipe}
    Run.write(tmp_path, record)
    row = {"loss": 1.0, "mean_iou": 0.5, "pixel_accuracy": 0.5, "seconds": 1.0}
    history = [{"epoch": epoch, "step": epoch, **row} for epoch in (1, 2)]
    facts = {"mean_iou": 0.5, "history": history, "pace": pace}
    write_checkpoint(tmp_path, 2, {"average": [np.zeros(3, "float32")]}, facts)
    found = summarize(tmp_path)
    assert (found.epochs, found.planned, found.state, found.problem) == (2, planned, state, None)


def test_folder_without_runs_is_refused(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 2
    assert "has no run folders, which `kseg train` writes with --out" in capsys.readouterr().err
    assert main(["runs", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_train_leaves_a_report_and_evaluate_writes_one(run, data_yaml, tmp_path, capsys):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<polyline" in page and "Worst images" in page
    arguments = ["evaluate", str(run), str(data_yaml), "--report", str(tmp_path / "page")]
    assert main([*arguments, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "page/scores.json").read_text())
    assert {key: written[key] for key in scores} == scores
    assert main(arguments) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--flip", "--scales", "0.75", "1"]) == 0
    page = (tmp_path / "page/report.html").read_text(encoding="utf-8")
    assert "scales 0.75 1, each with its mirror image" in page
