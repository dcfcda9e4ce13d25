"""Each annotation is of its own image: one file is never taken for two names."""

import json

import numpy as np
import pytest
from PIL import Image

from kseg.data.formats import FORMATS
from kseg.data.formats.finding import locate

SIZE = (24, 32)


@pytest.fixture
def images(tmp_path):
    for name in ("cam1/0.png", "cam1/1.png", "cam3/2.png"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(file)
    return tmp_path / "images"


def test_a_name_of_a_folder_that_is_not_there_takes_no_other_file(images):
    names = ["cam1/0.png", "cam2/0.png", "cam2/1.png", "1.png", "a/2.png", "b/2.png"]
    found, missing = locate(images, names)
    assert found == {"cam1/0.png": images / "cam1/0.png"}
    # Nothing tells whose the others are.
    assert missing == ("cam2/0.png", "cam2/1.png", "1.png", "a/2.png", "b/2.png")
    alone, _ = locate(images, ["else/1.png"])
    assert alone == {"else/1.png": images / "cam1/1.png"}


def box(left):
    return [left, 0, left + 8, 0, left + 8, 9, left, 9]


def coco(folder, names):
    content = {
        "images": [
            {"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"image_id": i, "category_id": 1, "segmentation": [box(10 * i)]}
            for i in range(len(names))
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def cvat(folder, names):
    entries = "".join(
        f'<image name="{name}" width="{SIZE[1]}" height="{SIZE[0]}"><box label="car" '
        f'xtl="{10 * i}" ytl="0" xbr="{10 * i + 8}" ybr="9"/></image>'
        for i, name in enumerate(names)
    )
    (folder / "cvat.xml").write_text(f"<annotations>{entries}</annotations>")
    return folder / "cvat.xml"


def label_studio(folder, names):
    def result(left):
        points = (np.array(box(left)).reshape(-1, 2) / (SIZE[1], SIZE[0]) * 100).tolist()
        return {"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["car"]}}

    content = [
        {
            "data": {"image": f"/data/local-files/?d={name}"},
            "annotations": [{"result": [result(10 * i)]}],
        }
        for i, name in enumerate(names)
    ]
    (folder / "tasks.json").write_text(json.dumps(content))
    return folder / "tasks.json"


def labelme(folder, names):
    for i, name in enumerate(names):
        file = folder / "labelme" / name.replace(".png", ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        points = [box(10 * i)[j : j + 2] for j in range(0, 8, 2)]
        content = {
            "shapes": [{"label": "car", "points": points}],
            "imagePath": name.rpartition("/")[2],
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
        }
        file.write_text(json.dumps(content))
    return folder / "labelme"


MAKERS = {"coco": coco, "cvat": cvat, "label_studio": label_studio, "labelme": labelme}


def left_of(drawing):
    labels = drawing.draw(SIZE, {"background": 0, "car": 1})
    return int(labels.any(0).argmax())


@pytest.mark.parametrize("kind", MAKERS)
def test_folders_with_equal_names_keep_their_annotations(kind, images, tmp_path):
    Image.new("RGB", SIZE[::-1]).save(images / "cam3/0.png")
    path = MAKERS[kind](tmp_path, ["cam1/0.png", "cam3/0.png", "cam3/2.png"])
    read = FORMATS[kind](path, images, ())
    found = {f.relative_to(images).as_posix(): left_of(d) for f, d in read.drawings.items()}
    assert found == {"cam1/0.png": 0, "cam3/0.png": 10, "cam3/2.png": 20}
    assert read.missing == ()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_folder_that_is_not_there_is_missing(kind, images, tmp_path):
    read = FORMATS[kind](MAKERS[kind](tmp_path, ["cam1/0.png", "cam2/0.png"]), images, ())
    assert {f: left_of(d) for f, d in read.drawings.items()} == {images / "cam1/0.png": 0}
    assert read.missing == ("cam2/0.png",)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("coco", r"two of its images have the file_name 'cam1/0\.png'"),
        ("cvat", r"two of its images have the name 'cam1/0\.png'"),
        ("label_studio", r"task 1: an earlier one is of cam1/0\.png too"),
    ],
)
def test_two_annotations_of_one_image_are_refused(kind, said, images, tmp_path):
    path = MAKERS[kind](tmp_path, ["cam1/0.png", "cam1/0.png"])
    with pytest.raises(ValueError, match=said):
        FORMATS[kind](path, images, ())


def test_two_files_of_labelme_of_one_image_are_refused(images, tmp_path):
    path = labelme(tmp_path, ["cam1/0.png"])
    content = (path / "cam1/0.json").read_text()
    (path / "cam1/again.json").write_text(content)
    with pytest.raises(ValueError, match=r"again\.json and .*0\.json are both of .*0\.png; leave"):
        FORMATS["labelme"](path, images, ())
