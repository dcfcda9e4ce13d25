"""Splits of several sources: lists of entries, of files of shapes, and of YOLO's folders."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from scenes import SCENES, written

from kseg.data import load_data
from kseg.data.review import review

# pytest.warns hides where it comes from: pycocotools.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning", "ignore:.*read as it looks:UserWarning"
)


def _assert_same(data, train=6, val=2):
    assert (len(data.files("train")), len(data.files("val"))) == (train, val)
    by_stem = {scene.stem: scene for scene in SCENES}
    for split in ("train", "val"):
        for pair in data.files(split):
            image, labels = data.read(pair)
            np.testing.assert_array_equal(image, by_stem[pair.image.stem].image)
            np.testing.assert_array_equal(labels, by_stem[pair.image.stem].labels)


def _split_train(folder):
    """Moves half of YOLO's training images into a second folder."""
    for kind, ending in (("images", "png"), ("labels", "txt")):
        (folder / "more" / kind).mkdir(parents=True)
        for number in (3, 4, 5):
            name = f"scene0{number}.{ending}"
            shutil.move(folder / "train" / kind / name, folder / "more" / kind / name)


def test_yolo_with_a_list_of_folders(tmp_path):
    written("YOLO", tmp_path)
    _split_train(tmp_path)
    content = yaml.safe_load((tmp_path / "data.yaml").read_text())
    content["train"] = ["train/images", "more/images"]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    _assert_same(load_data(tmp_path))


@pytest.mark.parametrize("start", ["./", "", "/content/datasets/street/"])
@pytest.mark.parametrize("several", [False, True])
def test_yolo_with_lists_of_paths(start, several, tmp_path):
    """As of darknet and Ultralytics; one image of train is not in the list."""
    written("YOLO", tmp_path)
    for split, place in (("train", "train"), ("val", "valid")):
        shutil.move(tmp_path / place / "images", tmp_path / "images" / split)
        shutil.move(tmp_path / place / "labels", tmp_path / "labels" / split)
        scenes = [s for s in SCENES if s.split == split and s.stem != "scene02"]
        lines = [f"{start}images/{split}/{s.stem}.png\n" for s in scenes]
        (tmp_path / f"{split}.txt").write_text("".join(lines[:3]) if several else "".join(lines))
        (tmp_path / f"{split}2.txt").write_text("".join(lines[3:]))
    content = {"path": "../datasets/street", "train": "train.txt", "val": "val.txt"}
    if several:
        content["train"] = ["train.txt", "train2.txt"]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content | {"names": ["car", "tree"]}))
    _assert_same(load_data(tmp_path), train=5)


def test_several_files_of_coco_for_one_split(tmp_path):
    """The second file has the trees of all images; both files name all of them."""
    written("COCO", tmp_path)
    file = tmp_path / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    tree = next(c["id"] for c in content["categories"] if c["name"] == "tree")
    trees = [a for a in content["annotations"] if a["category_id"] == tree]
    cars = [a for a in content["annotations"] if a["category_id"] != tree]
    assert trees and cars
    file.write_text(json.dumps({**content, "annotations": cars}))
    other = file.with_name("trees_train2017.json")
    other.write_text(json.dumps({**content, "annotations": trees}))
    data = load_data(tmp_path)
    _assert_same(data)
    assert data.classes.names == ("background", "car", "tree")


def test_entry_may_be_a_list_of_entries(tmp_path):
    written("split folders", tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / "more" / kind).mkdir(parents=True)
        shutil.move(tmp_path / f"train/{kind}/scene03.png", tmp_path / f"more/{kind}/scene03.png")
    (tmp_path / "data.yaml").write_text(
        "train: [{images: train/images, labels: train/masks}, more]\n"
        "val: {images: val/images, labels: val/masks}\nnames: [background, car, tree]\n"
    )
    (tmp_path / "more/images/scene04.png").write_bytes(
        (tmp_path / "train/images/scene04.png").read_bytes()
    )
    shutil.move(tmp_path / "train/masks/scene04.png", tmp_path / "more/masks/scene04.png")
    (tmp_path / "train/images/scene04.png").unlink()
    _assert_same(load_data(tmp_path / "data.yaml"))


def test_image_with_two_label_files_is_refused(tmp_path):
    written("split folders", tmp_path)
    shutil.copytree(tmp_path / "train/masks", tmp_path / "other")
    (tmp_path / "data.yaml").write_text(
        "train: [{images: train/images, labels: train/masks}, "
        "{images: train/images, labels: other}]\nval: 0.2\nnames: [a, b, c]\n"
    )
    with pytest.raises(ValueError, match=r"scene00\.png is labelled twice, by .*name one of them"):
        load_data(tmp_path / "data.yaml")


@pytest.mark.parametrize("named", [False, True])
def test_voc_folders_with_few_ids_have_no_21_classes(named, tmp_path):
    """Folders of Pascal VOC's names; the ids are the owner's."""
    written("Pascal VOC", tmp_path)
    if named:
        lines = ["background:0,0,0::", "car:220,40,30::", "tree:30,160,60::"]
        (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    data = load_data(tmp_path)
    wanted = ("background", "car", "tree") if named else ("class 0", "class 1", "class 2")
    assert data.classes.names == wanted
    _assert_same(data)


def test_voc_files_of_the_challenge_have_its_classes(tmp_path):
    written("Pascal VOC", tmp_path)
    (place,) = tmp_path.rglob("JPEGImages")
    for file in [f for f in place.parent.rglob("scene*") if f.is_file()]:
        file.rename(file.with_name(file.name.replace("scene", "2007_0000")))
    for file in (place.parent / "ImageSets").rglob("*.txt"):
        file.write_text(file.read_text().replace("scene", "2007_0000"))
    names = load_data(tmp_path).classes.names
    assert len(names) == 21 and names[:2] == ("background", "aeroplane")


def test_a_yaml_file_of_kseg_with_a_range_of_ids_is_not_taken_for_one_of_yolo(tmp_path):
    for split in ("train", "val"):
        for kind, made in (("images", SCENES[0].image), ("ids", SCENES[0].labels)):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.fromarray(made).save(tmp_path / split / kind / "a.png")
    content = {s: {"images": f"{s}/images", "labels": f"{s}/ids"} for s in ("train", "val")}
    content["names"] = {0: "background", "1-65535": "thing"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**content, "instances": "thing"}))
    assert review(tmp_path / "own.yaml").data.classes.names == ("background", "thing")
