"""`convert`: a Keras 3 model and a recipe to a verified set of files.

The model is rebuilt with a fixed batch of 1 and a fixed image size, because from any other model
the converter makes SPACE_TO_BATCH_ND, SHAPE, PACK and unfolded batch norms. For integer files
the scaling layer is left out: calibration sees scaled photos, 0 and 255 among them, so that the
input's quantization is the scaling, and an app hands over the camera's bytes.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from export.flatbuffer import read_model
from export.recipes import QuantizationRecipe
from export.report import make_report
from export.runtime import FixedSize, load_tflite
from export.targets import TARGETS, Target
from export.verification import check_gate, check_graph, verify
from kseg.data import Data, fit_inside
from kseg.data.transforms import FILL, resize_image
from kseg.label_map import LabelMap

HEADS = ("logits", "argmax", "softmax")
_AGREEMENT_PHOTOS = 16
_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ExportOptions:
    """Choices that most exports leave alone.

    Attributes:
        head: "logits" (1, H, W, num_classes); "argmax", a class map int32 (1, H, W); or
            "softmax", scores (1, H, W, num_classes).
        min_ratio: Smallest mean IoU of the file as a fraction of the model's.
        max_drop: Largest loss of mean IoU, 0..1.
        overwrite: Whether files of an earlier export may be replaced.
        label_map: Names for labels.txt where there is no validation data to take them from.
        working_size: (height, width) that photos are fitted into before the file sees them, for
            calibration, scores and the report; None leaves photos that fit as they are.
    """

    head: str = "logits"
    min_ratio: float = 0.97
    max_drop: float = 0.015
    overwrite: bool = False
    label_map: LabelMap | None = None
    working_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks the head.

        Raises:
            ValueError: If it is unknown.
        """
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}; got {self.head!r}.")


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how good it is.

    Attributes:
        path: The .tflite file.
        report: What the .json file beside it says.
        certified: Whether it was scored on labelled photos and passed the gate.
        agreement: Share of the pixels that the file and the model label alike.
        mean_iou_float: Of the model; None without validation.
        mean_iou: Of the file; None without validation.
    """

    path: Path
    report: dict[str, Any]
    certified: bool
    agreement: float
    mean_iou_float: float | None
    mean_iou: float | None


def convert(
    model: keras.Model,
    recipe: QuantizationRecipe,
    *,
    target: str = "android",
    input_size: tuple[int, int],
    path: str | Path,
    validation: Data | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Converts a model and writes the file, its report and its labels, once they are verified.

    Args:
        model: From images (N, H, W, 3), 0..255, to logits (N, H, W, num_classes).
        recipe: One of `export.recipes`.
        target: A name of `export.targets.TARGETS`.
        input_size: (height, width) of the file's input, in pixels.
        path: The .tflite file; X.json and X.labels.txt are written beside X.tflite.
        validation: Labelled photos; on the split "val" the float model and the file are scored,
            and the file must pass the gate. Without, it is compared with the model on photos
            (the recipe's, or random ones) and not certified.
        options: Head, gate and overwriting.

    Returns:
        What was written.

    Raises:
        ValueError: If an argument is wrong or a file exists.
        GateError: If the file has ops that the target does not take, or fails the gate. Nothing
            is written then, and what was there stays.
    """
    options, path = options or ExportOptions(), Path(path)
    device = _check(model, recipe, target, input_size, path, options)
    fixed, scaling = _fix(model, tuple(input_size), keep_scaling=recipe.name != "full_integer")
    calibration = partial(_calibration, recipe.images, input_size, scaling, options.working_size)
    content = _to_tflite(fixed, recipe, options.head, calibration)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(content)
        graph = read_model(temporary)
        check_graph(graph, recipe, device, scaling)
        reference = _Reference(fixed, scaling)
        with load_tflite(temporary) as file:
            photos = validation if validation is not None else _photos(recipe, input_size)
            result = verify(file, reference, photos, size=options.working_size)
            if validation is not None:
                check_gate(result, min_ratio=options.min_ratio, max_drop=options.max_drop)
            label_map = validation.label_map if validation is not None else options.label_map
            made = {
                "network": getattr(model, "kseg_spec", None),
                "target": target,
                "recipe": {"name": recipe.name, "photos": len(recipe.images)},
                "head": options.head,
                "working_size": options.working_size,
                "gate": {"min_ratio": options.min_ratio, "max_drop": options.max_drop},
                "label_map": asdict(label_map) if label_map is not None else None,
            }
            report = make_report(made, content, graph, file, result)
        files = {path: temporary, _beside(path, ".json"): Path(folder) / "report.json"}
        files[_beside(path, ".json")].write_text(json.dumps(report, indent=1) + "\n")
        if label_map is not None:
            labels = Path(folder) / "labels.txt"
            labels.write_text("".join(f"{name}\n" for name in label_map.names), "utf-8")
            files[_beside(path, ".labels.txt")] = labels
        for final, ready in files.items():
            os.replace(ready, final)
    return ExportResult(
        path=path,
        report=report,
        certified=validation is not None,
        agreement=result.agreement,
        mean_iou_float=result.scores_float.mean_iou if result.scores_float else None,
        mean_iou=result.scores.mean_iou if result.scores else None,
    )


