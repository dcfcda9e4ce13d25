"""What `kseg predict` writes: which files, whole or not at all, and nothing twice."""

import contextlib
import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kseg.classes import Classes
from kseg.data.label_files import count
from kseg.data.transforms import fit_inside, resize
from kseg.polygons import coco, find_regions, geojson
from kseg.sources import Source
from kseg.training.writing import sync, telling_of_full_disks
from kseg.visualize import legend, overlay

if TYPE_CHECKING:
    from kseg.instances import Instances

ENDINGS = {
    "palette": ".labels.png",
    "instances": ".instances.png",
    "overlay": ".overlay.png",
    "labels": ".ids.png",
    "geojson": ".geojson",
    "coco": ".coco.json",
    "csv": ".csv",
}
_OVERLAY = (2048, 2048)  # larger images are shrunk under their colours
_LETTERS = 800  # pixels; wider pictures have a legend in larger letters
_STRIP = 256  # rows
_LEGEND = 160  # pixels, at least


def targets(folder: Path, output: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Returns the files of an image, by kind."""
    return {kind: folder / output.with_name(output.name + ENDINGS[kind]) for kind in kinds}


def present(folder: Path, source: Source, kinds: Sequence[str]) -> list[Path]:
    """Returns which outputs of a source are there; of a video, the folder of its frames."""
    if source.is_video:
        wanted = [folder / source.output]
    else:
        wanted = list(targets(folder, source.output, kinds).values())
    return [path for path in wanted if os.path.lexists(path)]


def content_of(
    kind: str,
    image: np.ndarray,
    found: "np.ndarray | Instances",
    classes: Classes,
    name: str,
) -> bytes:
    """Returns the bytes of an output.

    Args:
        kind: One of ENDINGS; "instances" where objects are told apart.
        image: The image, uint8 (H, W, channels).
        found: Its label map, uint8 (H, W), or its objects, as which the kinds but "labels" and
            "palette" are written.
        classes: The classes.
        name: The image's name.
    """
    labels = found if isinstance(found, np.ndarray) else found.label_map
    if kind == "labels":
        return _png(Image.fromarray(labels))
    if kind == "palette":
        picture = Image.fromarray(labels)
        picture.putpalette(classes.palette())
        return _png(picture)
    if not isinstance(found, np.ndarray):
        return _objects(kind, image, found, classes, name)
    if kind == "overlay":
        return _png(_overlay_with_legend(image, labels, classes))
    if kind == "csv":
        return _csv(labels, classes, name).encode()
    regions = find_regions(labels, classes.num_classes)
    if kind == "geojson":
        return json.dumps(geojson(regions, classes)).encode()
    size = labels.shape[0], labels.shape[1]
    return json.dumps(coco(regions, classes, name, size)).encode()


def _objects(
    kind: str, image: np.ndarray, found: "Instances", classes: Classes, name: str
) -> bytes:
    from kseg.instances import draw_instances
    from kseg.instances.object_files import objects_coco, objects_csv, objects_geojson

    if kind == "instances":
        return _png(Image.fromarray(found.ids))
    if kind == "overlay":
        return _png(Image.fromarray(draw_instances(image, found, classes)))
    if kind == "csv":
        return objects_csv(found, classes, name).encode()
    if kind == "geojson":
        return json.dumps(objects_geojson(found, classes)).encode()
    return json.dumps(objects_coco(found, classes, name)).encode()


def write_whole(folder: Path, path: Path, content: bytes, *, replace: bool) -> None:
    """Writes a file whole or not at all.

    Nothing is written through a symbolic link: not through one of the file's name, which is
    replaced itself, nor through a folder below the outputs' folder that is one.

    Args:
        folder: The outputs' folder; it may be a link.
        path: The file, in that folder or below it.
        content: What it is to hold.
        replace: Whether a file of that name is replaced.

    Raises:
        FileExistsError: If there is one and it is not to be replaced.
        ValueError: If a folder on the way is a link.
        DiskFullError: If there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in reversed(path.relative_to(folder).parents[:-1]):
        if (folder / part).is_symlink():
            raise ValueError(f"{folder / part} is a symbolic link, and nothing is written there.")
        (folder / part).mkdir(exist_ok=True)
    with telling_of_full_disks(path, len(content)):
        if not replace and _write_unnamed(path, content):
            return
        handle, temporary = tempfile.mkstemp(prefix=".kseg-", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o666 & ~_umask())
            sync(Path(temporary))
            _place(temporary, path, replace)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _write_unnamed(path: Path, content: bytes) -> bool:
    """Writes a file that has no name before it is whole, so that a kill leaves nothing behind.

    Returns:
        Whether the system can do so; if not, nothing was done.

    Raises:
        FileExistsError: If there is one.
    """
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # not Linux, or a disk that lacks it
        return False
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
        try:
            # With src_dir_fd Python follows the link to the file, as a plain link does not.
            os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)
        except FileExistsError:
            raise FileExistsError(
                errno.EEXIST, "it has come while images were labelled", path
            ) from None
        except OSError:  # no /proc
            return False
    return True


def _place(temporary: str, path: Path, replace: bool) -> None:
    if replace:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # fails where the name is taken, in one step
    except FileExistsError:
        raise FileExistsError(
            errno.EEXIST, "it has come while images were labelled", path
        ) from None
    except OSError:  # a disk without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "it is there already", path) from None
        os.rename(temporary, path)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _overlay_with_legend(image: np.ndarray, labels: np.ndarray, classes: Classes) -> Image.Image:
    height, width = labels.shape
    if height > _OVERLAY[0] or width > _OVERLAY[1]:
        own = height
        height, width = fit_inside((height, width), _OVERLAY)
        coarse = max(1, own // (2 * height))  # Pillow takes more bytes for a pixel than the image
        image = resize(image[::coarse, ::coarse], (height, width))
        labels = np.asarray(
            Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
        )
    ids = np.flatnonzero(count(labels)).tolist()
    below = legend(classes, max(width, _LEGEND), ids)
    if larger := width // _LETTERS:  # letters that can be read beside a large picture
        below = legend(classes, width // (larger + 1), ids)
        below = below.resize((width, below.height * (larger + 1)), Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (below.width, height + below.height), "white")
    for top in range(0, height, _STRIP):  # its means are in double precision
        rows = slice(top, top + _STRIP)
        sheet.paste(Image.fromarray(overlay(image[rows], labels[rows], classes)), (0, top))
    sheet.paste(below, (0, height))
    return sheet


def _csv(labels: np.ndarray, classes: Classes, name: str) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "class_id", "class", "pixels", "share"])
    counts = count(labels)[: classes.num_classes]
    for class_id, class_name in enumerate(classes.names):
        pixels = int(counts[class_id])
        rows.writerow([name, class_id, class_name, pixels, f"{pixels / labels.size:.6f}"])
    return text.getvalue()
