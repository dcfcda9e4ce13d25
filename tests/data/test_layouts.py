"""Every layout is read to the same arrays as the plain one."""

import itertools

import numpy as np
import pytest
import scenes
import yaml
from PIL import Image
from scenes import LAYOUTS, SCENES, save, written

from kseg.data import check_data, load_data
from kseg.data.initializing import write_description

# pytest.warns hides where it comes from: pycocotools.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SPLIT_BY_THE_LAYOUT = set(LAYOUTS) - {
    *(name for name in LAYOUTS if name.startswith("one folder")),
    *("prefixes", "colours", "CamVid", "CVAT masks", "CVAT", "Label Studio"),
}
# Where the layout has other classes: those that the three of the scenes are there.
NAMES = {
    "Cityscapes": ("road", "car", "vegetation"),
    "CamVid of SegNet": ("sky", "building", "pole"),
}


def assert_same_arrays(data, names):
    by_stem = {}
    for split, pairs in data.pairs.items():
        for pair in pairs:
            by_stem[pair.image.stem] = (split, *data.read(pair))
    assert len(by_stem) == len(SCENES)
    for scene in SCENES:
        (stem,) = (stem for stem in by_stem if scene.stem in stem)
        split, image, labels = by_stem[stem]
        np.testing.assert_array_equal(image, scene.image)
        ids = np.array([data.classes.names.index(name) for name in names])
        np.testing.assert_array_equal(labels, ids[scene.labels])
        yield scene, split


def names_of(layout, data):
    if layout in NAMES:
        return NAMES[layout]
    known = "car" in data.classes.names
    return scenes.NAMES if known else tuple(f"class {i}" for i in range(3))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read_to_the_same_arrays_as_it_looks(layout, tmp_path):
    folder = written(layout, tmp_path / "data")
    with pytest.warns(UserWarning, match=r"has no kseg\.yaml, so it is read as it looks"):
        data = load_data(folder)
    for scene, split in assert_same_arrays(data, names_of(layout, data)):
        if layout in SPLIT_BY_THE_LAYOUT:
            assert split == scene.split
    assert {len(data.pairs["train"]), len(data.pairs["val"])} == {6, 2}


def test_fingerprint_of_shapes_changes_with_a_shape(tmp_path):
    folder = written("CVAT", tmp_path / "data")
    with pytest.warns(UserWarning, match="read as it looks"):
        first, again = (check_data(load_data(folder)).fingerprint for _ in range(2))
    assert first == again
    file = folder / "annotations.xml"
    text = file.read_text()
    file.write_text(text.replace('label="car"', 'label="tree"', 1))
    with pytest.warns(UserWarning, match="read as it looks"):
        assert check_data(load_data(folder)).fingerprint != first


def test_ids_that_number_objects_are_one_class(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(6):
        cells = np.zeros((32, 32), "uint16")
        for number in range(1, index + 4):
            cells[4 * number - 3 : 4 * number - 1, 2:20] = number
        scenes.save(tmp_path / f"images/{index}.png", rng.integers(0, 255, (32, 32, 3), "uint8"))
        scenes.save(tmp_path / f"masks/{index}.png", cells)
    with pytest.warns(UserWarning, match="number the objects of each image, up to 8"):
        data = load_data(tmp_path)
    assert data.classes.names == ("background", "object")
    pair = next(p for p in data.pairs["train"] + data.pairs["val"] if p.image.stem == "5")
    np.testing.assert_array_equal(data.read(pair)[1], cells > 0)


def test_two_kinds_of_label_files_are_refused_rather_than_one_taken(tmp_path):
    written("one folder, _mask", tmp_path)
    scenes.one_folder(tmp_path, "_gt")
    with pytest.raises(ValueError, match=r"_gt\.png and scene00_mask\.png could both be"):
        load_data(tmp_path)


def test_images_without_a_label_file_are_counted(tmp_path):
    written("split folders", tmp_path)
    (tmp_path / "train/masks/scene01.png").unlink()
    with pytest.warns(UserWarning) as said:
        data = load_data(tmp_path)
    texts = " ".join(str(one.message) for one in said)
    assert "1 images have no label file and are left out" in texts
    assert "1 image of 6 in " in texts and "is left out: scene01" in texts
    assert len(data.pairs["train"]) == 5


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (
            "{images: images, labels: masks, label_sufix: _L}",
            "train has the unknown key 'la",
        ),
        ("{images: images, labels: masks, annotations: a}", "train has labels and annotations"),
        ("{images: images, annotations: a, format: voc}", "format must be one of coco, .*'voc'"),
        ("{images: images, labels: [masks]}", r"train: labels must be a name; got \['masks'\]"),
        ("{images: images, labels: images}", "images and labels are both .* label_suffix"),
        ("{images: images, labels: masks, list: odd.txt}", r"odd\.txt, line 2 names no image"),
        ("[[images/scene00.png]]", "train must be a list file or"),
    ],
)
def test_wrong_entry_is_refused(entry, match, tmp_path):
    written("list of stems", tmp_path)
    (tmp_path / "odd.txt").write_text("scene00\nscene99\n")
    (tmp_path / "data.yaml").write_text(f"train: {entry}\nnames: [a, b, c]\n")
    with pytest.raises(ValueError, match=match):
        load_data(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    "entry",
    [
        "{images: images, labels: masks, list: train.txt}",
        "train.txt",
        "[" + ", ".join(f"[images/scene0{i}.png, masks/scene0{i}.png]" for i in range(6)) + "]",
    ],
)
def test_entry_of_a_list_of_stems_or_of_pairs(entry, tmp_path):
    written("list of stems", tmp_path)
    (tmp_path / "data.yaml").write_text(f"train: {entry}\nnames: [a, b, c]\n")
    data = load_data(tmp_path / "data.yaml")
    assert [pair.image.stem for pair in data.files("train")] == [f"scene0{i}" for i in range(6)]
    np.testing.assert_array_equal(data.read(data.files("train")[3])[1], SCENES[3].labels)


