"""Lists of splits as people bring them: an odd line, one list without another, equal stems."""

import warnings

import pytest
import yaml
from scenes import SCENES, save, written

from kseg.data import load_data
from kseg.data.initializing import write_description

TRAIN = [scene.stem for scene in SCENES if scene.split == "train"]
VAL = [scene.stem for scene in SCENES if scene.split == "val"]


def _described(folder):
    """Returns the splits by the stems of their images, and the notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, layout, data = write_description(folder)
    stems = {split: [pair.image.stem for pair in pairs] for split, pairs in data.pairs.items()}
    return stems, " ".join(layout.notes)


def _lists_of(layout, folder):
    written(layout, folder)
    return {split: next(folder.rglob(f"{split}.txt")) for split in ("train", "val")}


@pytest.mark.parametrize("layout", ["Pascal VOC", "list of stems"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_an_odd_line_of_a_list_is_refused(layout, split, tmp_path):
    file = _lists_of(layout, tmp_path)[split]
    file.write_text(file.read_text() + "not_there\n")
    line = len(file.read_text().splitlines())
    with pytest.raises(ValueError, match=rf"{split}\.txt, line {line} names no image"):
        write_description(tmp_path)


@pytest.mark.parametrize("layout", ["Pascal VOC", "list of stems", "list of pairs"])
def test_comments_empty_lines_and_utf_16_keep_the_lists(layout, tmp_path):
    for file in _lists_of(layout, tmp_path).values():
        file.write_text(f"# written by hand\n\n{file.read_text()}", encoding="utf-16")
    assert _described(tmp_path)[0] == {"train": TRAIN, "val": VAL}


def test_files_that_a_list_of_pairs_names_and_are_not_there_are_counted(tmp_path):
    file = _lists_of("list of pairs", tmp_path)["train"]
    file.write_text(file.read_text() + "a/x.png b/x.png\n")
    stems, notes = _described(tmp_path)
    assert stems == {"train": [*TRAIN, "x"], "val": VAL}
    assert "1 lines of the lists name files that are not there" in notes


def test_names_that_begin_with_a_number_sign_are_no_comments(tmp_path):
    written("list of stems", tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / kind / "scene00.png").rename(tmp_path / kind / "#00.png")
    (tmp_path / "train.txt").write_text("# all but two\n#00\n#99\nscene01\n")
    stems, _ = _described(tmp_path)
    assert stems["train"] == ["#00", "scene01"]
    (tmp_path / "pairs.txt").write_text(
        "#images/1.png masks/1.png\n#images/#00.png masks/#00.png\n"
    )
    (tmp_path / "#images").symlink_to("images")
    (tmp_path / "own.yaml").write_text("train: pairs.txt\nnames: [a, b, c]\n")
    assert [p.image.stem for p in load_data(tmp_path / "own.yaml").files("train")] == ["#00"]


@pytest.mark.parametrize("layout", ["Pascal VOC", "list of stems"])
def test_without_a_list_of_train_the_others_are_left_out_of_it(layout, tmp_path):
    lists = _lists_of(layout, tmp_path)
    lists["train"].unlink()
    lists["val"].with_name("test.txt").write_text(f"{TRAIN[0]}\n")
    stems, notes = _described(tmp_path)
    assert stems == {"train": TRAIN[1:], "val": VAL, "test": TRAIN[:1]}
    assert "There is no list of training images: those that no list names are taken" in notes
    lists["val"].write_text("\n".join([*TRAIN, *VAL]))
    (tmp_path / "kseg.yaml").unlink()
    with pytest.raises(ValueError, match="name all images; add train"):
        write_description(tmp_path)


@pytest.mark.parametrize("layout", ["Pascal VOC", "list of stems"])
def test_a_list_of_images_without_labels_is_said(layout, tmp_path):
    """The official test lists are such."""
    lists = _lists_of(layout, tmp_path)
    lists["val"].with_name("test.txt").write_text("unlabelled1\nunlabelled2\n")
    stems, notes = _described(tmp_path)
    assert stems == {"train": TRAIN, "val": VAL}
    assert "Not read, though the names are those of lists: " in notes and "test.txt." in notes


def test_lists_of_several_folds_are_said(tmp_path):
    lists = _lists_of("list of stems", tmp_path)
    for fold in ("fold1", "fold2"):
        (tmp_path / fold).mkdir()
        for split, file in lists.items():
            (tmp_path / fold / f"{split}.txt").write_text(file.read_text())
    for file in lists.values():
        file.unlink()
    stems, notes = _described(tmp_path)
    assert stems == {"train": TRAIN, "val": VAL}
    assert "lists: fold2/train.txt, fold2/val.txt." in notes


def _two_folders(folder):
    for number, scene in enumerate(SCENES):
        place = f"{'ab'[number % 2]}/{number // 2}.png"
        save(folder / "images" / place, scene.image)
        save(folder / "masks" / place, scene.labels)


def test_a_stem_of_two_folders_is_refused_and_its_path_is_read(tmp_path):
    _two_folders(tmp_path)
    (tmp_path / "train.txt").write_text("0\n1\n")
    with pytest.raises(ValueError, match=r"line 1 names several images; .*Write its folder too"):
        write_description(tmp_path)
    (tmp_path / "train.txt").write_text("a/0\nb/0\nimages/a/1.png\n")
    (tmp_path / "val.txt").write_text("b/1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = write_description(tmp_path)[2]
    parts = {s: ["/".join(p.image.parts[-2:]) for p in pairs] for s, pairs in data.pairs.items()}
    assert parts == {"train": ["a/0.png", "b/0.png", "a/1.png"], "val": ["b/1.png"]}
    for pairs in data.pairs.values():
        assert all(pair.image.parts[-2:] == pair.label_file.parts[-2:] for pair in pairs)


def test_a_mask_of_another_folder_is_no_mask_of_an_image(tmp_path):
    """Of each stem one side alone is in each folder, so that stems come once."""
    for number, scene in enumerate(SCENES):
        save(tmp_path / f"{'ab'[number % 2]}/images/{number}.png", scene.image)
        save(tmp_path / f"{'ab'[number % 2 ^ (number > 5)]}/masks/{number}.png", scene.labels)
    stems, notes = _described(tmp_path)
    assert sorted(stem for split in stems.values() for stem in split) == list("012345")
    assert "2 images have no label file and are left out" in notes


@pytest.mark.parametrize("other", ["images/{}.jpg", "images/img_{}.png"])
def test_two_images_of_one_mask_are_refused(other, tmp_path):
    for number, scene in enumerate(SCENES):
        for image in (f"images/{number}.png", other.format(number)):
            save(tmp_path / image, scene.image)
        save(tmp_path / f"masks/{number}.png", scene.labels)
    with pytest.raises(ValueError, match=r"0\.\w+ and \S+0\.png could both be the image of masks"):
        load_data(tmp_path)


@pytest.mark.parametrize("name", ["{}", "{}_leftImg8bit", "{}_leftImg8bit.png"])
def test_a_list_may_have_the_suffix_of_the_images(name, tmp_path):
    for scene in SCENES:
        save(tmp_path / f"images/{scene.stem}_leftImg8bit.png", scene.image)
        save(tmp_path / f"ids/{scene.stem}_labelIds.png", scene.labels)
    (tmp_path / "train.txt").write_text("".join(f"{name.format(stem)}\n" for stem in TRAIN))
    sides = {"images": "images", "labels": "ids", "image_suffix": "_leftImg8bit"}
    entry = {**sides, "label_suffix": "_labelIds", "list": "train.txt"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"train": entry, "names": list("abc")}))
    found = load_data(tmp_path / "own.yaml").files("train")
    assert [pair.image.stem.removesuffix("_leftImg8bit") for pair in found] == TRAIN
