import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from kseg.data import check_data, load_data


@pytest.fixture
def yaml(tmp_path, write_rectangles):
    return write_rectangles(tmp_path / "data", ((16, 16),) * 8)


def change_pixel(path):
    array = np.array(Image.open(path))
    array.flat[0] = (int(array.flat[0]) + 1) % 3
    Image.fromarray(array).save(path)


def test_pixels_are_counted_per_split_and_class(yaml):
    label_map = np.full((16, 16), 255, "uint8")
    label_map[:2], label_map[2:5] = 0, 2
    for index in (5, 6, 7):
        Image.fromarray(label_map).save(yaml.parent / f"labels/{index}.png")
    with pytest.warns(UserWarning) as said:
        report = check_data(load_data(yaml))
    assert [str(one.message).partition("data.yaml: ")[2] for one in said] == [
        "in val, 'red' does not occur.",
        "in val, 69 % of the pixels are ignored.",
    ]
    assert report.pixels["val"].tolist() == [3 * 32, 0, 3 * 48]
    assert report.ignored["val"] == 3 * (256 - 80)
    assert report.pixels["train"].sum() == 5 * 256 and report.ignored["train"] == 0


def test_all_bad_files_are_listed_at_once(yaml):
    folder = yaml.parent
    (folder / "images/0.png").write_bytes(b"no image")
    (folder / "labels/2.png").unlink()
    Image.new("L", (8, 8)).save(folder / "labels/3.png")
    Image.fromarray(np.full((16, 16), 9, "uint8")).save(folder / "labels/6.png")
    with pytest.raises(ValueError, match=r"data\.yaml: 4 files cannot be used:\n") as caught:
        check_data(load_data(yaml))
    _, *lines = str(caught.value).splitlines()
    *lines, right = lines
    assert right.startswith("All label files together hold the ids 0, 1, 2, 9; ")
    assert right.endswith("write `ignore: [9]`.")
    assert len(lines) == 4
    expected = [
        ("images/0.png", "cannot be read as an image"),
        ("labels/2.png", "No such file"),
        ("labels/3.png", "must be equal"),
        ("labels/6.png", r"9 (256 pixels)"),
    ]
    for line, (file, reason) in zip(lines, expected, strict=True):
        assert file in line and reason in line


def test_one_bad_file_is_one_file(yaml):
    (yaml.parent / "images/0.png").unlink()
    with pytest.raises(ValueError, match=r"data\.yaml: 1 file cannot be used:\n  .*No such file"):
        check_data(load_data(yaml))


def test_a_long_list_is_cut_and_counted(tmp_path, write_rectangles):
    yaml = write_rectangles(tmp_path / "many", ((4, 4),) * 30)
    for file in (yaml.parent / "images").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="30 files cannot be used") as caught:
        check_data(load_data(yaml))
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[-1] == "  and 10 more"


def test_split_without_a_pixel_that_counts_is_refused(yaml):
    for index in (5, 6, 7):
        Image.new("L", (16, 16), 255).save(yaml.parent / f"labels/{index}.png")
    with pytest.raises(ValueError, match="all pixels of the split 'val' are ignored"):
        check_data(load_data(yaml))


def test_missing_split_is_refused(yaml):
    with pytest.raises(ValueError, match="has no split 'test'"):
        check_data(load_data(yaml), ["train", "test"])


def test_fingerprint_is_the_same_every_time_and_everywhere(yaml, tmp_path):
    first = check_data(load_data(yaml)).fingerprint
    assert first == check_data(load_data(yaml)).fingerprint
    shutil.copytree(yaml.parent, tmp_path / "copy")
    assert first == check_data(load_data(tmp_path / "copy/data.yaml")).fingerprint


@pytest.mark.parametrize("file", ["images/0.png", "images/7.png", "labels/0.png", "labels/7.png"])
def test_fingerprint_changes_with_one_pixel(yaml, file):
    first = check_data(load_data(yaml)).fingerprint
    change_pixel(yaml.parent / file)
    assert first != check_data(load_data(yaml)).fingerprint


@pytest.mark.filterwarnings("ignore:.*'green' does not occur")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[ground, red, blue]", "[ground, blue, red]"),
        ("[ground, red, blue]", "[ground, red, blue, green]"),
        ("[ground, red, blue]", "[ground, red, blue]\nignore: 7"),
    ],
)
def test_fingerprint_changes_with_the_meaning_of_ids(yaml, old, new):
    first = check_data(load_data(yaml)).fingerprint
    yaml.write_text(yaml.read_text().replace(old, new))
    assert first != check_data(load_data(yaml)).fingerprint


def test_fingerprint_tells_train_from_val(yaml):
    """The last image of train becomes the first of val: other data, though the same files."""
    first = check_data(load_data(yaml)).fingerprint
    train, val = (yaml.parent / name for name in ("train.txt", "val.txt"))
    *kept, moved = train.read_text().splitlines(keepends=True)
    train.write_text("".join(kept))
    val.write_text(moved + val.read_text())
    assert first != check_data(load_data(yaml)).fingerprint


def test_image_in_two_splits_is_warned_of(yaml):
    shutil.copy(yaml.parent / "images/0.png", yaml.parent / "images/7.png")
    with pytest.warns(UserWarning, match="1 images are in more than one of the splits train, val"):
        check_data(load_data(yaml))


def test_images_of_one_split_alone_give_no_warning(yaml):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_data(load_data(yaml), ["train"])