@pytest.mark.parametrize(
    ("layout", "entry"), [("split folders", "train"), ("COCO of Roboflow", None)]
)
def test_entry_may_be_a_folder_or_a_file_of_shapes(layout, entry, tmp_path):
    written(layout, tmp_path)
    entry = entry or "train/_annotations.coco.json"
    (tmp_path / "data.yaml").write_text(f"train: {entry}\nnames: [background, car, tree]\n")
    data = load_data(tmp_path / "data.yaml")
    assert len(data.files("train")) == 6
    for pair, scene in zip(sorted(data.files("train")), SCENES, strict=False):
        np.testing.assert_array_equal(data.read(pair)[1], scene.labels)


def test_copies_and_frames_stay_on_one_side(tmp_path):
    """Nine videos of three frames each: a third of the images is three whole videos."""
    rng = np.random.default_rng(3)
    for video in range(9):
        scene = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1)))
        for frame in range(3):
            image = np.clip(scene + 9 * frame + rng.normal(0, 2, scene.shape), 0, 255)
            scenes.save(tmp_path / f"images/{video}_{frame}.png", image.astype("uint8"))
            scenes.save(tmp_path / f"masks/{video}_{frame}.png", np.eye(64, dtype="uint8"))
    (tmp_path / "data.yaml").write_text(
        "train: {images: images, labels: masks}\nval: 0.34\nnames: [a, b]\n"
    )
    data = load_data(tmp_path / "data.yaml")
    videos = [{pair.image.stem[0] for pair in data.files(split)} for split in ("train", "val")]
    assert not videos[0] & videos[1] and len(videos[1]) == 3


def test_yolo_whose_val_is_its_train_takes_a_part(tmp_path):
    written("YOLO", tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text.replace("../valid/images", "../train/images"))
    with pytest.warns(UserWarning, match="names the images of train for val too: left out"):
        data = load_data(tmp_path)
    assert (len(data.files("train")), len(data.files("val"))) == (5, 1)


def test_upper_case_endings_are_read(tmp_path):
    written("split folders", tmp_path)
    file = tmp_path / "train/images/scene00.png"
    Image.open(file).save(file.with_suffix(".PNG"), format="PNG")
    file.unlink()
    with pytest.warns(UserWarning, match="read as it looks"):
        assert len(load_data(tmp_path).files("train")) == 6


def test_shapes_may_be_merged_and_ids_be_any(tmp_path):
    written("CVAT", tmp_path)
    (tmp_path / "data.yaml").write_text(
        "train: {images: images, annotations: annotations.xml}\n"
        "names: {3: tree, 7: background, 300: car}\nmerge: {thing: [car, tree]}\n"
    )
    data = load_data(tmp_path / "data.yaml")
    assert data.classes.names == ("thing", "background")
    for pair, scene in zip(data.files("train"), SCENES, strict=True):
        np.testing.assert_array_equal(data.read(pair)[1], scene.labels == 0)


