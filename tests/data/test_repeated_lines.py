"""Images and label files that come twice in a list."""

import warnings

import pytest
from scenes import SCENES, written

from kseg.data import load_data
from kseg.data.converting import convert
from kseg.data.review import review


def _described(folder, *lines):
    """Writes the scenes as lists of pairs, with more lines of train."""
    written("list of pairs", folder)
    listed = folder / "train.txt"
    listed.write_text(listed.read_text() + "".join(f"{line}\n" for line in lines))
    (folder / "own.yaml").write_text("train: train.txt\nval: val.txt\nnames: [a, b, c]\n")
    return load_data(folder / "own.yaml")


def test_repeated_lines_are_written_once_and_that_is_said(tmp_path):
    data = _described(tmp_path / "a", *["a/scene00.png b/scene00.png"] * 2)
    with pytest.warns(UserWarning, match=r"in train, 2 of 8 images are those of earlier lines"):
        made = convert(data, tmp_path / "out")
    stems = [pair.image.stem for pair in load_data(made).files("train")]
    assert stems == [scene.stem for scene in SCENES[:6]]
    data = _described(tmp_path / "b", "a/scene00.png b/scene01.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_data(convert(data, tmp_path / "more")).files("train")) == 7


def test_one_label_file_of_two_images_is_named_by_the_images(tmp_path):
    _described(tmp_path, "a/scene01.png b/scene00.png")
    (problem,) = (p for p in review(tmp_path / "own.yaml").problems if "just those" in p.reason)
    assert problem.file == str(tmp_path / "a/scene01.png")
    assert f"its labels are just those of {tmp_path / 'a/scene00.png'}, and" in problem.reason
