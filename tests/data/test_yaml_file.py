import shutil

import numpy as np
import pytest

import kseg
from kseg.data import Data, load_data


@pytest.fixture
def folder(tmp_path, write_rectangles):
    """Images 0..4 for training and 5..7 for validation, as lists; no YAML file yet."""
    yaml = write_rectangles(tmp_path / "data", ((8, 8),) * 8)
    yaml.unlink()
    return yaml.parent


def described(folder, text):
    (folder / "data.yaml").write_text(text)
    return load_data(folder / "data.yaml")


def stems(data, split):
    return [pair.image.stem for pair in data.files(split)]


LISTS = "train: train.txt\nval: val.txt\n"
NAMES = "names: [ground, red, blue]\n"


def test_lists_of_images_and_labels(folder):
    data = described(folder, LISTS + NAMES)
    assert isinstance(data, kseg.Data)
    assert stems(data, "train") == list("01234")
    assert stems(data, "val") == list("567")
    assert data.files("val")[0].image == folder / "images/5.png"
    assert data.files("val")[0].label_file == folder / "labels/5.png"
    assert data.classes.names == ("ground", "red", "blue")


def test_path_is_relative_to_the_file_and_lists_to_path(folder):
    (folder.parent / "elsewhere.yaml").write_text("path: data\n" + LISTS + NAMES)
    data = load_data(str(folder.parent / "elsewhere.yaml"))
    assert data.files("train")[0].image == folder / "images/0.png"


def test_path_may_be_absolute(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "data.yaml"
    other.write_text(f"path: {folder}\n" + LISTS + NAMES)
    assert load_data(other).files("val")[0].image.is_file()


def test_list_may_have_empty_lines_and_with_tabs_spaces_in_names(folder):
    shutil.copy(folder / "images/0.png", folder / "images/an image.png")
    (folder / "train.txt").write_text(
        "\nimages/an image.png\tlabels/0.png\n\n  images/1.png   labels/1.png  \n"
    )
    data = described(folder, LISTS + NAMES)
    assert stems(data, "train") == ["an image", "1"]
    image, label_map = data.read(data.files("train")[0])
    assert image.shape == (8, 8, 3) and label_map.shape == (8, 8)


def test_folders_are_matched_by_stem(folder):
    (folder / "labels/0.png").rename(folder / "labels/0.tif")
    (folder / "images/notes.txt").write_text("not an image")
    text = "train: {images: images, labels: labels}\n" + NAMES
    data = described(folder, text)
    assert stems(data, "train") == list("01234567")
    assert data.files("train")[0].label_file.name == "0.tif"
    assert list(data.pairs) == ["train"]


def test_a_fraction_of_train_is_for_validation(folder):
    text = "train: {images: images, labels: labels}\nval: 0.25\n" + NAMES
    data = described(folder, text)
    train, val = set(stems(data, "train")), set(stems(data, "val"))
    assert len(val) == 2 and not train & val and train | val == set("01234567")


def test_the_fraction_hardly_changes_when_a_image_is_added(folder):
    text = "train: {images: images, labels: labels}\nval: 0.25\n" + NAMES
    before = set(stems(described(folder, text), "val"))
    for kind in ("images", "labels"):
        shutil.copy(folder / kind / "0.png", folder / kind / "added.png")
    after = set(stems(described(folder, text), "val"))
    assert len(before - after) <= 1


def test_ids_may_have_gaps(folder):
    data = described(folder, LISTS + "names: {7: blue, 0: ground, 3: red}\n")
    assert data.classes.names == ("ground", "red", "blue")
    assert data.lookup[[0, 3, 7, 255]].tolist() == [0, 1, 2, 255]
    assert (np.delete(data.lookup, [0, 3, 7, 255]) == -1).all()


@pytest.mark.parametrize(("ignore", "ids"), [("9", [9]), ("[9, 11, 255]", [9, 11]), ("[]", [])])
def test_ignored_ids_become_255(folder, ignore, ids):
    data = described(folder, LISTS + NAMES + f"ignore: {ignore}\n")
    assert (data.lookup[ids] == 255).all()
    assert (data.lookup == 255).sum() == len(ids) + 1


def test_colors_come_in_the_order_in_which_names_are_written(folder):
    names = "names: {2: sky, 0: road, 1: car}\n"
    data = described(folder, LISTS + names + "colors: [[9, 9, 9], [255, 0, 0], [0, 0, 255]]\n")
    assert data.classes.names == ("road", "car", "sky")
    assert data.classes.colors == ((255, 0, 0), (0, 0, 255), (9, 9, 9))
    assert data.color_ids[0xFF0000] == 0 and data.color_ids[0x090909] == 2


def test_colors_belong_to_names(folder):
    data = described(folder, LISTS + NAMES + "colors: [[9, 9, 9], [255, 0, 0], [0, 0, 255]]\n")
    assert data.classes.colors == ((9, 9, 9), (255, 0, 0), (0, 0, 255))


def test_numbers_as_names_are_text(folder):
    assert described(folder, LISTS + "names: [1, 2]\n").classes.names == ("1", "2")


def test_images_are_spread_over_the_split(folder):
    data = described(folder, LISTS + NAMES)
    images = [data.read(pair)[0] for pair in data.files("train")]
    picked = data.images("train", 3)
    for image, index in zip(picked, (0, 2, 4), strict=True):
        np.testing.assert_array_equal(image, images[index])
        assert image.dtype == np.uint8
    assert len(data.images("train", 100)) == 5


def test_missing_split_is_refused_with_those_there_are(folder):
    data = described(folder, LISTS + NAMES)
    for use in (data.files, data.split, lambda name: data.images(name, 1)):
        with pytest.raises(ValueError, match=r"data\.yaml has no split 'test'; it has train, val"):
            use("test")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no\.yaml cannot be read: No such file"):
        load_data(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1",
        b"a: b: c",
        b"\xff\xfe\x00",
        b"!!python/object/apply:os.getpid []",
    ],
)
def test_file_that_is_no_yaml_is_refused(tmp_path, content):
    (tmp_path / "data.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.yaml is not YAML: "):
        load_data(tmp_path / "data.yaml")


