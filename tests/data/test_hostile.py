"""Files made to hang, to fill the memory or to give away what they are not asked for."""

import os
import random
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.data import check_data, checking, load_data
from kseg.data.checking import check_labels
from kseg.data.label_files import read_ids, to_classes
from kseg.data.yaml_text import read_yaml

LISTS = "train: train.txt\nval: val.txt\nnames: [ground, red, blue]\n"


@pytest.fixture
def yaml(tmp_path, write_rectangles):
    return write_rectangles(tmp_path / "data", ((16, 16),) * 8)


@pytest.mark.parametrize("place", ["data.yaml", "train.txt", "images/0.png", "labels/0.png"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(yaml, place, kind):
    path = yaml.parent / place
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    started = time.monotonic()
    with pytest.raises(ValueError, match=f"it is a {kind}|which does not exist"):
        check_data(load_data(yaml))
    assert time.monotonic() - started < 30


def test_yaml_of_aliases_that_double_40_times_is_refused_at_once(yaml):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 41)]
    for key in ("names", "ignore", "colors", "path", "merge"):
        yaml.write_text(LISTS + "\n".join(lines) + f"\n{key}: *a40\n")
        with pytest.raises(ValueError, match=r"is not YAML: line 5 has an alias \(\*\)"):
            load_data(yaml)


def test_yaml_larger_than_a_mebibyte_is_refused(yaml):
    yaml.write_text("# " + "x" * (1 << 20))
    with pytest.raises(ValueError, match="over the limit of 1,048,576"):
        load_data(yaml)


def test_yaml_with_too_many_entries_is_refused(yaml):
    yaml.write_text(LISTS + "ignore: [" + "1," * 200_000 + "]\n")
    with pytest.raises(ValueError, match="over 100,000 entries"):
        load_data(yaml)


def test_yaml_in_utf_16_and_with_a_byte_order_mark_is_read(yaml):
    for encoding in ("utf-16", "utf-8-sig"):
        yaml.write_bytes(LISTS.encode(encoding))
        assert load_data(yaml).classes.names == ("ground", "red", "blue")
    yaml.write_bytes(LISTS.encode("utf-16-le"))
    with pytest.raises(ValueError, match="it is no text; save it as a text in UTF-8"):
        load_data(yaml)


def test_yaml_values_are_those_of_yaml_1_2(tmp_path):
    path = tmp_path / "values.yaml"
    path.write_text(
        "a: [no, 010, 1:30, 1e3, .5, 0x10, ~, true, 2024-01-01, '7']\nnames: [no, ~, 1.0]\n"
        f"n: {'9' * 5000}\n"
    )
    found = read_yaml(path, as_written=("names",))
    assert found["a"] == ["no", 10, "1:30", 1000.0, 0.5, "0x10", None, True, "2024-01-01", "7"]
    assert found["names"] == ["no", "~", "1.0"] and found["n"] == "9" * 5000


def test_200_mutants_of_a_yaml_are_read_or_refused(yaml):
    content = (LISTS + "ignore: [9, 255]\ncolors: [[1, 2, 3], [4, 5, 6], [7, 8, 9]]\n").encode()
    chance = random.Random(0)
    refused, started = 0, time.monotonic()
    for _ in range(200):
        mutant = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        yaml.write_bytes(mutant)
        try:
            load_data(yaml)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1000
    assert refused > 100 and time.monotonic() - started < 20


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "bmp", "gif", "webp", "pgm"])
def test_a_damaged_image_never_ends_the_check(yaml, kind):
    chance = random.Random(kind)
    good = np.random.default_rng(0).integers(0, 256, (16, 16)).astype("uint8")
    path = yaml.parent / f"images/0.{kind}"
    (yaml.parent / "images/0.png").unlink()
    Image.fromarray(good).save(path)
    text = (yaml.parent / "train.txt").read_text().replace("images/0.png", f"images/0.{kind}")
    (yaml.parent / "train.txt").write_text(text)
    content, data = path.read_bytes(), load_data(yaml)
    for _ in range(20):
        mutant = bytearray(content)
        for _ in range(3):
            mutant[chance.randrange(min(200, len(mutant)))] = chance.randrange(256)
        path.write_bytes(mutant)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check_data(data)
            except ValueError as error:
                assert "1 file cannot be used" in str(error)


