"""The report of an export as one page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from export.proof.comparing import Example
from export.proof.report import (
    CHOICES,
    OBJECTS,
    choice_rows,
    class_rows,
    noise_rows,
    object_rows,
    op_rows,
    summary,
)
from kseg.classes import Classes
from kseg.html import figures, page, table
from kseg.instances import Instances, draw_instances
from kseg.visualize import colorize, difference

_WIDTH = 320  # of a picture, in pixels
_STYLE = ".cpu,.dead{background:#fbe4e0}.uncertain{background:#fdf3d6}"


def make_page(report: dict[str, Any], examples: Sequence[Example], classes: Classes | None) -> str:
    """Returns the page.

    Args:
        report: What the .json file says.
        examples: Images to show.
        classes: Colours; other ones where it is None.
    """
    title = f"{report['file']['name']}: {report['recipe']['name']} for {report['target']}"
    parts = [table((), summary(report))]
    if rows := class_rows(report):
        parts += ["<h2>Classes</h2>", table(("class", "IoU float", "IoU file", "change"), rows)]
    if rows := object_rows(report):
        parts += ["<h2>Objects and areas</h2>", table(OBJECTS, rows)]
    if examples:
        parts.append("<h2>Where file and model agree least</h2>")
        parts += [_pictures(example, classes) for example in examples]
    if rows := choice_rows(report):
        parts += ["<h2>What other heads and strides cost</h2>", table(CHOICES, rows)]
    if rows := noise_rows(report):
        parts += [
            "<h2>Layers that quantization harms most</h2>",
            table(("layer", "signal to noise, dB"), rows),
        ]
    placements = [op["placement"] for op in report["op_table"]]
    headers = ("", "op", "version", "output", "placement", "why", "advice")
    parts += ["<h2>Ops</h2>", table(headers, op_rows(report), placements)]
    return page(title, parts, _STYLE)


def _pictures(example: Example, classes: Classes | None) -> str:
    if classes is None:
        most = int(max(example.labels.max(), example.labels_float.max())) + 1
        classes = Classes(tuple(f"class {index}" for index in range(max(2, most))))
    image = np.clip(np.rint(example.image), 0, 255).astype("uint8")
    # Of images with more channels than three, the first three can be seen.
    image = image[..., :3] if image.shape[-1] > 2 else np.repeat(image[..., :1], 3, -1)
    apart = difference(image, example.labels_float, example.labels)
    model, file = example.instances_float, example.instances
    if model is None or file is None:
        shown = {
            "image": image,
            "model": colorize(example.labels_float, classes),
            "file": colorize(example.labels, classes),
            f"different: {100 * (1 - example.agreement):.2f} %": apart,
        }
        return figures(shown, _WIDTH)
    drawn = draw_instances(image, model, classes)
    by = drawn.shape[0] // image.shape[0]  # small images are enlarged, so that numbers find room
    image, apart = (x.repeat(by, 0).repeat(by, 1) for x in (image, apart))
    shown = {
        "image": image,
        f"model: {len(model.objects)} objects": drawn,
        f"file: {len(file.objects)} objects, {100 * example.agreement:.1f} % as the model's": (
            draw_instances(example.image, _numbered_as(model, file), classes, scale=by)
        ),
        "labels that differ": apart,
    }
    return figures(shown, _WIDTH)


def _numbered_as(model: Instances, file: Instances) -> Instances:
    """Returns the file's objects with the numbers, and so the colours, of the model's."""
    most, count = len(model.objects), len(file.objects) + 1
    pairs = model.ids.astype("int64") * count + file.ids
    shared = np.bincount(pairs.ravel(), minlength=(most + 1) * count).reshape(-1, count)
    union = shared.sum(0) + shared.sum(1)[:, None] - shared
    same = 2 * shared > union  # an IoU above 0.5 has at most one object of the other
    same[0] = False
    numbers = np.where(same.any(0), same.argmax(0), most + np.arange(count)).astype("uint16")
    numbers[0] = 0
    objects = tuple(replace(thing, id=int(numbers[thing.id])) for thing in file.objects)
    return Instances(file.label_map, numbers[file.ids], objects)
