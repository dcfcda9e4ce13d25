"""YOLO segmentation: `data.yaml`, and a text file of polygons for each image.

Source: https://docs.ultralytics.com/datasets/segment.
"""

from pathlib import Path

from kseg.data.formats.drawing import Annotated, Drawing, Shape, outline, with_background
from kseg.data.opening import ENDINGS
from kseg.safe_files import files_in, read_text

_LIMIT = 50_000_000


def read_yolo(path: Path, images: Path, names: tuple[str, ...]) -> Annotated:
    """Reads the polygons of a folder of images.

    Args:
        path: The folder of the text files; each has the stem of its image, at the same depth.
        images: The folder of the images.
        names: The classes of the ids in the text files.

    Returns:
        The shapes of all images. An image without a text file, or with an empty one, is all
        background.

    Raises:
        ValueError: If a line is not a class and a polygon of numbers from 0 to 1.
    """
    files = sorted(
        file
        for file in files_in(images)
        if file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(images).parts)
    )
    drawings = {}
    for image in files:
        file = path / image.relative_to(images).with_suffix(".txt")
        drawings[image] = Drawing(file, _shapes(file, names), relative=True)
    return Annotated(with_background(list(names)), drawings)


def _shapes(file: Path, names: tuple[str, ...]) -> tuple[Shape, ...]:
    if not file.exists():
        return ()
    shapes = []
    for number, line in enumerate(read_text(file, limit=_LIMIT).splitlines(), start=1):
        where, parts = f"{file}, line {number}", line.split()
        if not parts:
            continue
        try:
            identity, points = int(parts[0]), [float(part) for part in parts[1:]]
        except ValueError:
            raise ValueError(f"{where}: it must be numbers: a class, then x y x y ...") from None
        if len(points) == 4:
            raise ValueError(
                f"{where}: it is a box (x, y, width, height), not a polygon; kseg needs outlines."
            )
        if not 0 <= identity < len(names):
            raise ValueError(
                f"{where}: its class is {identity}; names go from 0 to {len(names) - 1}."
            )
        if points and not (min(points) >= -0.01 and max(points) <= 1.01):
            raise ValueError(
                f"{where}: points must go from 0 to 1, as shares of the image's sides."
            )
        shapes.append(Shape(names[identity], (outline(points, where),)))
    return tuple(shapes)
