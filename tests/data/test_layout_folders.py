"""Folders with words of splits or labels in their names, and a data.yaml without its places."""

import warnings

import pytest
import scenes
import yaml
from scenes import SCENES, save, written

from kseg.data import load_data
from kseg.data.checking import check_labels
from kseg.data.initializing import write_description

SPLITS = {split: sorted(s.stem for s in SCENES if s.split == split) for split in ("train", "val")}


def _described(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, layout, data = write_description(folder)
    stems = {s: sorted(pair.image.stem for pair in pairs) for s, pairs in data.pairs.items()}
    return stems, " ".join(layout.notes), data


@pytest.mark.parametrize("outer", ["Kvasir-SEG", "seg_data", "street/labels"])
def test_images_within_a_folder_with_a_word_of_labels_are_images(outer, tmp_path):
    for scene in SCENES:
        save(tmp_path / outer / "images" / f"{scene.stem}.png", scene.image)
        save(tmp_path / outer / "masks" / f"{scene.stem}.png", scene.labels)
    _, _, data = _described(tmp_path)
    pairs = [pair for split in data.pairs.values() for pair in split]
    assert {(p.image.parent.name, p.label_file.parent.name) for p in pairs} == {("images", "masks")}
    assert len(pairs) == len(SCENES)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("{}.jpg", "{}.png"),
        ("{}/image.png", "{}/mask.png"),
        ("{}_json/img.jpg", "{}_json/label.png"),
    ],
)
def test_images_beside_label_files_that_differ_in_their_ending_or_name(image, label, tmp_path):
    for scene in SCENES:
        save(tmp_path / image.format(scene.stem), scene.image)
        save(tmp_path / label.format(scene.stem), scene.labels)
    _, _, data = _described(tmp_path)
    pairs = [pair for split in data.pairs.values() for pair in split]
    files = {(str(p.image), str(p.label_file)) for p in pairs}
    expected = [tuple(tmp_path / name.format(s.stem) for name in (image, label)) for s in SCENES]
    assert files == {(str(a), str(b)) for a, b in expected}


def test_the_nearest_folder_names_the_split(tmp_path):
    written("split folders", tmp_path / "test_project")
    assert _described(tmp_path)[0] == SPLITS


def test_the_name_of_a_file_of_shapes_counts_before_that_of_its_folder(tmp_path):
    place = tmp_path / "train_data"
    place.mkdir()
    for split in ("train", "val"):
        chosen = [scene for scene in SCENES if scene.split == split]
        for scene in chosen:
            save(place / "images" / f"{scene.stem}.png", scene.image)
        text = scenes._coco(chosen, lambda scene: f"{scene.stem}.png")
        (place / f"instances_{split}.json").write_text(text)
    assert _described(tmp_path)[0] == SPLITS


def _yolo(folder, **places):
    written("YOLO", folder)
    content = {"train": "../train/images", "val": "../valid/images", "names": ["car", "tree"]}
    (folder / "data.yaml").write_text(yaml.safe_dump(content | places))


@pytest.mark.parametrize("key", ["val", "test"])
def test_a_place_of_data_yaml_that_is_not_there_is_said(key, tmp_path):
    _yolo(tmp_path, **{key: "../elsewhere"})
    notes = _described(tmp_path)[1]
    assert f"data.yaml names ../elsewhere for {key}, which is not there" in notes


def test_one_of_several_places_of_data_yaml_that_is_not_there_is_said(tmp_path):
    _yolo(tmp_path, train=["train/images", "more/images"])
    stems, notes, _ = _described(tmp_path)
    assert stems == SPLITS and "data.yaml names more/images for train, which is not" in notes


def test_a_place_that_is_taken_for_another_is_said(tmp_path):
    _yolo(tmp_path, train="/content/street/train/images")
    stems, notes, _ = _described(tmp_path)
    assert stems == SPLITS and "street/train/images, which is taken for train/images" in notes


def test_training_images_of_data_yaml_that_are_not_there_are_named(tmp_path):
    _yolo(tmp_path, train="elsewhere")
    with pytest.raises(ValueError, match=r"docs/your_data\.md\)\. data\.yaml names elsewhere for"):
        load_data(tmp_path)


def test_pngs_in_the_labels_folder_of_yolo_are_label_files(tmp_path):
    _yolo(tmp_path)
    for scene in SCENES:
        place = tmp_path / {"train": "train", "val": "valid"}[scene.split] / "labels"
        (place / f"{scene.stem}.txt").unlink()
        save(place / f"{scene.stem}.png", scene.labels)
    stems, notes, data = _described(tmp_path)
    assert stems == SPLITS and "data.yaml names ../train/images for train, which" in notes
    assert all(pair.drawing is None for pair in data.files("train"))


def test_an_image_beneath_polygons_that_cannot_be_read_says_what_it_is(tmp_path):
    _yolo(tmp_path)
    (tmp_path / "train/images/scene00.png").write_bytes(b"%PDF-1.7")
    data = _described(tmp_path)[2]
    with pytest.raises(ValueError, match=r"scene00\.png: it is a PDF document"):
        check_labels(data, ["train"])
