"""`kseg data` in processes of its own, as a user runs it."""

import json

import numpy as np
import pytest
from PIL import Image

from kseg.cli import main
from kseg.data import load_data

COLORS = np.array([(0, 0, 0), (220, 40, 30), (30, 160, 60)], "uint8")


@pytest.fixture
def folder(tmp_path):
    """Eight images with masks beside them, in colours."""
    rng = np.random.default_rng(0)
    made = tmp_path / "street"
    made.mkdir()
    for index in range(8):
        labels = np.zeros((24, 32), "uint8")
        top, left = rng.integers(0, 12, 2)
        labels[top : top + 9, left : left + 7] = 1
        labels[-top - 9 :, -6:] = 2
        noise = rng.integers(-20, 21, (24, 32, 3))
        image = np.clip(60 + COLORS[labels] + noise, 0, 255).astype("uint8")
        Image.fromarray(image).save(made / f"{index}.jpg", quality=95)
        Image.fromarray(COLORS[labels]).save(made / f"{index}_mask.png")
    return made


def test_init_check_and_convert_one_after_the_other(folder, tmp_path, capsys):
    assert main(["data", "init", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "8 images with label files" in out and f"wrote {folder}/kseg.yaml" in out
    text = (folder / "kseg.yaml").read_text()
    assert "# 3 colours in the label files" in text and "label_suffix: _mask" in text
    page = tmp_path / "report.html"
    assert main(["data", "check", str(folder), "--report", str(page)]) == 0
    out = capsys.readouterr().out
    assert "nothing to complain about" in out and "--size 32 32" in out
    assert "Images under their labels" in page.read_text()
    assert main(["data", "convert", str(folder), str(tmp_path / "plain")]) == 0
    one, other = load_data(folder), load_data(tmp_path / "plain")
    assert one.classes == other.classes
    for split in ("train", "val"):
        expected = {pair.image.stem: one.read(pair) for pair in one.files(split)}
        for pair in other.files(split):
            for array, wanted in zip(other.read(pair), expected.pop(pair.image.stem), strict=True):
                np.testing.assert_array_equal(array, wanted)
        assert not expected


def test_init_keeps_what_is_there(folder, capsys):
    (folder / "kseg.yaml").write_text("mine")
    assert main(["data", "init", str(folder)]) == 2
    assert "kseg.yaml is there already; pass --overwrite" in capsys.readouterr().err
    assert (folder / "kseg.yaml").read_text() == "mine"
    assert main(["data", "init", str(folder), "--overwrite"]) == 0


def test_init_may_write_elsewhere(folder, tmp_path):
    assert main(["data", "init", str(folder), "--out", str(tmp_path / "other.yaml")]) == 0
    assert not (folder / "kseg.yaml").exists()
    assert len(load_data(tmp_path / "other.yaml").files("train")) == 6


def test_init_leaves_nothing_where_it_cannot_be_loaded(folder, capsys):
    for file in folder.glob("*_mask.png"):
        Image.new("L", (32, 24)).save(file)
    assert main(["data", "init", str(folder)]) == 2
    assert "names must have 2 to 255 classes" in capsys.readouterr().err
    assert not (folder / "kseg.yaml").exists()


@pytest.mark.filterwarnings("ignore:.*is read as it looks")
def test_check_ends_with_2_and_lists_what_is_wrong(folder, capsys):
    (folder / "3.jpg").write_bytes(b"")
    assert main(["data", "check", str(folder), "--json"]) == 2
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    (problem,) = found["problems"]
    assert problem["file"].endswith("3.jpg") and problem["stops"]
    assert "the file is empty" in problem["reason"]
    assert "1 thing to look at" in captured.err


@pytest.mark.filterwarnings("ignore:.*is read as it looks")
def test_convert_writes_whole_or_not_at_all(folder, tmp_path, capsys):
    (folder / "3.jpg").write_bytes(b"")
    assert main(["data", "convert", str(folder), str(tmp_path / "plain")]) == 2
    assert "3.jpg" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["street"]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/mine").touch()
    assert main(["data", "convert", str(folder), str(tmp_path / "plain")]) == 2
    assert "plain is there already; name a new folder" in capsys.readouterr().err


def test_folder_without_labels_is_refused_in_a_sentence(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["data", "init", str(tmp_path)]) == 2
    assert "it is a folder of 1 images without labels that are known" in capsys.readouterr().err
