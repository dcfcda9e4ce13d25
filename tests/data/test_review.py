"""Each trap is seeded alone into a good data set: the review names it, and nothing else before."""

import json
import re
import shutil

import numpy as np
import pytest
import scenes
import yaml
from PIL import Image, ImageOps

from kseg.data import load_data
from kseg.data.review import review
from kseg.data.review.page import make_page
from kseg.data.synthetic import SHAPES, write_shapes

TRAIN, VAL = 20, 6


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Labelled images of shapes, as two lists of `image label` lines."""
    made = tmp_path_factory.mktemp("good") / "data"
    write_shapes(made, train=TRAIN, val=VAL, size=96, seed=3)
    (made / "shapes.yaml").unlink()
    for split, count in (("train", TRAIN), ("val", VAL)):
        lines = [f"{split}/images/{i:03}.png {split}/labels/{i:03}.png" for i in range(count)]
        (made / f"{split}.txt").write_text("\n".join(lines))
    describe(made)
    return made


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "data")


def describe(folder, **keys):
    content = {"train": "train.txt", "val": "val.txt", "names": list(SHAPES.names)} | keys
    content = {key: value for key, value in content.items() if value is not None}
    (folder / "kseg.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def image(folder, index=4, split="train"):
    return folder / split / "images" / f"{index:03}.png"


def label(folder, index=4, split="train"):
    return folder / split / "labels" / f"{index:03}.png"


def labels(folder):
    return sorted(folder.glob("*/labels/*.png"))


def change(path, function, *, mode=None, **options):
    picture = Image.open(path)
    picture.load()
    array = np.asarray(picture)
    Image.fromarray(function(array), mode).save(path, **options)


def two_classes(folder, value):
    for file in labels(folder):
        change(file, lambda ids: np.where(ids > 0, value, 0).astype("uint8"))


def zero_and_255(folder):
    two_classes(folder, 255)
    describe(folder, names=["background", "shape"])


def colors_off_by_one(folder):
    colors = np.array(SHAPES.colors, "uint8")
    for file in labels(folder):
        change(file, lambda ids: colors[ids])
    change(label(folder), lambda rgb: rgb + (rgb > 200).astype("uint8"))
    describe(folder, colors=[list(color) for color in SHAPES.colors])


def empty_image(folder):
    change(image(folder), lambda rgb: np.full_like(rgb, 130))


def swapped_masks(folder):
    one, other = label(folder, 3), label(folder, 8)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def reused_mask(folder):
    shutil.copy(label(folder, 8), label(folder, 3))


def masks_beside_polygons(folder):
    pictures = [
        {"id": i, "file_name": f"{i:03}.png", "height": 96, "width": 96} for i in range(TRAIN)
    ]
    shape = {"image_id": 0, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    content = {"images": pictures, "annotations": [shape], "categories": [{"id": 1, "name": "a"}]}
    (folder / "train/images/instances.json").write_text(json.dumps(content))


def frames_of_one_video(folder):
    rng = np.random.default_rng(0)
    for index in (0, 1):
        for path, target in ((image, image), (label, label)):
            shutil.copy(path(folder, index), target(folder, index, "val"))
        change(
            image(folder, index, "val"),
            lambda rgb: np.clip(rgb + rng.normal(6, 4, rgb.shape), 0, 255).astype("uint8"),
        )
        change(label(folder, index, "val"), lambda ids: np.roll(ids, 1, 1))


def same_image(folder):
    shutil.copy(image(folder), image(folder, 2, "val"))
    shutil.copy(label(folder), label(folder, 2, "val"))


def other_size(folder):
    change(label(folder), lambda ids: ids[:80])


def turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(image(folder)).save(image(folder), exif=exif)


def lossy(folder):
    file = label(folder).with_suffix(".jpg")
    Image.open(label(folder)).convert("L").save(file)
    text = (folder / "train.txt").read_text()
    (folder / "train.txt").write_text(text.replace("train/labels/004.png", "train/labels/004.jpg"))


def smooth(folder):
    two_classes(folder, 255)
    describe(folder, names={0: "background", 255: "shape"})
    picture = Image.open(label(folder))
    picture.resize((64, 64), Image.Resampling.BILINEAR).resize((96, 96), 2).save(label(folder))


def palette_order(folder):
    picture = Image.open(label(folder))
    assert picture.mode == "P"
    picture.putpalette([value for color in SHAPES.colors[::-1] for value in color])
    picture.save(label(folder))


def class_never(folder):
    describe(folder, names=[*SHAPES.names, "hexagon"])


def class_only_in_val(folder):
    for file in labels(folder):
        if file.parent.parent.name == "train":
            change(file, lambda ids: np.where(ids == 4, 0, ids).astype("uint8"))


def tiny_class(folder):
    for file in labels(folder):
        change(file, lambda ids: np.where(ids == 4, 0, ids).astype("uint8"))
    for file in (label(folder), label(folder, 1, "val")):
        change(file, lambda ids: np.where(np.arange(ids.size).reshape(ids.shape) == 40, 4, ids))


def mostly_ignored(folder):
    for file in labels(folder):
        change(file, lambda ids: np.where(np.arange(96) > 30, 255, ids).astype("uint8"))


def all_background(folder):
    change(label(folder), np.zeros_like)


def unreadable(folder):
    image(folder).write_bytes(b"this is no image")


def truncated(folder):
    content = image(folder).read_bytes()
    image(folder).write_bytes(content[: len(content) // 2])


def zero_byte(folder):
    image(folder).write_bytes(b"")


def dark_16_bit(folder):
    for index in range(TRAIN):
        change(image(folder, index), lambda rgb: rgb[..., 0].astype("uint16") * 4)


def gray_among_colors(folder):
    Image.open(image(folder)).convert("L").save(image(folder))


def alpha(folder):
    picture = Image.open(image(folder)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(image(folder))


def same_stem_twice(folder):
    Image.open(image(folder)).save(image(folder).with_suffix(".jpg"))
    describe(folder, train={"images": "train/images", "labels": "train/labels"})


def missing_files(folder):
    with open(folder / "train.txt", "a") as file:
        file.write("\ntrain/images/999.png train/labels/999.png\n")


def upper_case_ending(folder):
    image(folder).rename(image(folder).with_suffix(".PNG"))


def swapped_columns(folder):
    for split in ("train", "val"):
        lines = (folder / f"{split}.txt").read_text().splitlines()
        swapped = "\n".join(" ".join(reversed(line.split())) for line in lines)
        (folder / f"{split}.txt").write_text(swapped)


def rotated_mask(folder):
    change(label(folder), np.rot90)


def shifted_masks(folder):
    for file in labels(folder):
        change(file, lambda ids: np.roll(ids, (6, 8), (0, 1)))


def shifted_mask(folder):
    change(label(folder), lambda ids: np.roll(ids, (-14, 10), (0, 1)))


def inverted_mask(folder):
    two_classes(folder, 1)
    describe(folder, names=["background", "shape"])
    change(label(folder), lambda ids: 1 - ids)


def exchanged_classes(folder):
    tint = np.array([(60, 60, 60), (150, 30, 30), (30, 30, 150), (30, 150, 30), (150, 150, 30)])
    for file in labels(folder):
        classes = np.asarray(Image.open(file)) % 255  # what is ignored as background
        picture = file.parent.parent / "images" / file.name
        change(picture, lambda rgb, c=classes: (rgb // 4 + tint[c]).astype("uint8"))
    change(
        label(folder), lambda ids: np.where(ids == 0, 2, np.where(ids == 2, 0, ids)).astype("uint8")
    )


def negative(folder):
    for file in labels(folder):
        bright = 30 * np.asarray(Image.open(file))[..., None]
        picture = file.parent.parent / "images" / file.name
        change(picture, lambda rgb, bright=bright: (rgb // 4 + bright).astype("uint8"))
    change(image(folder), lambda rgb: 255 - rgb)


def one_unlabelled_of_few(folder):
    lines = (folder / "train.txt").read_text().splitlines()
    (folder / "train.txt").write_text("\n".join(lines[:5]))
    describe(folder, val=None)
    change(label(folder), np.zeros_like)


def mirrored_copy(folder):
    for path in (image, label):
        ImageOps.mirror(Image.open(path(folder))).save(path(folder, 2, "val"))


def rotated_copy(folder):
    for path in (image, label):
        Image.open(path(folder)).rotate(90).save(path(folder, 2, "val"))


def cropped_copy(folder):
    for path in (image, label):
        part = Image.open(path(folder)).crop((8, 4, 84, 80))
        part.resize((96, 96), Image.Resampling.NEAREST).save(path(folder, 2, "val"))


def image_is_a_mask(folder):
    Image.open(label(folder)).convert("RGB").save(image(folder))


def gray_stored_as_rgb(folder):
    Image.open(image(folder)).convert("L").convert("RGB").save(image(folder))


def half_fetched(folder):
    below = np.arange(96)[:, None, None] > 50
    change(image(folder), lambda rgb: np.where(below, 128, rgb).astype("uint8"))


def thumbnail(folder):
    for path in (image(folder), label(folder)):
        Image.open(path).resize((16, 16), Image.Resampling.NEAREST).save(path)


def specks(folder):
    rng = np.random.default_rng(0)
    change(
        label(folder), lambda ids: np.where(rng.random(ids.shape) < 0.03, 3, ids).astype("uint8")
    )


def _in_json(folder, layout, alter):
    """Puts the scenes in a layout of JSON files in the folder's place, one of them altered."""
    shutil.rmtree(folder)
    scenes.written(layout, folder)
    file = sorted(folder.rglob("*.json"))[0]
    content = json.loads(file.read_text())
    alter(content)
    file.write_text(json.dumps(content))