FOLDERS = "train: {images: images, labels: labels}\n"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("just words", "a data file has lines such as"),
        ("- train", "a data file has lines such as"),
        ("", "a data file has lines such as"),
        (LISTS + NAMES + "nc: 3\n", "unknown key 'nc'; keys are path, train, val, test, names"),
        (LISTS + NAMES + "7: 3\n", "unknown key '7'"),
        (NAMES, "the key 'train' is missing"),
        (LISTS, "the key 'names' is missing"),
        (LISTS + "names: 3\n", "names must be a list, or id: name with ids from 0 to 65535"),
        (LISTS + "names: {a: 0, b: 1}\n", "names must be a list, or id: name"),
        (LISTS + "names: {0: a, 65536: b}\n", "names must be a list, or id: name"),
        (LISTS + "names: {true: a, 2: b}\n", "names must be a list, or id: name"),
        (LISTS + "names: [a]\n", r"names must have 2 to 255 classes; got 1\."),
        (LISTS + "names: [a, a]\n", "names must differ; a comes twice"),
        (LISTS + NAMES + "ignore: 2\n", "ids from 0 to 65535 that names does not list.*; got 2"),
        (
            LISTS + NAMES + "ignore: [9, 65536]\n",
            "ignore must be ids from 0 to 65535 .*; got 65536",
        ),
        (LISTS + NAMES + "ignore: -1\n", "ignore must be ids from 0 to 65535 .*; got -1"),
        (LISTS + NAMES + "ignore: void\n", "ignore must be ids from 0 to 65535 .*; got 'void'"),
        (LISTS + NAMES + "ignore: true\n", "ignore must be ids from 0 to 65535 .*; got True"),
        (LISTS + NAMES + "colors: red\n", r"colors must be a list of \[red, green, blue\]"),
        (LISTS + NAMES + "colors: [1, 2, 3]\n", r"colors must be a list of \[red, green, blue\]"),
        (LISTS + NAMES + "colors: [[1, 2, 3]]\n", "colors must be as many as names: 3; got 1"),
        (LISTS + NAMES + "path: gone\n", "path names the folder .*gone, which does not exist"),
        ("train: gone.txt\n" + NAMES, r"train names the list .*gone\.txt, which does not exist"),
        ("train: train.txt\nval: gone.txt\n" + NAMES, "val names the list .*which does not exist"),
        (
            "train: images\n" + NAMES,
            "images: it is a folder without images that have label files of like names; write",
        ),
        ("train: {images: images}\n" + NAMES, "train must be a list file or {images: folder, lab"),
        ("train: 5\n" + NAMES, "train must be a list file or .*; got 5"),
        ("train:\n" + NAMES, "train must be a list file or .*; got None"),
        ("train: {images: gone, labels: labels}\n" + NAMES, "the folder .*gone does not exist"),
        ("train: {images: images, labels: gone}\n" + NAMES, "the folder .*gone does not exist"),
        (FOLDERS + "val: 0.0\n" + NAMES, r"val as a fraction must be between 0 and 1; got 0\.0"),
        (FOLDERS + "val: 1.0\n" + NAMES, r"val as a fraction must be between 0 and 1; got 1\.0"),
        (FOLDERS + "val: -0.5\n" + NAMES, r"val as a fraction must be between 0 and 1; got -0\.5"),
        (FOLDERS + "val: 0.99\n" + NAMES, "val takes 8 of 8 images and leaves none to train on"),
        ("train: 0.5\n" + NAMES, "train must be a list file or"),
        (FOLDERS + "test: 0.2\n" + NAMES, "test must be a list file or"),
    ],
)
def test_wrong_description_is_refused_with_the_file_and_the_rule(folder, text, match):
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{match}"):
        described(folder, text)