def _check(model, recipe, target, input_size, path, options) -> Target:
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {target!r}.")
    if recipe.name not in TARGETS[target].recipes:
        raise ValueError(
            f"The target {target} takes {' or '.join(TARGETS[target].recipes)} files; got the "
            f"recipe {recipe.name}."
        )
    sizes = tuple(input_size)
    if len(sizes) != 2 or not all(isinstance(side, int) and side > 0 for side in sizes):
        raise ValueError(f"input_size must be (height, width) in pixels; got {input_size}.")
    one_in_one_out = len(getattr(model, "inputs", ())) == len(getattr(model, "outputs", ())) == 1
    if not one_in_one_out or len(model.inputs[0].shape) != 4 or len(model.outputs[0].shape) != 4:
        raise ValueError(
            "convert needs a functional model from images (N, H, W, 3) to logits "
            "(N, H, W, num_classes)."
        )
    if path.suffix != ".tflite":
        raise ValueError(f"path must end in .tflite; got {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {path.parent} does not exist.")
    if path.exists() and not options.overwrite:
        raise ValueError(f"{path} exists; export elsewhere, or allow it to be overwritten.")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"convert needs the TensorFlow backend; Keras runs on {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow and load the run there."
        )
    return TARGETS[target]


def _fix(model, size, keep_scaling) -> tuple[keras.Model, tuple[float, float]]:
    """Returns the model at a fixed size, and (factor, offset) of the scaling that it lacks."""
    first = _scaling_layer(model)
    if keep_scaling or first is None:
        first, scaling = None, (1.0, 0.0)
    else:
        scaling = (float(first.scale), float(first.offset))

    def call(layer, *args, **kwargs):
        return args[0] if first is not None and layer.name == first.name else layer(*args, **kwargs)

    image = keras.Input(batch_shape=(1, *size, 3), name="image")
    # A compiled model would be cloned with its optimizer and loss; a second view of it is not.
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    fixed = keras.models.clone_model(plain, input_tensors=image, call_function=call)
    # By path: the clone's order of weights may differ once a layer is left out.
    sources = {variable.path: variable for variable in model.weights}
    for variable in fixed.weights:
        variable.assign(sources[variable.path])
    return fixed, scaling


def _scaling_layer(model) -> keras.layers.Rescaling | None:
    """Returns the layer that scales the input, where one factor serves all channels."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling) and layer.input is model.inputs[0]:
            return layer if np.ndim(layer.scale) == np.ndim(layer.offset) == 0 else None
    return None


def _to_tflite(fixed, recipe, head, calibration) -> bytes:
    @tf.function(input_signature=[tf.TensorSpec(fixed.inputs[0].shape, tf.float32, name="image")])
    def serve(image):
        logits = fixed(image, training=False)
        if head == "argmax":  # keras.ops.argmax becomes ops that LiteRT lacks
            return {"labels": tf.argmax(logits, -1, output_type=tf.int32)}
        return {"scores": tf.nn.softmax(logits)} if head == "softmax" else {"logits": logits}

    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(fixed)
        archive.add_endpoint(_SIGNATURE, serve)
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE])
        if recipe.name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if recipe.name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if recipe.name == "full_integer":
            converter.representative_dataset = calibration
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
        return converter.convert()


def _calibration(images, size, scaling, working_size) -> Iterator[list[np.ndarray]]:
    """Yields photos as the converted network sees them: fitted, padded, scaled."""
    for index, image in enumerate(images):
        canvas = np.full((1, *size, 3), FILL, "float32")
        picture = Image.fromarray(np.asarray(np.rint(image), "uint8"))
        own = (picture.height, picture.width)
        if working_size is not None or own[0] > size[0] or own[1] > size[1]:
            fitted = fit_inside(own, working_size or size)
        else:
            fitted = own
        canvas[0, : fitted[0], : fitted[1]] = np.asarray(resize_image(picture, fitted))
        if index == 0:
            # The input's range is then 0..255 exactly; photos alone seldom span it, and raw
            # bytes would be misread.
            canvas[0, 0, 0], canvas[0, -1, -1] = 0, 255
        yield [canvas * np.float32(scaling[0]) + np.float32(scaling[1])]


def _photos(recipe, size) -> list[np.ndarray]:
    """Returns what to compare file and model on when there is no labelled photo."""
    if recipe.images:
        return list(recipe.images[:_AGREEMENT_PHOTOS])
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (4, 8, 8, 3), "uint8")
    return [
        np.asarray(Image.fromarray(a).resize(size[::-1], Image.Resampling.BICUBIC)) for a in small
    ]


class _Reference(FixedSize):
    """The float model at the file's size."""

    def __init__(self, fixed: keras.Model, scaling: tuple[float, float]):
        self.fixed, self.scaling = fixed, scaling
        self.input_size = tuple(fixed.inputs[0].shape[1:3])

    def logits(self, images):
        return np.asarray(self.fixed(images * self.scaling[0] + self.scaling[1], training=False))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)
