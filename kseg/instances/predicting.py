"""From an image to its objects, with a Keras model or any callable that gives the three outputs."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.data.files import read_image
from kseg.instances.grouping import HEIGHT, group
from kseg.instances.objects import Instances, instances_of
from kseg.running import run
from kseg.seeing import Segmenter, finite, fit_image, format_of, look_at
from kseg.strips import resize_logits

OUTPUTS = {"semantic": None, "center": 1, "offset": 2}  # channels


def predict_instances(
    model: Segmenter,
    image: np.ndarray | str | Path,
    *,
    things: Collection[int] | None = None,
    size: tuple[int, int] | None = None,
    flip: bool = False,
    threshold: float = HEIGHT,
) -> Instances:
    """Tells the objects of an image apart.

    Args:
        model: A Keras model with the outputs of `kseg.build_panoptic_deeplab`, or a callable from
            images float32 (N, H, W, C), 0..255, to a dict of "semantic", "center" and "offset",
            such as `export.load_tflite` returns. Outputs may be coarser than the image.
        image: As for `kseg.predict`.
        things: Ids of the classes whose objects are told apart. None takes those that the model
            carries, `model.kseg_things`, as models from `kseg.fit`, `kseg.load` and trained
            weights do.
        size: As for `kseg.predict`: the working size.
        flip: Whether the outputs are the mean of those of the image and of its mirror image.
        threshold: Height above which a maximum of the heatmap "center" is an object.

    Returns:
        The label map, the id map and the objects, at the image's own size.

    Raises:
        ValueError: If nobody says which classes are things, they are no classes of the model, the
            model gives something else, or the image is not as for `kseg.predict`.
    """
    things = things_of(model, things)
    if isinstance(image, str | Path):
        image = read_image(Path(image), *format_of(model))
    outputs, seen, own = outputs_for(model, image, size, flip=flip)
    return objects_in(outputs, things, seen, own, threshold)


def outputs_for(
    model: Segmenter, image: np.ndarray, size: tuple[int, int] | None, *, flip: bool
) -> tuple[dict[str, np.ndarray], tuple[int, int], tuple[int, int]]:
    """Runs a model on an image; arguments and errors as `predict_instances`.

    Returns:
        What `check_outputs` returns, and (height, width) of what the model saw and of the image.
    """
    image, fitted = fit_image(model, image, size)
    seen = look_at(image, fitted)
    outputs = run(model, seen, check_outputs)
    if flip:
        mirrored = run(model, seen[:, :, ::-1], check_outputs)
        mirrored["offset"] = mirrored["offset"] * np.array((1, -1), "float32")
        outputs = {name: (x + mirrored[name][:, :, ::-1]) / 2 for name, x in outputs.items()}
    return outputs, fitted, (image.shape[0], image.shape[1])


def objects_in(
    outputs: dict[str, np.ndarray],
    things: Collection[int],
    seen: tuple[int, int],
    size: tuple[int, int],
    threshold: float = HEIGHT,
) -> Instances:
    """Tells the objects apart in what a model gave for an image.

    Args:
        outputs: What `check_outputs` returns, of one image.
        things: As for `predict_instances`.
        seen: (height, width) of what the model saw.
        size: (height, width) of the image itself.
        threshold: As for `predict_instances`.

    Raises:
        ValueError: If things are no classes of the model.
    """
    semantic, center, offset = (outputs[name][0] for name in OUTPUTS)
    if max(things) >= semantic.shape[-1]:
        raise ValueError(
            f"things must be ids of the model's classes, 0 to {semantic.shape[-1] - 1}; got "
            f"{max(things)}."
        )
    center = resize_logits(center, seen)
    groups = group(semantic, center, offset, things=things, size=size, threshold=threshold)
    return instances_of(groups)


def tells_objects_apart(model: Any) -> bool:
    """Whether a model has the three outputs of `kseg.build_panoptic_deeplab`, by their names.

    Args:
        model: A Keras model, or a file, which has `output_names`.
    """
    if isinstance(model, keras.Model):
        functional = hasattr(model, "_run_through_graph")
        return functional and isinstance(model.output, dict) and set(model.output) == set(OUTPUTS)
    return set(OUTPUTS) <= set(getattr(model, "output_names", None) or ())


def things_of(model: Any, things: Collection[int] | None = None) -> tuple[int, ...]:
    """Returns the ids of the classes that are things.

    Args:
        model: One that may carry them as `kseg_things`.
        things: They themselves; None takes those of the model.

    Raises:
        ValueError: If neither says so, or what is given are no ids.
    """
    if things is None:
        things = getattr(model, "kseg_things", None)
    if not things:
        raise ValueError(
            "things must name the classes whose objects are told apart, as things=[1]; the model "
            "does not carry them (models from kseg.fit on data with instances do)."
        )
    ids = tuple(things)
    if not all(isinstance(i, int | np.integer) and 0 <= i < 255 for i in ids):
        raise ValueError(f"things must be ids of classes, whole numbers from 0 on; got {things!r}.")
    return tuple(sorted({int(i) for i in ids}))


def check_outputs(found: Any) -> dict[str, np.ndarray]:
    """Returns the three outputs of a model as arrays.

    Args:
        found: What the model gives.

    Raises:
        ValueError: If it is not those three.
    """
    wanted = "model must give a dict of semantic, center and offset, as kseg.build_panoptic_deeplab"
    if not isinstance(found, dict) or not set(OUTPUTS) <= set(found):
        what = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{wanted}; it gives {what}. kseg.predict labels classes alone.")
    outputs = {name: np.asarray(found[name], "float32") for name in OUTPUTS}
    for name, channels in OUTPUTS.items():
        shape = outputs[name].shape
        right = len(shape) == 4 and 0 not in shape and channels in (None, shape[-1])
        if not right or (channels is None and not 2 <= shape[-1] <= 255):
            kind = "2 to 255" if channels is None else channels
            raise ValueError(f"{wanted}; {name} has shape {shape}, not (N, h, w, {kind}).")
        if np.isnan(outputs[name].min()):
            raise ValueError(f"The model gives values of {name} that are no numbers (nan).")
    return {name: finite(output) for name, output in outputs.items()}
