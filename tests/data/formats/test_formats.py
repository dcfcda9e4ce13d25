"""One scene of rectangles in every format of shapes: each is drawn to the same label map."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from kseg.data.formats import FORMATS

SIZE = (24, 32)  # height, width
IDS = {"background": 0, "car": 1, "tree": 2}
# class, left, top, right, bottom in pixels; the second lies over the first
BOXES = [("car", 2, 3, 14, 12), ("tree", 8, 8, 20, 20), ("car", 24, 1, 32, 24)]


def truth():
    labels = np.zeros(SIZE, "uint8")
    for name, left, top, right, bottom in BOXES:
        labels[top:bottom, left:right] = IDS[name]
    return labels


def corners(box):
    _, left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def bitmap(box):
    _, left, top, right, bottom = box
    mask = np.zeros(SIZE, "uint8")
    mask[top:bottom, left:right] = 1
    return mask


def coco(folder, segmentation):
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 3, "name": "car"}, {"id": 9, "name": "tree"}],
        "annotations": [
            {
                "image_id": 7,
                "category_id": {"car": 3, "tree": 9}[box[0]],
                "segmentation": segmentation(box),
            }
            for box in BOXES
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return "coco", folder / "instances.json"


def compressed(box):
    runs = coco_mask.encode(np.asfortranarray(bitmap(box)))
    return {"size": list(SIZE), "counts": runs["counts"].decode()}


def uncompressed(box):
    flat = bitmap(box).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(SIZE), "counts": ([0] if flat[0] else []) + counts}


def labelme(folder, shape):
    content = {
        "shapes": [{"label": box[0], **shape(box)} for box in BOXES],
        "imagePath": "..\\images\\a.png",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return "labelme", folder


def labelme_mask(box):
    _, left, top, right, bottom = box
    stream = io.BytesIO()
    Image.fromarray(np.full((bottom - top, right - left), 255, "uint8")).save(stream, "PNG")
    mask = base64.b64encode(stream.getvalue()).decode()
    points = [[left, top], [right - 1, bottom - 1]]
    return {"shape_type": "mask", "points": points, "mask": mask}


def yolo(folder):
    lines = [
        " ".join(
            map(str, [IDS[box[0]] - 1, *(np.array(corners(box)) / (SIZE[1], SIZE[0])).ravel()])
        )
        for box in BOXES
    ]
    (folder / "a.txt").write_text("\n".join(lines))
    return "yolo", folder


def cvat(folder, shape):
    labels = "".join(
        f"<label><name>{n}</name><color>#0a0b0c</color></label>" for n in ("car", "tree")
    )
    shapes = "".join(shape(box) for box in BOXES)
    (folder / "annotations.xml").write_text(
        f"<annotations><meta><task><labels>{labels}</labels></task></meta>"
        f'<image id="0" name="a.png" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image>'
        "</annotations>"
    )
    return "cvat", folder / "annotations.xml"


def cvat_polygon(box):
    points = ";".join(f"{x},{y}" for x, y in corners(box))
    return f'<polygon label="{box[0]}" points="{points}" z_order="0"/>'


def cvat_box(box):
    name, left, top, right, bottom = box
    return f'<box label="{name}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"/>'


def cvat_turned(box):
    """The same rectangle, stored lying and turned by a right angle about its middle."""
    name, left, top, right, bottom = box
    x, y, width, height = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    sides = (x - height / 2, y - width / 2, x + height / 2, y + width / 2)
    keys = ("xtl", "ytl", "xbr", "ybr")
    places = " ".join(f'{key}="{side}"' for key, side in zip(keys, sides, strict=True))
    return f'<box label="{name}" {places} rotation="90.0"/>'


def cvat_mask(box):
    name, left, top, right, bottom = box
    area = (right - left + 1) * (bottom - top)  # a column of pixels outside on the left
    runs = ", ".join(f"1, {right - left}" for _ in range(bottom - top))
    assert area
    return (
        f'<mask label="{name}" rle="{runs}" left="{left - 1}" top="{top}" '
        f'width="{right - left + 1}" height="{bottom - top}"/>'
    )


def label_studio(folder, result):
    content = [
        {
            "data": {"image": "/data/upload/3/0a1b2c3d-a.png"},
            "annotations": [{"result": [result(box) for box in BOXES]}],
        }
    ]
    (folder / "export.json").write_text(json.dumps(content))
    return "label_studio", folder / "export.json"


def percent(box):
    points = (np.array(corners(box)) / (SIZE[1], SIZE[0]) * 100).tolist()
    return {"type": "polygonlabels", "value": {"points": points, "polygonlabels": [box[0]]}}


def turned_percent(box):
    """The same rectangle from its top right corner, turned clockwise about that."""
    name, left, top, right, bottom = box
    across, down = 100 / SIZE[1], 100 / SIZE[0]
    value = {"x": right * across, "y": top * down, "rotation": 90, "rectanglelabels": [name]}
    value |= {"width": (bottom - top) * across, "height": (right - left) * down}
    size = {"original_width": SIZE[1], "original_height": SIZE[0]}
    return {"type": "rectanglelabels", "value": value, **size}


def brush(box):
    """Label Studio's runs, each value on its own: the least clever encoder."""
    rgba = np.zeros((*SIZE, 4), "uint8")
    rgba[..., 3] = bitmap(box) * 255
    bits = f"{rgba.size:032b}" + f"{7:05b}" + "".join(f"{n:04b}" for n in (2, 3, 7, 15))
    values = rgba.ravel()
    starts = [0, *(np.flatnonzero(np.diff(values.astype(int))) + 1).tolist(), values.size]
    for start, end in itertools.pairwise(starts):
        bits += "1" + "11" + f"{end - start - 1:016b}" + f"{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    runs = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    value = {"format": "rle", "rle": runs, "brushlabels": [box[0]]}
    size = {"original_width": SIZE[1], "original_height": SIZE[0]}
    return {"type": "brushlabels", "value": value, **size}