def test_a_large_label_file_stays_bytes(tmp_path):
    """8 megapixels: 64-bit ids would take 64 MB."""
    ids = np.zeros((2000, 4000), "uint8")
    ids[5, 7] = 2
    Image.fromarray(ids).save(tmp_path / "large.png")
    lookup = np.array([0, 1, 2] + [-1] * 253)
    tracemalloc.start()
    found = to_classes(tmp_path, read_ids(tmp_path / "large.png", {}).ids, lookup)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.dtype == np.uint8 and found[5, 7] == 2 and found.sum() == 2
    assert peak < 3.5 * ids.nbytes + (1 << 24)


def test_large_images_are_read_one_at_a_time():
    assert checking._workers(100 * 100) == checking._WORKERS
    assert checking._workers(12_000_000) == min(5, checking._WORKERS)
    assert checking._workers(50_000_000) == checking._workers(178_000_000) == 1


def test_a_list_that_is_another_file_shows_nothing_of_it(yaml):
    (yaml.parent / "train.txt").write_text("secret-token password\n")
    with pytest.raises(ValueError, match="line 1 must be `image label`") as caught:
        load_data(yaml)
    assert "secret" not in str(caught.value) and "password" not in str(caught.value)


def test_evaluate_looks_at_labels_and_says_it_once(yaml):
    for index in (5, 6, 7):
        Image.new("L", (16, 16)).save(yaml.parent / f"labels/{index}.png")
    data = load_data(yaml)

    def model(images):
        return np.zeros((*images.shape[:3], 3), "float32")

    with pytest.warns(UserWarning, match="'ground' is the only class that occurs, so scores on it"):
        kseg.evaluate(model, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kseg.evaluate(model, data)
        check_labels(data, ["train"])


def test_several_folders_are_read_as_one(yaml, write_rectangles, tmp_path):
    write_rectangles(tmp_path / "more", ((16, 16),) * 4)
    (tmp_path / "both.yaml").write_text("path: [data, more]\n" + LISTS)
    data = load_data(tmp_path / "both.yaml")
    assert (len(data.files("train")), len(data.files("val"))) == (5 + 1, 3 + 3)
    assert {pair.image.parents[1].name for pair in data.files("train")} == {"data", "more"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "both.yaml").write_text("path: [data, empty]\n" + LISTS)
    with pytest.raises(ValueError, match=r"path lists the folder .*empty, in which no split is"):
        load_data(tmp_path / "both.yaml")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("merge: {a: [gone]}", "merge names the class 'gone', which names does not list"),
        ("merge: {a: [red], b: [red]}", "merge names a class twice"),
        ("merge: {ground: [red, blue]}", "merge makes a class 'ground', and names has another"),
        ("merge: [red]", r"merge must be like `merge: \{vehicle: \[car, bus\]\}`"),
        ("channels: 0", "channels must be a number from 1"),
        ("bits: 20", "bits must be a number from 8 to 16; got 20"),
        ("path: [1.5]", "path must be a folder or a list of folders"),
        ("colors: [[1, 2, 300], [1, 2, 3], [2, 2, 2]]", "colors must be three numbers from 0 to"),
    ],
)
def test_wrong_new_keys_are_refused_by_name(yaml, line, match):
    yaml.write_text(LISTS + line + "\n")
    with pytest.raises(ValueError, match=match):
        load_data(yaml)


def test_merged_classes_keep_the_order_of_their_ids(yaml):
    yaml.write_text(
        LISTS + "merge: {thing: [blue, red]}\ncolors: [[1, 1, 2], [3, 3, 4], [5, 5, 6]]\n"
    )
    data = load_data(yaml)
    assert data.classes.names == ("ground", "thing")
    assert data.classes.colors == ((1, 1, 2), (3, 3, 4))
    assert data.lookup[[0, 1, 2]].tolist() == [0, 1, 1]


def test_names_give_an_id_to_one_class_alone(yaml):
    yaml.write_text("train: train.txt\nnames: {0: ground, 1-9: red, 5: blue}\n")
    with pytest.raises(ValueError, match="names gives the id 5 to two classes"):
        load_data(yaml)


@pytest.mark.data
def test_nuclei_are_read_by_a_range_of_ids(nuclei, tmp_path):
    path = tmp_path / "nuclei.yaml"
    path.write_text(
        f"path: {nuclei}\nval: val.txt\ntrain: val.txt\nnames: {{0: no, 1-65535: yes}}\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_data(load_data(path), ["val"])
    assert report.ignored["val"] == 0 and report.pixels["val"].min() > 0