@pytest.mark.parametrize("line", ["images/0.png", "images/0.png labels/0.png 7"])
def test_line_that_is_no_pair_is_refused_with_its_number(folder, line):
    (folder / "train.txt").write_text(f"images/1.png labels/1.png\n{line}\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 2 must be `image label`"):
        described(folder, LISTS + NAMES)


def test_empty_split_is_refused(folder):
    (folder / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match="the split 'val' is empty"):
        described(folder, LISTS + NAMES)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="the split 'train' is empty"):
        described(folder, "train: {images: empty, labels: empty}\n" + NAMES)


def test_stems_that_differ_are_named(folder):
    (folder / "labels/3.png").rename(folder / "labels/three.png")
    with pytest.raises(ValueError, match=r"must have the same stems; only one folder has 3, three"):
        described(folder, FOLDERS + NAMES)
    for file in (folder / "labels").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"only one folder has 0, 1, 2, 3, 4 and 3 more\."):
        described(folder, FOLDERS + NAMES)


def test_two_files_with_one_stem_are_refused(folder):
    shutil.copy(folder / "images/0.png", folder / "images/0.bmp")
    with pytest.raises(ValueError, match="images has two files with one stem"):
        described(folder, FOLDERS + NAMES)


def test_two_names_with_one_color_are_refused(folder):
    """In an RGB label map they could not be told apart."""
    with pytest.raises(ValueError, match=r"colors must differ"):
        described(folder, LISTS + NAMES + "colors: [[9, 9, 9], [255, 0, 0], [255, 0, 0]]\n")


def test_the_description_is_a_plain_record(folder):
    data = described(folder, LISTS + NAMES)
    assert isinstance(data, Data)
    assert data == load_data(folder / "data.yaml")


@pytest.mark.data
def test_camvid_reads_with_its_void_class_ignored(camvid, tmp_path):
    from kseg.models import TRAINED

    names = ", ".join(TRAINED["fcn8s_camvid"].classes.names)
    (tmp_path / "camvid.yaml").write_text(f"path: {camvid}\n{LISTS}names: [{names}]\nignore: 11\n")
    data = load_data(tmp_path / "camvid.yaml")
    assert (len(data.files("train")), len(data.files("val"))) == (367, 101)
    image, label_map = data.read(data.files("train")[0])
    assert image.shape == (360, 480, 3) and label_map.shape == (360, 480)
    assert set(np.unique(label_map)) <= {*range(11), 255}