def slip_of_typing(folder):
    _in_json(folder, "labelme", lambda content: content["shapes"][0].update(label="Car "))


def shape_outside(folder):
    outside = [[900, 900, 990, 900, 990, 990]]
    _in_json(folder, "COCO", lambda c: c["annotations"][0].update(segmentation=outside))


def shape_of_no_area(folder):
    speck = [[3, 3, 3.1, 3, 3.1, 3.1]]
    _in_json(folder, "COCO", lambda c: c["annotations"][0].update(segmentation=speck))


TRAPS = {
    zero_and_255: "hold 0 and 255, so 255 is 'shape'",
    colors_off_by_one: r"004\.png.*colours that colors does not list: \(",
    empty_image: r"images/004\.png: all its pixels are equal",
    swapped_masks: r"labels/00[38]\.png: its borders do not follow the edges of 00[38]",
    reused_mask: r"its labels are just those of .*labels/003\.png",
    masks_beside_polygons: "labels of two sources are there: those that are read, and COCO",
    frames_of_one_video: r"2 pairs of images of train and val look alike",
    same_image: r"val/images/002\.png: it is the same image as .*train/images/004\.png",
    other_size: r"labels/004\.png: it is 96 x 80 pixels and its image",
    turned: r"images/004\.png: its EXIF tag \(6\) turns",
    lossy: r"labels/004\.jpg: it is a JPEG file",
    smooth: r"labels/004\.png: it holds \d+ ids that names does not list",
    palette_order: r"labels/004\.png: its palette has other colours",
    class_never: "in train, 'hexagon' does not occur",
    class_only_in_val: "in train, 'star' does not occur",
    tiny_class: r"in train, under 0\.1 % of the pixels are 'star'",
    mostly_ignored: r"in train, \d+ % of the pixels are ignored",
    all_background: r"labels/004\.png: all of it is 'background'",
    unreadable: r"images/004\.png: it cannot be read as an image",
    truncated: r"images/004\.png: it (ends early|cannot be read)",
    zero_byte: r"images/004\.png: it cannot be read as an image: the file is empty",
    dark_16_bit: "16-bit images use 10 bits",
    gray_among_colors: r"images/004\.png: it is gray, and most images have colours",
    alpha: r"images/004\.png: its fourth channel .* is left out",
    same_stem_twice: r"two files with one stem.*004\.jpg and 004\.png",
    missing_files: r"images/999\.png: there is no such file",
    upper_case_ending: r"images/004\.png: there is no such file.*004\.PNG",
    swapped_columns: r"image and label file are swapped",
    rotated_mask: r"labels/004\.png: its borders .* they do when it is turned by 270 degrees",
    shifted_masks: "labels of most images lie 6 % lower and 8 % further right than the edges",
    shifted_mask: r"labels/004\.png: its borders lie 1[46] % higher and 9 % further right than",
    inverted_mask: r"labels/004\.png: its rim is of the other class than that of most",
    exchanged_classes: r"labels/004\.png: what is 'background' looks like '\w+' in the other",
    negative: r"images/004\.png: its classes are bright where .* is it a negative",
    one_unlabelled_of_few: r"labels/004\.png: all of it is 'background'",
    mirrored_copy: r"val/images/002\.png: it looks like .*004\.png, mirrored left to right",
    rotated_copy: r"val/images/002\.png: it looks like .*004\.png, turned by 270 degrees",
    cropped_copy: r"val/images/002\.png: it looks like a part of .*train/images/004\.png",
    image_is_a_mask: r"images/004\.png: it has \d colours, as label files have",
    gray_stored_as_rgb: r"images/004\.png: it is gray, and most images have colours",
    half_fetched: r"images/004\.png: the lowest 47 % of it are of one colour",
    thumbnail: r"images/004\.png: it has 256 pixels, and most images have 9216",
    specks: r"labels/004\.png: [123]\.\d % of its pixels are alone",
    slip_of_typing: "the class 'Car ' is in 1 images, and 'car' in 7",
    shape_outside: r"a shape of scene\d+\.png \('car'\) lies outside the image or has no area",
    shape_of_no_area: r"a shape of scene\d+\.png \('car'\) lies outside the image or has no area",
}


