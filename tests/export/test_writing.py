"""Delivering a file with all that belongs to it: kills, full disks, two exports at once."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from export.proof import workshop as workshop_module
from export.proof import writing
from export.proof.workshop import workshop
from export.proof.writing import write
from kseg.classes import Classes
from kseg.training.writing import DiskFullError

CLASSES = Classes(("no", "yes"))


@pytest.fixture(autouse=True)
def plain_page(monkeypatch):
    monkeypatch.setattr(writing, "make_page", lambda content, *_: f"page of {content['name']}")


def deliver(path, content, *, overwrite=False, classes=CLASSES):
    """Delivers bytes in place of a converted file."""
    told = {"name": str(content), "file": {"sha256": hashlib.sha256(content).hexdigest()}}
    with workshop(path, 1000) as folder:
        made = folder / path.name
        made.write_bytes(content)
        comparison = SimpleNamespace(
            scores=None, scores_float=None, objects=None, worst=(), agreement=1.0
        )
        report = SimpleNamespace(
            candidate=SimpleNamespace(path=made, classes=classes),
            judgement=SimpleNamespace(comparison=comparison),
            options=SimpleNamespace(overwrite=overwrite),
            to_json=lambda: told,
        )
        return write(report, path)


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def fits(path):
    """Whether the report beside a file is of this file."""
    told = json.loads(path.with_suffix(".json").read_text())
    return told["file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_set_is_delivered_whole_and_nothing_else_is_left(tmp_path):
    deliver(tmp_path / "x.tflite", b"one")
    assert list(files(tmp_path)) == ["x.html", "x.json", "x.labels.txt", "x.tflite"]
    deliver(tmp_path / "x.tflite", b"two", overwrite=True, classes=None)
    assert list(files(tmp_path)) == ["x.html", "x.json", "x.tflite"]  # no labels of the first
    assert fits(tmp_path / "x.tflite")


@pytest.mark.parametrize("step", range(4))
def test_a_fault_at_any_step_of_an_overwriting_delivery_is_told_by_the_report(
    tmp_path, monkeypatch, step
):
    path = tmp_path / "x.tflite"
    deliver(path, b"one")
    before, moved, real = files(tmp_path), [], os.replace

    def replace(source, target):
        if str(target).startswith(str(tmp_path / "x")):
            if len(moved) == step:
                raise PermissionError(errno.EACCES, "injected")
            moved.append(target)
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr(os, "replace", replace)
        deliver(path, b"two", overwrite=True)
    assert files(tmp_path) == before if step == 0 else not fits(path)
    assert path.read_bytes() == b"one"
    assert not list(tmp_path.glob(".export-*"))
    deliver(path, b"two", overwrite=True)
    assert fits(path) and path.read_bytes() == b"two"


def test_of_two_exports_to_one_name_one_succeeds(tmp_path):
    path = tmp_path / "x.tflite"

    def attempt(number):
        try:
            deliver(path, str(number).encode())
        except ValueError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(attempt, range(8)))
    assert errors.count(None) == 1
    assert all("exists; export elsewhere" in error for error in errors if error)
    assert path.read_bytes() == str(errors.index(None)).encode() and fits(path)


CHILD = """
import os, sys, time
from pathlib import Path
from export.proof.workshop import workshop
with workshop(Path(sys.argv[1]), 1000) as folder:
    (folder / "x.tflite").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_leftovers_of_killed_exports_go_and_those_of_living_ones_stay(tmp_path):
    path = tmp_path / "x.tflite"
    other = tmp_path / ".export-notes"  # of nobody's
    other.mkdir()
    run = [sys.executable, "-c", CHILD, str(path)]
    children = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        folders = [child.stdout.readline().strip() for child in children]
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        assert os.path.isdir(folders[0])
        deliver(path, b"one")
        assert not os.path.exists(folders[0])
        assert os.path.isfile(f"{folders[1]}/x.tflite") and other.is_dir()
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_told_with_the_bytes_needed_and_what_was_there_stays(
    tmp_path, monkeypatch, number
):
    path = tmp_path / "x.tflite"
    deliver(path, b"one")
    before = files(tmp_path)

    def full(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workshop_module.os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"x\.json could not be written .* needs \d+ bytes"):
        deliver(path, b"two", overwrite=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("saved_model/variables; No space left on device"),  # as TensorFlow says it
    ],
)
def test_a_full_temporary_folder_is_told_with_the_bytes_needed(tmp_path, error):
    with (
        pytest.raises(DiskFullError, match="it needs 123,456 bytes") as caught,
        workshop(tmp_path / "x.tflite", 123_456),
    ):
        raise error
    assert caught.value.exit_code == 5
    assert not list(tmp_path.iterdir())


def test_other_errors_pass_with_their_cause(tmp_path):
    with (
        pytest.raises(RuntimeError, match=r"^bug$") as caught,
        workshop(tmp_path / "x.tflite", 1),
    ):
        raise RuntimeError("bug") from KeyError("cause")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(PermissionError, match="no"), workshop(tmp_path / "x.tflite", 1):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.json", '{"polygons": []}'), ("x.labels.txt", "mine"), ("x_vela.json", "{}")],
)
def test_what_no_export_of_the_file_made_stays(tmp_path, name, content):
    deliver(tmp_path / "x.tflite", b"first")
    if name == "x_vela.json":  # an export of its own
        (tmp_path / "x_vela.tflite").write_bytes(b"another")
    else:
        (tmp_path / "x.json").unlink()
    (tmp_path / name).write_text(content)
    before = files(tmp_path)
    with pytest.raises(ValueError, match="is in the way, and no report says that an export of x"):
        deliver(tmp_path / "x.tflite", b"second", overwrite=True)
    assert files(tmp_path) == before


def test_a_folder_of_another_name_is_no_leftover(tmp_path):
    mine = tmp_path / ".export-2026"
    mine.mkdir()
    (mine / "lock").touch()
    deliver(tmp_path / "x.tflite", b"first")
    assert mine.exists()
