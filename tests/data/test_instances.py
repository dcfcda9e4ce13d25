"""Every way to tell objects apart is read to the same arrays."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from kseg.classes import IGNORE_CLASS
from kseg.data import check_data, load_data
from kseg.data.converting import convert
from kseg.data.object_ids import told_apart
from kseg.data.review import review
from kseg.data.review.things import pieces

SIZE = (20, 30)
# Class, and top, left, bottom, right: two cars that touch, a person over one of them, a far car.
OBJECTS = (
    ("car", (2, 2, 10, 12)),
    ("car", (2, 12, 10, 20)),
    ("person", (6, 8, 16, 14)),
    ("car", (14, 20, 18, 28)),
)
NAMES = {"road": 7, "person": 24, "car": 26}  # Cityscapes' ids
CLASSES = {"road": 0, "person": 1, "car": 2}


def truth():
    """The label map and the ids, the objects drawn one over the other."""
    labels, ids = np.zeros(SIZE, "uint8"), np.zeros(SIZE, "int32")
    for number, (name, (top, left, bottom, right)) in enumerate(OBJECTS, start=1):
        labels[top:bottom, left:right] = CLASSES[name]
        ids[top:bottom, left:right] = number
    return labels, ids


def write(folder, name, array):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def describe(folder, **content):
    write(folder, "images/a.png", np.full((*SIZE, 3), 90, "uint8"))
    content.setdefault("names", {i: name for name, i in NAMES.items()})
    content.setdefault("instances", ["car", "person"])
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "data.yaml"


def file_ids(labels):
    return np.array(list(NAMES.values()), "uint8")[labels]


def ids_beside(folder):
    labels, ids = truth()
    write(folder, "labels/a_label.png", file_ids(labels))
    write(folder, "ids/a_ids.png", (ids * 300).astype("uint16"))
    return {
        "train": {
            "images": "images",
            "labels": "labels",
            "label_suffix": "_label",
            "instances": "ids",
            "instance_suffix": "_ids",
        }
    }


def ids_in_a_list(folder):
    ids_beside(folder)
    (folder / "train.txt").write_text("images/a.png labels/a_label.png ids/a_ids.png\n")
    return {"train": "train.txt"}


def ids_in_pairs(folder):
    ids_beside(folder)
    return {"train": [["images/a.png", "labels/a_label.png", "ids/a_ids.png"]]}


def cityscapes(folder):
    labels, ids = truth()
    numbers = file_ids(labels).astype("uint16")
    # Numbers count anew in each class, from 0.
    for value, number in ((1, 26000), (2, 26001), (3, 24000), (4, 26007)):
        numbers[ids == value] = number
    write(folder, "labels/a.png", numbers)
    return {"train": {"images": "images", "labels": "labels"}}


def a_range_of_ids(folder):
    labels, ids = truth()
    numbers = np.where(labels == 1, 100 + ids, np.where(labels == 2, 500 + ids, 0))
    write(folder, "labels/a.png", numbers.astype("uint16"))
    return {
        "train": {"images": "images", "labels": "labels"},
        "names": {0: "road", "1-499": "person", "500-999": "car"},
    }


def masks(folder):
    labels, _ = truth()
    write(folder, "labels/a.png", file_ids(labels))
    for number, (_, (top, left, bottom, right)) in enumerate(OBJECTS):
        mask = np.zeros(SIZE, "uint8")
        mask[top:bottom, left:right] = 255
        write(folder, f"masks/a/object{number}.png", mask)
    return {"train": {"images": "images", "labels": "labels", "instances": "masks"}}


def masks_in_a_list(folder):
    masks(folder)
    (folder / "train.txt").write_text("images/a.png labels/a.png masks/a/\n")
    return {"train": "train.txt"}


def coco(folder, segmentation, crowd=()):
    annotations = []
    for number, (name, box) in enumerate(OBJECTS):
        shape = {"id": number, "image_id": 3, "category_id": NAMES[name], "iscrowd": 0}
        annotations.append(shape | {"segmentation": segmentation(*box)})
    content = {
        "images": [{"id": 3, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [*annotations, *crowd],
        "categories": [{"id": i, "name": name} for name, i in NAMES.items() if name != "road"],
    }
    (folder / "objects.json").write_text(json.dumps(content))
    return {
        "train": {"images": "images", "annotations": "objects.json"},
        "names": ["background", "person", "car"],
    }


def coco_polygons(folder):
    return coco(
        folder,
        lambda top, left, bottom, right: [[left, top, right, top, right, bottom, left, bottom]],
    )


def runs(top, left, bottom, right):
    mask = np.zeros(SIZE, "uint8", order="F")
    mask[top:bottom, left:right] = 1
    packed = coco_mask.encode(mask)
    return {"size": list(SIZE), "counts": packed["counts"].decode()}


def coco_runs(folder):
    return coco(folder, runs)


WAYS = (
    ids_beside,
    ids_in_a_list,
    ids_in_pairs,
    cityscapes,
    a_range_of_ids,
    masks,
    masks_in_a_list,
    coco_polygons,
    coco_runs,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("converted", [False, True], ids=["as it is", "converted"])
def test_every_way_is_read_to_the_same_arrays(way, converted, tmp_path):
    data = load_data(describe(tmp_path, **way(tmp_path)))
    if converted:
        data = load_data(convert(data, tmp_path / "plain"))
    assert data.things == (1, 2)
    image, labels, ids = data.read_instances(data.files("train")[0])
    expected = truth()
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_array_equal(data.read(data.files("train")[0])[1], expected[0])
    # Ids count from 1 in the order of the numbers in the file, which differs.
    assert ids.dtype == np.int32 and image.shape == (*SIZE, 3)
    assert sorted(np.unique(ids)) == [0, 1, 2, 3, 4]
    pairs = {(int(a), int(b)) for a, b in zip(ids.ravel(), expected[1].ravel(), strict=True)}
    assert len(pairs) == 5 and (0, 0) in pairs


@pytest.mark.parametrize("kind", ["files", "masks", "plain names"])
def test_objects_of_one_class_need_no_label_files(kind, tmp_path):
    _, ids = truth()
    for number in range(1, 5) if kind == "masks" else ():
        write(tmp_path, f"ids/a/{number}.png", (ids == number).astype("uint8"))
    if kind != "masks":
        write(tmp_path, "ids/a.png", ids.astype("uint16"))
    key = "labels" if kind == "plain names" else "instances"
    content = {"train": {"images": "images", key: "ids"}}
    path = describe(tmp_path, **content, names=["background", "nucleus"], instances="nucleus")
    if kind == "plain names":
        with pytest.warns(UserWarning, match=r"number the objects.*1-65535: nucleus"):
            data = load_data(path)
    else:
        data = load_data(path)
    _, labels, found = data.read_instances(data.files("train")[0])
    np.testing.assert_array_equal(found, ids)
    np.testing.assert_array_equal(labels, ids > 0)


def test_ids_255_and_65535_are_objects_too(tmp_path):
    numbers = np.zeros(SIZE, "uint16")
    numbers[:4], numbers[8:12] = 255, 65535
    write(tmp_path, "ids/a.png", numbers)
    content = {"train": {"images": "images", "instances": "ids"}}
    data = load_data(describe(tmp_path, **content, names=["b", "cell"], instances=["cell"]))
    _, labels, ids = data.read_instances(data.files("train")[0])
    assert ids[0, 0] == 1 and ids[8, 0] == 2 and not ids[4:8].any()
    assert set(labels.ravel()) == {0, 1}


def test_crowds_are_ignored_and_no_object(tmp_path):
    crowd = {"id": 9, "image_id": 3, "category_id": 26, "iscrowd": 1}
    crowd["segmentation"] = {"size": list(SIZE), "counts": [0, 20, SIZE[0] * SIZE[1] - 20]}
    path = describe(tmp_path, **coco(tmp_path, runs, [crowd]))
    data = load_data(path)
    _, labels, ids = data.read_instances(data.files("train")[0])
    assert (labels[:, 0] == IGNORE_CLASS).all() and not ids[:, 0].any()
    assert (labels[:, 1:] == truth()[0][:, 1:]).all()
    # A network of classes alone learns it as its class.
    assert (data.read(data.files("train")[0])[1][:, 0] == 2).all()


def test_parts_of_one_group_are_one_object(tmp_path):
    boxes = ((0, 0, 4, 4, 5), (0, 10, 4, 14, 5), (0, 20, 4, 24, None), (8, 0, 12, 4, None))
    shapes = [
        {
            "label": "car",
            "points": [[left, top], [right, bottom]],
            "shape_type": "rectangle",
            "group_id": group,
        }
        for top, left, bottom, right, group in boxes
    ]
    content = {"imagePath": "a.png", "shapes": shapes, "imageHeight": 20, "imageWidth": 30}
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/a.json").write_text(json.dumps(content))
    train = {"images": "images", "annotations": "marks", "format": "labelme"}
    names = ["background", "car"]
    data = load_data(describe(tmp_path, train=train, names=names, instances=["car"]))
    ids = data.read_instances(data.files("train")[0])[2]
    assert [int(ids[top, left]) for top, left, *_ in boxes] == [1, 1, 2, 3] and ids.max() == 3


def test_a_thing_without_a_number_is_ignored(tmp_path):
    numbers = np.full(SIZE, 7, "uint16")
    numbers[:5], numbers[10:12] = 26, 26003  # a group of cars, as Cityscapes has it, and a car
    write(tmp_path, "labels/a.png", numbers)
    data = load_data(describe(tmp_path, train={"images": "images", "labels": "labels"}))
    _, labels, ids = data.read_instances(data.files("train")[0])
    assert (labels[:5] == IGNORE_CLASS).all() and (labels[10:12] == 2).all()
    assert set(ids[10:12].ravel()) == {1} and ids.max() == 1


def test_an_object_is_of_the_class_of_most_of_its_pixels():
    labels = np.array([[1, 1, 2, 0], [2, 2, 0, 0]], "uint8")
    numbers = np.array([[8, 8, 8, 8], [3, 3, 5, 5]])
    told = told_apart(labels, numbers, (1, 2))
    np.testing.assert_array_equal(told.ids, [[2, 2, 0, 0], [1, 1, 0, 0]])
    np.testing.assert_array_equal(told.label_map, [[1, 1, IGNORE_CLASS, 0], [2, 2, 0, 0]])
    assert told.unnamed == (5,) and told.ignored == 1


def test_without_an_object_all_is_stuff():
    told = told_apart(np.zeros((2, 3), "uint8"), np.zeros((2, 3), "int32"), (1,))
    assert not told.ids.any() and told.unnamed == () and told.ignored == 0


def test_labels_and_ids_are_turned_each_by_its_own_tag(tmp_path):
    content = ids_beside(tmp_path)
    path = describe(tmp_path, **content)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.full((*SIZE[::-1], 3), 90, "uint8"))
    image.save(tmp_path / "images/a.png", exif=exif)  # is shown as 20 x 30
    data = load_data(path)
    _, labels, ids = data.read_instances(data.files("train")[0])
    np.testing.assert_array_equal(labels, truth()[0])
    np.testing.assert_array_equal(ids, truth()[1])


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda ids: ids[:10], r"a_ids\.png: it is 30 x 10 pixels and its image a\.png is 30 x 20"),
        (lambda ids: ids.astype("int32") + 70000, r"a_ids\.png: it holds the id 70004"),
        (
            lambda ids: np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype("uint8"),
            r"a_ids\.png: it is an RGB file",
        ),
    ],
    ids=["size", "over 16 bits", "colours"],
)
def test_files_of_ids_follow_the_rules_of_label_files(spoil, said, tmp_path):
    path = describe(tmp_path, **ids_beside(tmp_path))
    spoiled = spoil(truth()[1].astype("uint16"))
    (tmp_path / "ids/a_ids.png").unlink()
    Image.fromarray(spoiled).save(
        tmp_path / "ids/a_ids.png", "TIFF" if spoiled.dtype == np.int32 else "PNG"
    )
    data = load_data(path)
    with pytest.raises(ValueError, match=said):
        data.read_instances(data.files("train")[0])
    with pytest.raises(ValueError, match=said):
        check_data(data, ["train"])
    assert any(problem.stops for problem in review(path).problems)


def test_masks_of_several_sizes_are_refused(tmp_path):
    path = describe(tmp_path, **masks(tmp_path))
    write(tmp_path, "masks/a/z.png", np.zeros((5, 5), "uint8"))
    data = load_data(path)
    with pytest.raises(ValueError, match=r"z\.png: it is 5 x 5 pixels and object0\.png is 30 x 20"):
        data.read_instances(data.files("train")[0])


@pytest.mark.parametrize(
    "content, said",
    [
        ({"instances": ["bus"]}, "instances names the class 'bus', which names does not list"),
        ({"instances": {"car": 1}}, "instances must be names of classes"),
        ({"instances": []}, "train says what tells objects apart, and the file not of which"),
        (
            {"train": {"images": "images", "instances": "ids"}},
            "train has instances and no labels, so all objects must be of one class",
        ),
        (
            {"train": {"images": "images", "annotations": "a.json", "instances": "ids"}},
            "train has instances and annotations",
        ),
    ],
)
def test_instances_that_cannot_be_are_refused(content, said, tmp_path):
    path = describe(tmp_path, **(ids_beside(tmp_path) | content))
    with pytest.raises(ValueError, match=said):
        load_data(path)


def test_an_image_without_ids_is_named(tmp_path):
    path = describe(tmp_path, **ids_beside(tmp_path))
    for folder, name in (("images", "b.png"), ("labels", "b_label.png")):
        write(tmp_path, f"{folder}/{name}", np.full(SIZE, 7, "uint8"))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"1 images? .* such as b"):
        load_data(path)


def test_labels_that_tell_nothing_apart_are_refused(tmp_path):
    write(tmp_path, "labels/a.png", file_ids(truth()[0]))
    path = describe(tmp_path, train={"images": "images", "labels": "labels"})
    with pytest.raises(ValueError, match="nothing tells its objects apart: label files hold 24"):
        load_data(path)


def test_data_without_instances_refuses_to_read_them(tmp_path):
    write(tmp_path, "labels/a.png", file_ids(truth()[0]))
    content = {"train": {"images": "images", "labels": "labels"}, "instances": []}
    data = load_data(describe(tmp_path, **content))
    assert data.things == ()
    with pytest.raises(ValueError, match="does not tell objects apart"):
        data.read_instances(data.files("train")[0])
    with pytest.raises(ValueError, match="does not tell objects apart"):
        data.split("train", instances=True)


def test_no_object_in_train_stops(tmp_path):
    write(tmp_path, "labels/a.png", np.full(SIZE, 7, "uint8") + np.eye(*SIZE, dtype="uint8"))
    content = {"train": {"images": "images", "labels": "labels"}}
    names = {7: "road", 8: "walk", 26: "car"}
    path = describe(tmp_path, **content, names=names, instances=["car"])
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="in train, no image has an ob"):
        check_data(load_data(path), ["train"])
    assert any(
        p.stops and "no image has an object of car" in p.reason for p in review(path).problems
    )


def test_the_check_says_what_is_odd_about_objects(tmp_path):
    path = describe(tmp_path, **masks(tmp_path))
    stray = np.zeros(SIZE, "uint8")
    stray[19, 29] = 1  # on the road
    write(tmp_path, "masks/a/x.png", stray)
    parted = truth()[0] * 0
    parted[2, 2:20] = parted[14, 20:28] = 255  # over two cars, and a third one
    write(tmp_path, "masks/a/y.png", parted)
    (tmp_path / "masks/a/object3.png").unlink()
    found = {problem.reason: problem for problem in review(path).problems}
    text = "\n".join(found)
    assert "objects overlap: 42 pixels are of several" in text
    assert "no pixel of object 4 is of a class in instances (person, car)" in text
    assert "object 4 (counted in their order) lies in several pieces" in text
    assert "24 pixels of person, car are of no object, so they are ignored" in text
    assert not any(problem.stops for problem in found.values())
    assert review(path).objects == {"train": 4}


def test_pieces_touch_at_corners_too():
    ids = np.array(
        [
            [1, 0, 1, 2, 2],
            [0, 1, 0, 0, 3],
            [1, 0, 0, 3, 0],
            [0, 0, 2, 0, 3],
        ]
    )
    np.testing.assert_array_equal(pieces(ids, 3), [1, 2, 1])
    ring = np.ones((5, 5), int)
    ring[1:4, 1:4] = 0
    np.testing.assert_array_equal(pieces(ring, 1), [1])
    np.testing.assert_array_equal(pieces(np.zeros((3, 3), int), 0), [])


def test_pieces_are_those_of_a_flood_fill():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (24, 31))
    expected = []
    for value in (1, 2):
        left, count = {tuple(p) for p in np.argwhere(ids == value)}, 0
        while left:
            count, waiting = count + 1, [left.pop()]
            while waiting:
                y, x = waiting.pop()
                near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
                left -= near
                waiting += near
        expected.append(count)
    np.testing.assert_array_equal(pieces(ids, 2), expected)


def test_nuclei_are_told_apart(nuclei, tmp_path):
    content = {"path": str(nuclei), "train": "train.txt", "val": "val.txt"}
    data = load_data(
        describe(
            tmp_path, **content, names={0: "background", "1-65535": "nucleus"}, instances="nucleus"
        )
    )
    pair = data.files("val")[0]
    _, labels, ids = data.read_instances(pair)
    with Image.open(pair.label_file) as stored:
        np.testing.assert_array_equal(ids, np.asarray(stored))
    np.testing.assert_array_equal(labels, ids > 0)


def test_an_id_that_is_ignored_is_no_object(tmp_path):
    labels = np.zeros(SIZE, "uint8")
    labels[2:6, 2:6], labels[10:14, 2:6], labels[:, 20:] = 1, 2, 255
    write(tmp_path, "labels/a.png", labels)
    content = {"train": {"images": "images", "labels": "labels"}, "names": ["background", "cell"]}
    path = describe(tmp_path, **content, instances="cell", ignore=255)
    with pytest.warns(UserWarning, match="number the objects"):
        data = load_data(path)
    _, label_map, ids = data.read_instances(data.files("train")[0])
    assert (label_map[:, 20:] == IGNORE_CLASS).all() and not ids[:, 20:].any()
    assert sorted(np.unique(ids)) == [0, 1, 2]


def test_the_first_number_is_an_object_where_0_is_ignored(tmp_path):
    labels = np.zeros(SIZE, "uint8")
    labels[2:6, 2:6], labels[10:14, 2:6], labels[:, 20:] = 1, 2, 200
    write(tmp_path, "labels/a.png", labels)
    path = describe(
        tmp_path,
        train={"images": "images", "labels": "labels"},
        names={1: "cell", 200: "background"},
        instances="cell",
        ignore=0,
    )
    with pytest.warns(UserWarning, match="number the objects"):
        data = load_data(path)
    assert set(np.unique(data.read_instances(data.files("train")[0])[2])) >= {1, 2}


def test_an_ignored_colour_stands_beside_objects(tmp_path):
    labels, ids = truth()
    colors = np.array([(90, 90, 90), (230, 40, 30), (40, 60, 220)], "uint8")
    picture = colors[labels]
    picture[:2] = 0
    write(tmp_path, "labels/a.png", picture)
    write(tmp_path, "ids/a.png", ids.astype("uint16"))
    path = describe(
        tmp_path,
        train={"images": "images", "labels": "labels", "instances": "ids"},
        names=["road", "person", "car"],
        colors=colors.tolist(),
        ignore=[[0, 0, 0]],
    )
    data = load_data(path)
    _, label_map, found = data.read_instances(data.files("train")[0])
    assert (label_map[:2] == IGNORE_CLASS).all() and (label_map[2:] == labels[2:]).all()
    np.testing.assert_array_equal(found > 0, ids > 0)