def test_what_no_shape_covers_is_ignored_where_there_is_no_background(tmp_path):
    written("YOLO", tmp_path)
    (tmp_path / "kseg.yaml").write_text(
        "train: {images: train/images, annotations: train/labels}\nnames: [car, tree]\n"
    )
    data = load_data(tmp_path)
    for pair, scene in zip(data.files("train"), SCENES, strict=False):
        expected = np.array([255, 0, 1])[scene.labels]
        np.testing.assert_array_equal(data.read(pair)[1], expected)


def write_masks(folder, image, masks, objects):
    rng = np.random.default_rng(0)
    scenes.save(folder / image, rng.integers(0, 255, (24, 32, 3), "uint8"))
    for number in range(objects):
        mask = np.zeros((24, 32), "uint8")
        mask[4 * number : 4 * number + 3, 3:20] = 255
        scenes.save(folder / masks / f"mask{number}.png", mask)


@pytest.mark.parametrize(
    "image, masks",
    [
        ("{0}/images/{0}.png", "{0}/masks"),
        ("images/{0}.png", "masks/{0}"),
        ("train/img/{0}.jpg", "train/objects/{0}"),
    ],
)
def test_a_folder_of_masks_for_each_image(image, masks, tmp_path):
    for index in range(5):
        write_masks(tmp_path, image.format(f"a{index}"), masks.format(f"a{index}"), index + 1)
    with pytest.warns(UserWarning, match="5 images, each with a folder of masks"):
        data = load_data(tmp_path)
    assert data.things == (1,) and data.classes.names == ("background", "object")
    path, _, again = write_description(tmp_path)
    pairs = again.files("train") + again.files("val")
    assert len(pairs) == 5 and "instances" in path.read_text()
    for pair in pairs:
        _, labels, ids = again.read_instances(pair)
        assert ids.max() == int(pair.image.stem[1:]) + 1
        np.testing.assert_array_equal(labels, ids > 0)


def test_numbered_objects_are_told_apart(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(6):
        cells = np.zeros((32, 32), "uint16")
        for number in range(1, index + 4):
            cells[4 * number - 3 : 4 * number - 1, 2:20] = number
        scenes.save(tmp_path / f"images/{index}.png", rng.integers(0, 255, (32, 32, 3), "uint8"))
        scenes.save(tmp_path / f"instances/{index}.png", cells)
    path, _, data = write_description(tmp_path)
    assert "instances: [object]" in path.read_text()
    pair = next(p for p in data.pairs["train"] + data.pairs["val"] if p.image.stem == "5")
    assert data.read_instances(pair)[2].max() == 8


def test_a_list_of_images_takes_those_of_its_folders(tmp_path):
    for folder, name in itertools.product("ab", "12"):
        save(tmp_path / "images" / folder / f"{name}.png", SCENES[0].image)
        save(tmp_path / "labels" / folder / f"{name}.png", SCENES[0].labels)
    (tmp_path / "train.txt").write_text("images/a/1.png\n/old/images/b/1.png\na/2\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [a, b, c]\n")
    (tmp_path / "val.txt").write_text("images/b/2.png\n")
    data = load_data(tmp_path / "data.yaml")
    for split, expected in (("train", ["a/1", "b/1", "a/2"]), ("val", ["b/2"])):
        assert [f"{p.image.parent.name}/{p.image.stem}" for p in data.files(split)] == expected
        assert [f"{p.label_file.parent.name}/{p.label_file.stem}" for p in data.files(split)] == (
            expected
        )
    (tmp_path / "val.txt").write_text("2\n")
    with pytest.raises(ValueError, match=r"val\.txt, line 1 names several images"):
        load_data(tmp_path / "data.yaml")
    (tmp_path / "images/b/2.png").unlink()
    (tmp_path / "labels/b/2.png").unlink()
    (tmp_path / "val.txt").write_text("images/b/2.png\n")  # and not images/a/2.png
    with pytest.raises(ValueError, match=r"val\.txt, line 1 names no image"):
        load_data(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({1: "car", 2: "tree"}, "its names have the ids 1, 2; name every id from 0 on"),
        (["background", "car", "tree"], "one of its names is background"),
    ],
)
def test_names_of_yolo_that_would_shift_the_ids_are_refused(names, said, tmp_path):
    written("YOLO", tmp_path)
    content = yaml.safe_load((tmp_path / "data.yaml").read_text())
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content | {"names": names}))
    with pytest.raises(ValueError, match=said):
        load_data(tmp_path)
