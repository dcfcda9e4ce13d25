"""Which class is which, where the names of a folder and its label files say it together."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from kseg.data import load_data
from kseg.data.initializing import write_description


def _folder(root, values, masks="masks", images="images", count=4):
    rng = np.random.default_rng(0)
    for place in (root / images, root / masks):
        place.mkdir(parents=True)
    for number in range(count):
        image = rng.integers(0, 256, (24, 32, 3), "uint8")
        Image.fromarray(image).save(root / images / f"{number}.png")
        labels = np.repeat(np.uint8(values), 24 * 32 // len(values)).reshape(24, 32)
        Image.fromarray(labels).save(root / masks / f"{number}.png")
    return root


def _loaded(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load_data(root)
    return data, data.read(data.files("train")[0])[1]


@pytest.mark.parametrize("between", [[], ["car,127,127,127\n"]])
def test_gray_colours_of_names_are_values(tmp_path, between):
    values = [0, 127, 255] if between else [0, 255]
    root = _folder(tmp_path / "data", values)
    lines = ["name,r,g,b\n", "road,255,255,255\n", "background,0,0,0\n", *between]
    (root / "class_dict.csv").write_text("".join(lines))
    data, labels = _loaded(root)
    names = data.classes.names
    assert names[labels[0, 0]] == "background" and names[labels[-1, -1]] == "road"
    assert len(names) == len(values)


def test_background_is_0_of_0_and_255_wherever_its_name_stands(tmp_path):
    root = _folder(tmp_path / "data", [0, 255])
    (root / "classes.txt").write_text("crack\nbackground\n")
    data, labels = _loaded(root)
    assert data.classes.names[labels[0, 0]] == "background"
    assert data.classes.names[labels[-1, -1]] == "crack"


def test_ids_go_by_the_order_of_the_names(tmp_path):
    root = _folder(tmp_path / "data", [0, 1])
    (root / "classes.txt").write_text("crack\nbackground\n")
    data, labels = _loaded(root)
    assert data.classes.names[labels[0, 0]] == "crack"


def test_several_folders_of_pascal_voc_are_all_read(tmp_path):
    root = tmp_path / "data"
    for split in ("test", "train", "val"):
        _folder(root / split, [0, 1], "SegmentationClass", "JPEGImages")
    data, _ = _loaded(root)
    assert {split: len(pairs) for split, pairs in data.pairs.items()} == {
        "train": 4,
        "val": 4,
        "test": 4,
    }
    assert all(split in pair.image.parts for split in data.pairs for pair in data.pairs[split])


def _coco(root, name, images, **also):
    boxes = [
        {"image_id": i, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9]], **also}
        for i in images
    ]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 24, "width": 32} for i in images],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": boxes,
    }
    (root / name).write_text(json.dumps(content))


def test_people_of_coco_are_not_drawn_twice(tmp_path):
    root = _folder(tmp_path / "data", [0, 1], count=6)
    for file in (root / "masks").iterdir():
        file.unlink()
    _coco(root, "instances_train2017.json", range(6))
    _coco(root, "person_keypoints_train2017.json", range(6), keypoints=[1, 2, 2])
    data, _ = _loaded(root)
    drawings = [pair.drawing for pairs in data.pairs.values() for pair in pairs]
    assert [len(drawing.shapes) for drawing in drawings] == [1] * 6


def test_many_annotation_files_are_read_together(tmp_path):
    root = _folder(tmp_path / "data", [0, 1], count=22)
    for file in (root / "masks").iterdir():
        file.unlink()
    for number in range(22):
        _coco(root, f"{number}.json", [number])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, _, data = write_description(root)
    assert sum(len(pairs) for pairs in data.pairs.values()) == 22


@pytest.mark.parametrize("between", [[1], [254], [1, 253, 254]])
def test_0_and_255_and_few_others_are_refused_or_said(between, tmp_path):
    root = _folder(tmp_path / "data", [0, *[255] * 7])
    for file in (root / "masks").iterdir():
        labels = np.array(Image.open(file))
        labels[0, : len(between)] = between
        Image.fromarray(labels).save(file)
    with pytest.raises(ValueError, match=r"hold 0 and 255, and only \d+ pixels of other ids \("):
        _loaded(root)
    text = "train: {images: images, labels: masks}\nnames: [road, crack]\n"
    (root / "kseg.yaml").write_text(text)
    with pytest.warns(UserWarning, match=r"and 255 is ignored; store 0 and 255 alone"):
        load_data(root)
    (root / "kseg.yaml").write_text(f"{text}ignore: 255\n")
    load_data(root)


def test_much_that_is_ignored_is_no_class(tmp_path):
    _, labels = _loaded(_folder(tmp_path / "data", [0, 1, 255, 255]))
    assert set(np.unique(labels)) == {0, 1, 255}


def _notes(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, layout, data = write_description(root, overwrite=True)
    return data.classes.names, " ".join(layout.notes)


def test_names_that_begin_with_a_number_sign_are_said(tmp_path):
    root = _folder(tmp_path / "data", [0, 1, 2])
    (root / "classes.txt").write_text("background\n#1 car\ntree\nbus\n")
    names, notes = _notes(root)
    assert names == ("background", "tree", "bus")
    assert "Lines of classes.txt that begin with # are no names: #1 car." in notes


def test_files_of_names_may_have_words_before_and_others_are_said(tmp_path):
    root = _folder(tmp_path / "data", [0, 1, 2])
    (root / "train_classes.txt").write_text("0.png\n1.png\n2.png\n3.png\n")
    (root / "meta").mkdir()
    (root / "meta/street_classes.txt").write_text("background\ncar\ntree\n")
    assert _notes(root)[0] == ("background", "car", "tree")
    (root / "names.txt").write_text("a\nb\nc\n")
    names, notes = _notes(root)
    assert names == ("a", "b", "c")
    assert "differ: names.txt, which is taken, and meta/street_classes.txt." in notes
