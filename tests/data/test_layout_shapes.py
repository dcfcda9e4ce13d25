"""Shapes as people bring them: splits that the annotations name, many files, several formats."""

import json
import shutil
import warnings

import pytest
import scenes
import yaml
from scenes import NAMES, SCENES, SIZE, save, written

from kseg.data import load_data
from kseg.data.initializing import write_description

# pytest.warns hides where it comes from: pycocotools.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SPLITS = {split: sorted(s.stem for s in SCENES if s.split == split) for split in ("train", "val")}


def _described(folder):
    """Returns the splits by the stems of their images, and the notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file, layout, data = write_description(folder)
        again = load_data(file)
    stems = {s: sorted(pair.image.stem for pair in pairs) for s, pairs in data.pairs.items()}
    assert again.pairs == data.pairs
    return stems, " ".join(layout.notes)


def _cvat(folder, word):
    """Writes CVAT's file, with a word for each split in its images."""
    written("CVAT", folder)
    file = folder / "annotations.xml"
    text = file.read_text()
    for scene in SCENES:
        old = f'name="{scene.stem}.png"'
        text = text.replace(old, word(scene, old))
    file.write_text(text)


def _subset(scene, old):
    return f'{old} subset="{dict(train="Train", val="Validation")[scene.split]}"'


def _folder_of_name(scene, old):
    return old.replace("scene", f"{scene.split}/scene")


@pytest.mark.parametrize("word", [_subset, _folder_of_name])
def test_cvat_says_the_splits(word, tmp_path):
    _cvat(tmp_path, word)
    stems, notes = _described(tmp_path)
    assert stems == SPLITS
    assert "say their splits by subset, folder or name: 6 train, 2 val" in notes
    assert "subset: val" in (tmp_path / "kseg.yaml").read_text()


@pytest.mark.parametrize("place", ["images", "images/{split}"])
def test_names_of_coco_with_folders_say_the_splits(place, tmp_path):
    for scene in SCENES:
        save(tmp_path / place.format(split=scene.split) / f"{scene.stem}.png", scene.image)
    text = scenes._coco(SCENES, lambda scene: f"D:\\{scene.split}\\{scene.stem}.png")
    (tmp_path / "all.json").write_text(text)
    assert _described(tmp_path)[0] == SPLITS


def _labelme(folder, image, annotation):
    for scene in SCENES:
        file = folder / annotation.format(split=scene.split, stem=scene.stem)
        name = image.format(split=scene.split, stem=scene.stem)
        save(folder / name, scene.image)
        shapes = [{"label": NAMES[box[0]], "points": scene.corners(box)} for box in scene.boxes]
        content = {"shapes": shapes, "imagePath": name.split("/")[-1]}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}))


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ("{split}_{stem}.png", "{split}_{stem}.json"),
        ("images/{split}/{stem}.png", "shapes/{stem}.json"),
        ("images/{stem}.png", "shapes/{split}/{stem}.json"),
    ],
)
def test_splits_of_labelme_do_not_share_images(image, annotation, tmp_path):
    _labelme(tmp_path, image, annotation)
    stems, _ = _described(tmp_path)
    assert {s: [name[-7:] for name in named] for s, named in stems.items()} == SPLITS


def test_validation_files_of_labelme_within_the_folder_of_the_others(tmp_path):
    _labelme(tmp_path, "{stem}.png", "{stem}.json")
    (tmp_path / "val").mkdir()
    for stem in SPLITS["val"]:
        for file in tmp_path.glob(f"{stem}.*"):
            shutil.move(file, tmp_path / "val")
    assert _described(tmp_path)[0] == SPLITS


def test_names_of_which_some_begin_with_splits_are_said(tmp_path):
    _labelme(tmp_path, "{split}_{stem}.png", "{split}_{stem}.json")
    save(tmp_path / "other.png", SCENES[0].image)
    (tmp_path / "other.json").write_text('{"shapes": [], "imagePath": "other.png"}')
    stems, notes = _described(tmp_path)
    assert (len(stems["train"]), len(stems["val"])) == (7, 2)
    assert "begin with splits (6 with train, 2 with val), and 1 do not: no splits" in notes


def test_files_of_another_kind_after_many_of_labelme_are_counted(tmp_path):
    _labelme(tmp_path, "{stem}.png", "{stem}.json")
    for number in range(43):
        save(tmp_path / f"{number}.png", SCENES[0].image)
        (tmp_path / f"{number}.json").write_text(f'{{"shapes": [], "imagePath": "{number}.png"}}')
    (tmp_path / "z.json").write_text("{}")
    assert "1 JSON files are not labelme's and are not read" in _described(tmp_path)[1]


def test_a_word_within_a_name_of_labelme_is_no_split(tmp_path):
    _labelme(tmp_path, "at_{split}_{stem}.png", "at_{split}_{stem}.json")
    stems, _ = _described(tmp_path)
    assert (len(stems["train"]), len(stems["val"])) == (6, 2)
    assert not set(stems["train"]) & set(stems["val"])


def test_a_file_of_a_split_with_images_of_another_is_said(tmp_path):
    for scene in SCENES:
        save(tmp_path / scene.split / f"{scene.stem}.png", scene.image)
    text = scenes._coco(SCENES, lambda scene: f"{scene.split}/{scene.stem}.png")
    (tmp_path / "instances_train.json").write_text(text)
    assert "is taken for train, though its images lie in folders" in _described(tmp_path)[1]


def test_more_than_fifty_annotation_files_are_all_read(tmp_path):
    for number in range(53):
        scene = SCENES[number % len(SCENES)]
        save(tmp_path / f"images/{number}.png", scene.image)
        text = scenes._coco([scene], lambda scene, number=number: f"{number}.png")
        (tmp_path / f"{number:03}.json").write_text(text)
    stems, _ = _described(tmp_path)
    assert sum(map(len, stems.values())) == 53


def test_shapes_of_a_second_format_and_damaged_files_are_said(tmp_path):
    written("COCO", tmp_path)
    written("CVAT", tmp_path / "more")
    shutil.rmtree(tmp_path / "more/images")
    (tmp_path / "annotations/damaged.json").write_text('{"images": [')
    stems, notes = _described(tmp_path)
    assert stems == SPLITS
    assert "There are shapes of CVAT too, such as those of more/annotations.xml" in notes
    assert "It is not read: " in notes and "damaged.json is not JSON" in notes


@pytest.mark.parametrize("layout", ["split folders", "COCO", "labelme"])
def test_val_and_test_without_train_are_refused_and_one_split_alone_is_said(layout, tmp_path):
    written(layout, tmp_path)
    for file in sorted(tmp_path.rglob("*train*"), key=lambda file: -len(file.parts)):
        file.rename(file.with_name(file.name.replace("train", "test")))
    with pytest.raises(ValueError, match="images of test and val and none of train"):
        load_data(tmp_path)
    for file in sorted(tmp_path.rglob("*val*"), key=lambda file: -len(file.parts)):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    stems, notes = _described(tmp_path)
    assert (len(stems["train"]), len(stems["val"])) == (5, 1)
    assert "All images are of the split test by their folders or names" in notes


def test_a_wrong_subset_is_refused(tmp_path):
    _cvat(tmp_path, _subset)
    entry = {"images": "images", "annotations": "annotations.xml", "subset": "valid"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"train": entry, "names": list(NAMES)}))
    with pytest.raises(ValueError, match=r"subset must be one of train, val, test.*got 'valid'"):
        load_data(tmp_path / "own.yaml")
