"""`convert`: a Keras 3 model and a recipe to a verified set of files.

The model is rebuilt with a fixed batch of 1 and a fixed image size, because from any other model
the converter makes SPACE_TO_BATCH_ND, SHAPE, PACK and unfolded batch norms. For integer files
the scaling layer is left out: calibration sees scaled photos, 0 and 255 among them, so that the
input's quantization is the scaling, and an app hands over the camera's bytes.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from export.errors import GateError
from export.flatbuffer import ModelFile, read_model
from export.recipes import QuantizationRecipe
from export.runtime import FixedSize, TFLiteModel, load_tflite
from export.targets import TARGETS, Target
from export.verification import Verification, check_gate, verify
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
    """

    head: str = "logits"
    min_ratio: float = 0.97
    max_drop: float = 0.015
    overwrite: bool = False
    label_map: LabelMap | None = None

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
    content = _to_tflite(fixed, recipe, options.head, scaling)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(content)
        graph = read_model(temporary)
        _check_graph(graph, recipe, device, scaling)
        reference = _Reference(fixed, scaling)
        with load_tflite(temporary) as file:
            photos = validation if validation is not None else _photos(recipe, input_size)
            result = verify(file, reference, photos)
            if validation is not None:
                check_gate(result, min_ratio=options.min_ratio, max_drop=options.max_drop)
            report = _report(model, recipe, target, options, graph, content, file, result)
        label_map = validation.label_map if validation is not None else options.label_map
        report["label_map"] = asdict(label_map) if label_map is not None else None
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


def _to_tflite(fixed, recipe, head, scaling) -> bytes:
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
            size = tuple(fixed.inputs[0].shape[1:3])
            converter.representative_dataset = lambda: _calibration(recipe.images, size, scaling)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
        return converter.convert()


def _calibration(images, size, scaling) -> Iterator[list[np.ndarray]]:
    """Yields photos as the converted network sees them: fitted, padded, scaled."""
    for index, image in enumerate(images):
        canvas = np.full((1, *size, 3), FILL, "float32")
        picture = Image.fromarray(np.asarray(np.rint(image), "uint8"))
        fitted = _shrink((picture.height, picture.width), size)
        canvas[0, : fitted[0], : fitted[1]] = np.asarray(resize_image(picture, fitted))
        if index == 0:
            # The input's range is then 0..255 exactly; photos alone seldom span it, and raw
            # bytes would be misread.
            canvas[0, 0, 0], canvas[0, -1, -1] = 0, 255
        yield [canvas * np.float32(scaling[0]) + np.float32(scaling[1])]


def _shrink(own: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    return own if own[0] <= size[0] and own[1] <= size[1] else fit_inside(own, size)


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


def _check_graph(graph: ModelFile, recipe, device: Target, scaling) -> None:
    problems = []
    if recipe.name == "full_integer":
        floats = [t.name for t in graph.tensors if t.dtype in ("float16", "float32", "float64")]
        if floats:
            problems.append(f"{len(floats)} float tensors, the first of them {floats[0]}")
        refused = sorted({op.name for op in graph.ops} & device.refused_ops)
        if refused:
            problems.append(f"the ops {', '.join(refused)}")
        image = graph.tensors[graph.inputs[0]]
        # (x * factor + offset) must be what the quantized input makes of the byte x.
        expected = (scaling[0], round(-scaling[1] / scaling[0]))
        got = (image.scales[0], image.zero_points[0]) if image.scales else (0.0, 0)
        if (
            image.dtype != "uint8"
            or not np.isclose(got[0], expected[0], rtol=1e-4)
            or (got[1] != expected[1])
        ):
            problems.append(
                f"an input of {image.dtype}, scale {got[0]:.6g} and zero point {got[1]}, where "
                f"bytes need uint8, {expected[0]:.6g} and {expected[1]}"
            )
    for op in graph.ops:
        if device.op_versions and op.version > device.op_versions.get(op.name, 0):
            problems.append(f"{op.name} of version {op.version}, which its compiler cannot parse")
    if problems:
        raise GateError(
            f"The converted model has {'; '.join(sorted(set(problems)))}, which the target "
            f"{device.name} does not take. Nothing was written."
        )


def _report(model, recipe, target, options, graph, content, file: TFLiteModel, result) -> dict:
    return {
        "format": 1,
        "file": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        "network": getattr(model, "kseg_spec", None),
        "target": target,
        "recipe": {"name": recipe.name, "photos": len(recipe.images)},
        "head": options.head,
        "input": asdict(file.input),
        "output": asdict(file.output),
        "ops": graph.op_counts(),
        "verification": _comparison(result),
        "gate": {"min_ratio": options.min_ratio, "max_drop": options.max_drop},
        "versions": {
            package: version(package)
            for package in ("kseg", "keras", "tensorflow", "ai-edge-litert", "numpy")
        },
    }


def _comparison(result: Verification) -> dict[str, Any]:
    compared: dict[str, Any] = {
        "photos": result.photos,
        "agreement": result.agreement,
        "max_difference": result.max_difference,
        "saturated": result.saturated,
        "certified": result.scores is not None,
    }
    if result.scores is not None and result.scores_float is not None:
        before, after = result.scores_float.iou_per_class, result.scores.iou_per_class
        compared |= {
            "mean_iou_float": result.scores_float.mean_iou,
            "mean_iou": result.scores.mean_iou,
            "iou_per_class": {name: [before[name], after[name]] for name in before},
        }
    return compared


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)