CASES = {
    "coco, polygons": lambda f: coco(f, lambda b: [np.ravel(corners(b)).tolist()]),
    "coco, runs": lambda f: coco(f, compressed),
    "coco, plain runs": lambda f: coco(f, uncompressed),
    "labelme, polygons": lambda f: labelme(f, lambda b: {"points": corners(b)}),
    "labelme, rectangles": lambda f: labelme(
        f, lambda b: {"shape_type": "rectangle", "points": [corners(b)[2], corners(b)[0]]}
    ),
    "labelme, masks": lambda f: labelme(f, labelme_mask),
    "yolo": yolo,
    "cvat, polygons": lambda f: cvat(f, cvat_polygon),
    "cvat, boxes": lambda f: cvat(f, cvat_box),
    "cvat, turned boxes": lambda f: cvat(f, cvat_turned),
    "cvat, masks": lambda f: cvat(f, cvat_mask),
    "label studio, polygons": lambda f: label_studio(f, percent),
    "label studio, turned boxes": lambda f: label_studio(f, turned_percent),
    "label studio, brush": lambda f: label_studio(f, brush),
}


@pytest.mark.parametrize("case", CASES)
def test_every_format_draws_the_same_label_map(tmp_path, case):
    images, annotations = tmp_path / "images", tmp_path / "annotations"
    images.mkdir()
    annotations.mkdir()
    Image.new("RGB", SIZE[::-1]).save(images / "a.png")
    name, path = CASES[case](annotations)
    read = FORMATS[name](path, images, ("car", "tree"))
    assert read.names == ("background", "car", "tree")
    assert read.missing == ()
    (drawing,) = read.drawings.values()
    np.testing.assert_array_equal(drawing.draw(SIZE, IDS), truth())
    assert list(read.drawings) == [images / "a.png"]


def _drawn(folder, name, path, size=SIZE):
    Image.new("RGB", size[::-1]).save(folder / "a.png")
    (drawing,) = FORMATS[name](path, folder, ("car", "tree")).drawings.values()
    return drawing.draw(size, IDS)


def test_ellipses_cover_what_lies_within_them(tmp_path):
    def in_cvat(box):
        return f'<ellipse label="{box[0]}" cx="16" cy="12" rx="4" ry="10" rotation="90"/>'

    def in_label_studio(box):
        value = {"x": 50, "y": 50, "radiusX": 12.5, "radiusY": 1000 / 24, "rotation": 90}
        size = {"original_width": SIZE[1], "original_height": SIZE[0]}
        return {"type": "ellipselabels", "value": {**value, "ellipselabels": [box[0]]}, **size}

    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = ((x - 16) / 10) ** 2 + ((y - 12) / 4) ** 2 <= 1
    for name, path in (cvat(tmp_path, in_cvat), label_studio(tmp_path, in_label_studio)):
        assert np.mean((_drawn(tmp_path, name, path) > 0) == inside) > 0.97


@pytest.mark.parametrize("shape", ["polyline", "points", "skeleton"])
def test_shapes_without_area_are_refused(tmp_path, shape):
    name, path = cvat(tmp_path, lambda box: f'<{shape} label="car" points="1,1;5,5"/>')
    with pytest.raises(ValueError, match=f"a {shape} covers no area; draw a polygon"):
        FORMATS[name](path, tmp_path, ())


def test_a_brush_is_of_its_image(tmp_path):
    name, path = label_studio(tmp_path, brush)
    with pytest.raises(ValueError, match="drawn on an image of 32 x 24 pixels"):
        _drawn(tmp_path, name, path, (48, 64))


def test_a_polygon_far_outside_is_refused(tmp_path):
    name, path = coco(tmp_path, lambda box: [[1, 1, 5e10, 1, 5, 9]])
    with pytest.raises(ValueError, match="reaches more than 100 times the image's size beyond it"):
        _drawn(tmp_path, name, path)


def test_names_in_addresses_of_label_studio_are_read(tmp_path):
    name, path = label_studio(tmp_path, percent)
    content = json.loads(path.read_text())
    content[0]["data"] = {"note": "p7", "image": "/data/local-files/?d=in%20here/a%20b.png"}
    path.write_text(json.dumps(content))
    (tmp_path / "in here").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "in here/a b.png")
    assert list(FORMATS[name](path, tmp_path, ()).drawings) == [tmp_path / "in here/a b.png"]


def test_hidden_files_are_no_images_of_yolo(tmp_path):
    for place in (".ipynb_checkpoints/a.png", "._a.png", "a.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(tmp_path / place)
    assert list(FORMATS["yolo"](tmp_path, tmp_path, ("car",)).drawings) == [tmp_path / "a.png"]
