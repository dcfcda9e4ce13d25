"""One set of labelled images, written in every layout that is known."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

NAMES = ("background", "car", "tree")
COLORS = ((0, 0, 0), (220, 40, 30), (30, 160, 60))
TRAIN, VAL = 6, 2
SIZE = (24, 32)  # height, width


class Scene:
    """An image with its label map, and the boxes that it is made of."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.stem, self.split = f"scene{seed:02}", "train" if seed < TRAIN else "val"
        self.labels = np.zeros(SIZE, "uint8")
        self.boxes = []
        for class_id in (1, 2):
            top, left = int(rng.integers(0, 10)), int(rng.integers(0, 14))
            bottom, right = top + int(rng.integers(6, 12)), left + int(rng.integers(8, 16))
            self.labels[top:bottom, left:right] = class_id
            self.boxes.append((class_id, left, top, right, bottom))
        light = np.array([(90, 90, 90), (220, 60, 50), (50, 170, 80)])[self.labels]
        self.image = (light + rng.integers(-20, 21, (*SIZE, 3))).clip(0, 255).astype("uint8")

    def corners(self, box):
        _, left, top, right, bottom = box
        return [[left, top], [right, top], [right, bottom], [left, bottom]]


SCENES = tuple(Scene(seed) for seed in range(TRAIN + VAL))


