"""COCO's JSON: polygons and runs (RLE), all images in one file.

Source: https://cocodataset.org/#format-data.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kseg.data.formats.drawing import Annotated, Drawing, Shape, outline, with_background
from kseg.data.formats.finding import LARGEST_JSON, folders_of_name, locate
from kseg.safe_files import read_json

_DEPTH = 12


def is_coco(content: Any) -> bool:
    """Returns whether parsed JSON looks like COCO's."""
    keys = ("images", "annotations", "categories")
    return isinstance(content, dict) and all(isinstance(content.get(k), list) for k in keys)


def read_coco(path: Path, images: Path) -> Annotated:
    """Reads an annotation file.

    Args:
        path: The JSON file.
        images: The folder that its file names are relative to.

    Returns:
        The shapes of all its images. An image without annotations is all background. The region
        of a crowd (`iscrowd`) has the class of its objects, and is no object.

    Raises:
        ValueError: If the file is not COCO's, or an annotation has neither polygons nor runs.
    """
    content = read_json(path, limit=LARGEST_JSON, depth=_DEPTH)
    if not is_coco(content):
        raise ValueError(
            f"{path}: COCO's JSON has the lists images, annotations and categories; this has not."
        )
    try:
        names = {c["id"]: str(c["name"]) for c in content["categories"]}
        sizes = {i["id"]: (int(i["height"]), int(i["width"])) for i in content["images"]}
        shapes: dict[Any, list[Shape]] = {identity: [] for identity in sizes}
        for number, annotation in enumerate(content["annotations"]):
            identity, where = annotation["image_id"], f"{path}, annotation {number}"
            if identity not in shapes:
                raise ValueError(f"{where}: there is no image with the id {identity!r}.")
            name = names.get(annotation["category_id"])
            if name is None:
                raise ValueError(f"{where}: its category_id is not among the categories.")
            shape = _shape(name, annotation.get("segmentation"), sizes[identity], where)
            shapes[identity].append(replace(shape, crowd=bool(annotation.get("iscrowd"))))
        files: dict[str, Any] = {}
        for image in content["images"]:
            if files.setdefault(str(image["file_name"]), image["id"]) != image["id"]:
                raise ValueError(
                    f"{path}: two of its images have the file_name {image['file_name']!r}; give "
                    "each its own, with its folder where the name alone is not enough."
                )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: an entry is incomplete or of another kind: {error}.") from None
    found, missing = locate(images, list(files))
    drawings = {
        file: Drawing(path, tuple(shapes[files[name]]), sizes[files[name]])
        for name, file in found.items()
    }
    ordered = [names[identity] for identity in sorted(names)]
    subsets = {file: folders_of_name(name) for name, file in found.items()}
    return Annotated(with_background(ordered), drawings, missing, subsets=subsets)


def _shape(name: str, segmentation: Any, size: tuple[int, int], where: str) -> Shape:
    if isinstance(segmentation, list) and segmentation:
        return Shape(name, tuple(outline(polygon, where) for polygon in segmentation))
    if isinstance(segmentation, dict):
        return Shape(name, bitmap=_runs(segmentation, size, where))
    raise ValueError(
        f"{where}: it has no segmentation, only a box maybe; kseg needs polygons or runs (RLE)."
    )


def _runs(segmentation: dict[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    counts, given, wanted = segmentation.get("counts"), segmentation.get("size"), list(size)
    if given != wanted:
        raise ValueError(f"{where}: its runs are of the size {given}; the image's is {wanted}.")
    if isinstance(counts, list):
        if not all(type(c) is int and c >= 0 for c in counts) or sum(counts) != size[0] * size[1]:
            raise ValueError(f"{where}: its runs do not add up to the pixels of the image.")
        # Runs go down the columns and begin with pixels outside.
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return inside.reshape(size, order="F")
    try:
        return coco_mask.decode({"size": wanted, "counts": counts}).astype(bool)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where}: its runs cannot be decoded ({error}).") from None