def said(found):
    return [f"{p.file}: {p.reason}; {p.advice}" for p in found.problems]


def test_nothing_is_said_of_the_good_one(good):
    found = review(good)
    assert said(found) == [] and found.notes == ()
    assert found.images == {"train": TRAIN, "val": VAL} and found.sizes == {(96, 96): TRAIN + VAL}


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_trap_is_named(trap, folder):
    trap(folder)
    found = said(review(folder))
    assert any(re.search(TRAPS[trap], line) for line in found), found


def test_a_file_that_is_not_there_is_one_problem(tmp_path):
    (problem,) = review(tmp_path / "gone.yaml").problems
    assert problem.file == str(tmp_path / "gone.yaml") and problem.stops
    assert problem.reason == "it cannot be read: No such file or directory"


def test_there_are_25_traps():
    assert len(TRAPS) >= 25


def test_page_has_no_script_and_shows_what_was_found(folder):
    empty_image(folder)
    (folder / "kseg.yaml").write_text(
        (folder / "kseg.yaml").read_text().replace("disc", "'<script>alert(1)</script>'")
    )
    page = make_page(review(folder))
    assert "default-src 'none'" in page and "<script" not in page
    assert "all its pixels are equal" in page and page.count("data:image/jpeg") == 24
    assert "http" not in page.replace("http-equiv", "")


def test_shares_and_holders_are_counted(tmp_path):
    scenes.written("split folders", tmp_path)
    (tmp_path / "kseg.yaml").write_text(
        "train: {images: train/images, labels: train/masks}\nnames: [background, car, tree]\n"
    )
    found = review(tmp_path)
    maps = np.stack([scene.labels for scene in scenes.SCENES if scene.split == "train"])
    counted = np.bincount(maps.ravel(), minlength=3) / maps.size
    np.testing.assert_allclose(found.shares["train"], counted)
    assert found.holders["train"].tolist() == [6, 6, 6]
    assert any("There is no split val" in line for line in found.suggestions())
    assert load_data(tmp_path).classes == found.data.classes


@pytest.mark.data
@pytest.mark.slow
def test_little_is_said_of_real_data(nuclei):
    odd = ("borders", "alike", "looks like", "images lie", "colours, as", "rim", "alone among")
    assert not [line for line in said(review(nuclei)) if any(word in line for word in odd)]