def save(path, array, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:
        picture.putpalette(np.array(COLORS, "uint8").tobytes())
    picture.save(path)


def colored(labels):
    return np.array(COLORS, "uint8")[labels]


def split_folders(folder):
    for s in SCENES:
        save(folder / s.split / "images" / f"{s.stem}.png", s.image)
        save(folder / s.split / "masks" / f"{s.stem}.png", s.labels)


def nested_folders(folder):
    for number, s in enumerate(SCENES):
        save(folder / "images" / s.split / f"day{number % 2}" / f"{s.stem}.png", s.image)
        save(folder / "labels" / s.split / f"day{number % 2}" / f"{s.stem}_label.png", s.labels)


def one_folder(folder, end="_mask"):
    for s in SCENES:
        save(folder / f"{s.stem}.png", s.image)
        save(folder / f"{s.stem}{end}.png", s.labels)


def prefixed(folder):
    for s in SCENES:
        save(folder / "img" / f"img_{s.stem}.png", s.image)
        save(folder / "gt" / f"mask_{s.stem}.png", s.labels)


def color_coded(folder):
    for s in SCENES:
        save(folder / "images" / f"{s.stem}.png", s.image)
        save(folder / "masks" / f"{s.stem}.png", colored(s.labels))
    lines = [
        "name,r,g,b",
        *(f"{n},{r},{g},{b}" for n, (r, g, b) in zip(NAMES, COLORS, strict=True)),
    ]
    (folder / "class_dict.csv").write_text("\n".join(lines))


def list_of_pairs(folder):
    lines = {"train": [], "val": []}
    for s in SCENES:
        save(folder / "a" / f"{s.stem}.png", s.image)
        save(folder / "b" / f"{s.stem}.png", s.labels)
        lines[s.split].append(f"a/{s.stem}.png b/{s.stem}.png\n")
    for split, listed in lines.items():
        (folder / f"{split}.txt").write_text("".join(listed))


def list_of_stems(folder):
    for s in SCENES:
        save(folder / "images" / f"{s.stem}.png", s.image)
        save(folder / "masks" / f"{s.stem}.png", s.labels)
    for split in ("train", "val"):
        (folder / f"{split}.txt").write_text(
            "".join(f"{s.stem}\n" for s in SCENES if s.split == split)
        )


def voc(folder):
    for s in SCENES:
        save(folder / "VOC2012/JPEGImages" / f"{s.stem}.png", s.image)
        save(folder / "VOC2012/SegmentationClass" / f"{s.stem}.png", s.labels, palette=True)
    lists = folder / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        stems = [s.stem for s in SCENES if s.split == split]
        (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")


def cvat_masks(folder):
    """CVAT's "Segmentation mask 1.1": Pascal VOC with a labelmap.txt."""
    for s in SCENES:
        save(folder / "JPEGImages" / f"{s.stem}.png", s.image)
        save(folder / "SegmentationClass" / f"{s.stem}.png", colored(s.labels))
    lines = ["# label:color_rgb:parts:actions"]
    lines += [f"{n}:{r},{g},{b}::" for n, (r, g, b) in zip(NAMES, COLORS, strict=True)]
    (folder / "labelmap.txt").write_text("\n".join(lines))


def cityscapes(folder):
    ids = np.array([7, 26, 21], "uint8")  # road, car, vegetation
    for s in SCENES:
        stem = f"bonn_{s.stem}"
        save(folder / f"leftImg8bit/{s.split}/bonn/{stem}_leftImg8bit.png", s.image)
        save(folder / f"gtFine/{s.split}/bonn/{stem}_gtFine_labelIds.png", ids[s.labels])
        save(folder / f"gtFine/{s.split}/bonn/{stem}_gtFine_color.png", colored(s.labels))


def camvid(folder):
    """Cambridge's own form: colours, with names in label_colors.txt."""
    for s in SCENES:
        save(folder / "701_StillsRaw_full" / f"{s.stem}.png", s.image)
        save(folder / "LabeledApproved_full" / f"{s.stem}_L.png", colored(s.labels))
    lines = [f"{r} {g} {b}\t\t{n}" for n, (r, g, b) in zip(NAMES, COLORS, strict=True)]
    (folder / "label_colors.txt").write_text("\n".join([*lines, "10 20 30\t\tVoid"]))


def segnet_camvid(folder):
    for s in SCENES:
        save(folder / s.split / f"{s.stem}.png", s.image)
        save(folder / f"{s.split}annot" / f"{s.stem}.png", s.labels)


def _coco(scenes, names):
    images, annotations = [], []
    for number, s in enumerate(scenes):
        images.append({"id": number, "file_name": names(s), "height": SIZE[0], "width": SIZE[1]})
        for box in s.boxes:
            flat = [value for point in s.corners(box) for value in point]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 10 * box[0],
                    "segmentation": [flat],
                }
            )
    categories = [{"id": 10, "name": "car"}, {"id": 20, "name": "tree"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def coco(folder):
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        scenes = [s for s in SCENES if s.split == split]
        for s in scenes:
            save(folder / f"{split}2017" / f"{s.stem}.png", s.image)
        (folder / f"annotations/instances_{split}2017.json").write_text(
            _coco(scenes, lambda s: f"{s.stem}.png")
        )


def roboflow_coco(folder):
    for split, name in (("train", "train"), ("val", "valid")):
        scenes = [s for s in SCENES if s.split == split]
        for s in scenes:
            save(folder / name / f"{s.stem}.png", s.image)
        (folder / name / "_annotations.coco.json").write_text(
            _coco(scenes, lambda s: f"{s.stem}.png")
        )


def labelme(folder):
    for s in SCENES:
        save(folder / s.split / f"{s.stem}.png", s.image)
        shapes = [
            {"label": NAMES[box[0]], "points": s.corners(box), "shape_type": "polygon"}
            for box in s.boxes
        ]
        content = {"shapes": shapes, "imagePath": f"{s.stem}.png"}
        content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "imageData": None}
        (folder / s.split / f"{s.stem}.json").write_text(json.dumps(content))


def yolo(folder, name=None):
    names = {"train": "train", "val": "valid"}
    for s in SCENES:
        place = folder / names[s.split]
        save(place / "images" / f"{s.stem}.png", s.image)
        (place / "labels").mkdir(exist_ok=True)
        lines = []
        for box in s.boxes:
            points = (np.array(s.corners(box)) / (SIZE[1], SIZE[0])).ravel()
            lines.append(" ".join([str(box[0] - 1), *(f"{p:.9f}" for p in points)]))
        (place / "labels" / f"{s.stem}.txt").write_text("\n".join(lines))
    content = {"train": "../train/images", "val": "../valid/images", "nc": 2}
    (folder / "data.yaml").write_text(yaml.safe_dump(content | {"names": ["car", "tree"]}))


def cvat(folder):
    lines = ["<annotations><meta><job><labels>"]
    for name in NAMES[1:]:
        lines.append(f"<label><name>{name}</name><type>any</type></label>")
    lines.append("</labels></job></meta>")
    for number, s in enumerate(SCENES):
        save(folder / "images" / f"{s.stem}.png", s.image)
        lines.append(
            f'<image id="{number}" name="{s.stem}.png" width="{SIZE[1]}" height="{SIZE[0]}">'
        )
        for order, box in enumerate(s.boxes):
            points = ";".join(f"{x}.0,{y}.0" for x, y in s.corners(box))
            lines.append(f'<polygon label="{NAMES[box[0]]}" points="{points}" z_order="{order}"/>')
        lines.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def label_studio(folder):
    tasks = []
    for number, s in enumerate(SCENES):
        save(folder / "images" / f"{s.stem}.png", s.image)
        results = [
            {
                "type": "polygonlabels",
                "original_width": SIZE[1],
                "original_height": SIZE[0],
                "value": {
                    "points": (np.array(s.corners(box)) / (SIZE[1], SIZE[0]) * 100).tolist(),
                    "polygonlabels": [NAMES[box[0]]],
                },
            }
            for box in s.boxes
        ]
        tasks.append(
            {
                "id": number,
                "data": {"image": f"/data/upload/1/0123abcd-{s.stem}.png"},
                "annotations": [{"result": results}],
            }
        )
    (folder / "project.json").write_text(json.dumps(tasks))


LAYOUTS = {
    "split folders": split_folders,
    "nested folders": nested_folders,
    "one folder, _mask": one_folder,
    "one folder, _L": lambda folder: one_folder(folder, "_L"),
    "one folder, _gt": lambda folder: one_folder(folder, "_gt"),
    "prefixes": prefixed,
    "colours": color_coded,
    "list of pairs": list_of_pairs,
    "list of stems": list_of_stems,
    "Pascal VOC": voc,
    "CVAT masks": cvat_masks,
    "Cityscapes": cityscapes,
    "CamVid": camvid,
    "CamVid of SegNet": segnet_camvid,
    "COCO": coco,
    "COCO of Roboflow": roboflow_coco,
    "labelme": labelme,
    "YOLO": yolo,
    "CVAT": cvat,
    "Label Studio": label_studio,
}


def written(name, folder):
    """Writes the scenes in a layout, and returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name](folder)
    return folder
