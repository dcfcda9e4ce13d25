import hashlib
import json
import os
import resource
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from kseg.training import load
from kseg.training.checkpoints import read_checkpoint, write_checkpoint
from kseg.training.run import Run, assign, open_run
from kseg.training.writing import write_atomically


def checkpoint(path, step, mean_iou=None):
    """Writes a checkpoint whose arrays hold its step."""
    groups = {"model": [np.full((2, 3), step, "float32"), np.arange(step)], "average": [np.ones(1)]}
    facts = {"epoch": step, "mean_iou": mean_iou, "average": True}
    write_checkpoint(path, step, groups, facts)


def steps(path):
    return sorted(int(folder.name) for folder in (path / "checkpoints").iterdir())


def damage(path, step, name="weights.h5"):
    file = path / f"checkpoints/{step:08d}" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def test_checkpoint_comes_back_as_it_was(tmp_path):
    groups = {
        "model": [np.float32(np.random.default_rng(0).normal(size=(3, 4))) for _ in range(12)],
        "optimizer": [np.array(7, "int32"), np.zeros(0, "float32")],
    }
    write_checkpoint(tmp_path, 40, groups, {"epoch": 3, "mean_iou": 0.5, "average": True})
    step, manifest, arrays = read_checkpoint(tmp_path)
    assert step == 40 and manifest["step"] == 40 and manifest["epoch"] == 3
    assert set(arrays) == {"model", "optimizer"}
    for name, values in groups.items():
        for value, array in zip(values, arrays[name], strict=True):
            assert array.dtype == value.dtype
            np.testing.assert_array_equal(array, value)


def test_manifest_holds_the_sha256_of_the_weights(tmp_path):
    checkpoint(tmp_path, 1)
    folder = tmp_path / "checkpoints/00000001"
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256((folder / "weights.h5").read_bytes()).hexdigest()
    assert manifest["sha256"] == {"weights.h5": digest}


def test_last_two_and_best_stay(tmp_path):
    left = []
    for step, mean_iou in enumerate([0.1, 0.5, None, 0.3, 0.6, 0.2], start=1):
        checkpoint(tmp_path, step, mean_iou)
        left.append(steps(tmp_path))
    assert left == [[1], [1, 2], [2, 3], [2, 3, 4], [4, 5], [5, 6]]


def test_best_and_last_are_told_apart(tmp_path):
    for step, mean_iou in enumerate([0.1, 0.5, 0.3, None], start=1):
        checkpoint(tmp_path, step, mean_iou)
    assert read_checkpoint(tmp_path, "best")[0] == 2
    assert read_checkpoint(tmp_path, "last")[0] == 4


def test_damaged_weights_are_passed_over_with_a_warning(tmp_path):
    checkpoint(tmp_path, 1, 0.1)
    checkpoint(tmp_path, 2, 0.2)
    damage(tmp_path, 2)
    for which in ("last", "best"):
        with pytest.warns(
            UserWarning, match=r"00000002/weights\.h5 is damaged, so it is passed over"
        ):
            step, _, arrays = read_checkpoint(tmp_path, which)
        assert step == 1 and arrays["model"][0][0, 0] == 1


def test_missing_weights_are_passed_over_too(tmp_path):
    checkpoint(tmp_path, 1)
    checkpoint(tmp_path, 2)
    (tmp_path / "checkpoints/00000002/weights.h5").unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        assert read_checkpoint(tmp_path)[0] == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b"null"])
def test_damaged_manifest_is_passed_over(tmp_path, content):
    checkpoint(tmp_path, 1)
    checkpoint(tmp_path, 2)
    (tmp_path / "checkpoints/00000002/manifest.json").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_checkpoint(tmp_path)[0] == 1
        checkpoint(tmp_path, 3)
    assert read_checkpoint(tmp_path)[0] == 3


def test_no_whole_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="has no whole checkpoint: nothing was trained"):
        read_checkpoint(tmp_path)
    checkpoint(tmp_path, 1)
    damage(tmp_path, 1)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match="has no whole checkpoint"),
    ):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_stop_before_the_rename_leaves_the_old_checkpoint(tmp_path, monkeypatch, error):
    checkpoint(tmp_path, 1)

    def stop(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        with pytest.raises(type(error)):
            checkpoint(tmp_path, 2)
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["00000001"]
    assert read_checkpoint(tmp_path)[0] == 1
    checkpoint(tmp_path, 2)
    assert read_checkpoint(tmp_path)[0] == 2


def test_disk_full_while_writing_leaves_the_old_checkpoint(tmp_path):
    checkpoint(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes of a file
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["00000001"]
    assert read_checkpoint(tmp_path)[0] == 1


def test_what_a_kill_left_behind_is_no_checkpoint_and_no_obstacle(tmp_path):
    checkpoint(tmp_path, 1)
    rest = tmp_path / "checkpoints/.00000002.tmp"
    rest.mkdir()
    (rest / "weights.h5").write_bytes(b"half")
    assert read_checkpoint(tmp_path)[0] == 1
    checkpoint(tmp_path, 2)
    assert read_checkpoint(tmp_path)[0] == 2 and not rest.exists()


def test_checkpoint_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: events.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd)
    )
    monkeypatch.setattr(
        Path, "rename", lambda path, to: events.append("rename") or rename(path, to)
    )
    checkpoint(tmp_path, 1)
    before = {Path(event).name for event in events[: events.index("rename")]}
    after = [Path(event).name for event in events[events.index("rename") + 1 :]]
    assert before == {"weights.h5", "manifest.json", ".00000001.tmp"}
    assert after == ["checkpoints"]


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_atomically(path, "old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_atomic_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_json_is_returned_as_it_would_be_read(tmp_path):
    run = Run.write(tmp_path, {"size": (3, 4)})
    written = json.loads((tmp_path / "run.json").read_text())
    assert len(written.pop("checksum")) == 64
    assert run.record == {"size": [3, 4]} == written


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b"7"])
def test_folder_without_a_record_is_no_run(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a kseg run folder: it has no readable run\.json"):
        open_run(tmp_path)
    with pytest.raises(ValueError, match="is not a kseg run folder"):
        load(tmp_path)


def test_run_of_a_newer_kseg_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match=r"has run format 2; this kseg reads format 1\. Update"):
        open_run(tmp_path)


def test_run_knows_its_classes_and_size(tmp_path):
    record = {
        "format": 1,
        "classes": {"names": ["a", "b"], "colors": [[1, 2, 3], [4, 5, 6]]},
        "size": [360, 480],
        "spec": None,
    }
    Run.write(tmp_path, record)
    run = open_run(str(tmp_path))
    assert run.classes.names == ("a", "b") and run.classes.colors == ((1, 2, 3), (4, 5, 6))
    assert run.size == (360, 480)
    Run.write(tmp_path, {**record, "size": None})
    assert open_run(tmp_path).size is None


def test_assign_refuses_the_weights_of_another_network(tmp_path):
    variables = [keras.Variable(np.zeros((2, 3))), keras.Variable(np.zeros(3))]
    assign(variables, [np.ones((2, 3)), np.ones(3)], tmp_path)
    assert all(keras.ops.convert_to_numpy(v.value).all() for v in variables)
    match = r"holds the weights of another network \({} variables; this one has 2"
    with pytest.raises(ValueError, match=match.format(1)):
        assign(variables, [np.ones((2, 3))], tmp_path)
    with pytest.raises(ValueError, match=match.format(2)):
        assign(variables, [np.ones((3, 2)), np.ones(3)], tmp_path)
