"""The splits of annotated images, where one source of shapes has the images of several."""

from pathlib import Path

from kseg.data.formats.drawing import Annotated
from kseg.data.layouts.found import split_named, splits_of_names


def subsets_of(read: Annotated, images: Path, place: Path) -> dict[Path, str]:
    """Returns the split of each annotated image.

    It is what the annotations say (CVAT's `subset`, or the folder of the image's name), or else
    the folder of the image, or that of its annotation file; and where no image has any of these,
    the first word of its name, if all images begin so and not all with the same.

    Args:
        read: What the annotations say.
        images: The folder of the images.
        place: The annotation file, or the folder of such files.

    Returns:
        Image file to "train", "val" or "test"; "train" for an image that says none while others
        do. {} where no image says one.
    """
    found: dict[Path, str | None] = {}
    for image, drawing in read.drawings.items():
        parts = [*read.subsets.get(image, ()), *image.relative_to(images).parts[-2::-1]]
        if drawing.source.is_relative_to(place):
            parts += drawing.source.relative_to(place).parts[-2::-1]
        found[image] = split_named(parts)
    if not any(found.values()):
        named = splits_of_names(list(found)) or []
        return dict(zip(found, named, strict=True)) if named else {}
    return {image: split or "train" for image, split in found.items()}
