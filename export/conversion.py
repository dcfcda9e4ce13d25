"""`convert`: a Keras 3 model and a recipe to a verified set of files.

For integer files the scaling layer is left out: calibration sees scaled images, 0 and 255 among
them, so that the input's quantization is the scaling, and an app hands over the camera's bytes.
"""

import tempfile
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.devices.placement import place
from export.errors import GateError
from export.graph.calibration import calibration
from export.graph.converter import HEADS, draft, to_tflite
from export.graph.fixed import FixedModel, end_at, fix_model, strides
from export.graph.rescue import NoisyLayers, fewest_in_float
from export.graph.rewrites import unfuse_activations
from export.proof.delivery import ExportOptions, ExportResult, Order, taken, verify_and_write
from export.proof.verification import check_gate, check_model, verify
from export.recipes import QuantizationRecipe
from export.targets import TARGETS
from export.tflite.benchmark import benchmark
from export.tflite.runtime import load_tflite
from kseg.data import Data
from kseg.training.evaluation import check_classes

_DRAFT_IMAGES = 2  # a draft is timed, not looked at
_DRAFT_RUNS = 10


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
        path: The .tflite file; X.json, X.html and X.labels.txt are written beside X.tflite.
        validation: Labelled images; on the split "val" the float model and the file are scored,
            and the file must pass the gate. Without, it is compared with the model on images
            (the recipe's, or random ones) and not certified.
        options: Head, stride, gate, overwriting and more.

    Returns:
        What was written.

    Raises:
        ValueError: If an argument is wrong or a file exists.
        GateError: If the file has ops that the target does not take, or fails the gate. Nothing
            is written then, and what was there stays.
    """
    options, path = options or ExportOptions(), Path(path)
    check_request(model, recipe, target, input_size, path)
    check_options(model, recipe, target, path, validation, options)
    # int16 has no zero point, so that bytes would need arithmetic in the app.
    keep_scaling = recipe.name != "full_integer"
    size = (input_size[0], input_size[1])
    fix = partial(fix_model, model, size, keep_scaling=keep_scaling)
    ends = {stride: fix(stride=stride) for stride in {1, options.stride}}
    reference, fixed = ends[1], ends[options.stride]
    images = partial(calibration, recipe.images, size, reference.scaling, options.working_size)
    network = getattr(model, "kseg_spec", None)
    order = Order(network, recipe, target, path, validation, options, reference.scaling)
    content = for_device(to_tflite(fixed.model, recipe, options.head, images), target)
    noisy = cache(partial(NoisyLayers, fixed, recipe, options.head, images))
    kept: list[str] = []
    if options.rescue and not _passes(reference, order, content):
        content, kept = fewest_in_float(noisy(), partial(_passes, reference, order))

    def explain(file: Path) -> dict[str, Any]:
        found: dict[str, Any] = {"choices": _choices(file, fix, sorted(strides(model)), order)}
        layers = noisy().layers if recipe.name == "full_integer" else []
        return found | {"noise": [asdict(layer) for layer in layers]}

    return verify_and_write(
        content,
        reference,
        order,
        advice=_advice(order),
        rescued=kept,
        explain=explain if options.explain else None,
    )


def _advice(order: Order) -> str:
    if order.recipe.name != "full_integer":
        return "Train longer."
    rescue = ", or let --rescue keep some layers in float" if order.target == "android" else ""
    return f"Calibrate with more images, train on with --qat-epochs{rescue}."


def check_request(model, recipe, target, input_size, path) -> None:
    """Refuses what cannot be converted; arguments and errors as `convert`."""
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
    try:  # the rights of a folder do not say it: root has them everywhere
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-").cleanup()
    except OSError as error:
        raise ValueError(
            f"Nothing can be written into the folder {path.parent}: {error.strerror}."
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"convert needs the TensorFlow backend; Keras runs on {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow and load the run there."
        )


def check_options(model, recipe, target, path, validation, options) -> None:
    """Refuses options that do not fit; arguments and errors as `convert`."""
    for existing in taken(path):
        if not existing.is_file():
            raise ValueError(f"{existing} is no file; export elsewhere.")
        if not options.overwrite:
            raise ValueError(f"{existing} exists; export elsewhere, or allow it to be overwritten.")
    if validation is not None:
        check_classes(model.output_shape[-1], validation)
    end_at(model, options.stride)
    if recipe.name == "int16x8" and options.head == "argmax":
        raise ValueError(
            "TensorFlow has no argmax of 16 bits; take the head logits or softmax with int16x8."
        )
    if options.rescue and (target, recipe.name) != ("android", "full_integer"):
        raise ValueError(
            "rescue keeps layers of an int8 file in float, which only the target android takes; "
            f"got the target {target} and the recipe {recipe.name}."
        )
    if options.rescue and validation is None:
        raise ValueError("rescue needs labelled images to know how many layers are enough.")


def for_device(content: bytes, target: str) -> bytes:
    """Takes out what a target's compiler cannot parse, and proves the outputs equal.

    Args:
        content: Of a .tflite file.
        target: A name of `TARGETS`.

    Returns:
        The content for the target.

    Raises:
        RuntimeError: If the outputs are not equal: a bug.
    """
    if not TARGETS[target].op_versions:
        return content
    patched = unfuse_activations(content)
    if patched == content:
        return content
    with tempfile.TemporaryDirectory() as folder:
        outputs = []
        for index, candidate in enumerate((content, patched)):
            path = Path(folder) / f"{index}.tflite"
            path.write_bytes(candidate)
            with load_tflite(path) as file:
                noise = np.random.default_rng(0).uniform(0, 255, file.input.shape)
                outputs.append(file.run(file.quantize(noise))[0])
    if not np.array_equal(outputs[0], outputs[1]):
        raise RuntimeError("Taking activations out of transposed convolutions changed the output.")
    return patched


def _passes(reference: FixedModel, order: Order, content: bytes) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.tflite"
        path.write_bytes(content)
        with load_tflite(path) as file:
            result = verify(
                file, reference, order.validation or (), size=order.options.working_size
            )
    check_model(result)
    try:
        check_gate(result, min_ratio=order.options.min_ratio, max_drop=order.options.max_drop)
    except GateError:
        return False
    return True


def _choices(file: Path, fix, ends: list[int], order: Order) -> list[dict[str, Any]]:
    """Returns what each head at each stride would cost, the file's own first."""
    device, chosen = TARGETS[order.target], (order.options.head, order.options.stride)
    heads = [h for h in HEADS if (order.recipe.name, h) != ("int16x8", "argmax")]
    pairs = [chosen, *((h, s) for s in ends for h in heads if (h, s) != chosen)]
    with tempfile.TemporaryDirectory() as name:
        folder, files, rows = Path(name), [file], []
        for head, stride in pairs[1:]:
            fixed: FixedModel = fix(stride=stride)
            few = order.recipe.images[:_DRAFT_IMAGES]
            size = fixed.input_size
            images = partial(calibration, few, size, fixed.scaling, order.options.working_size)
            files.append(folder / f"{head}-{stride}.tflite")
            content = draft(fixed.model, order.recipe, head, images)
            files[-1].write_bytes(for_device(content, order.target))
        for (head, stride), path, timed in zip(
            pairs, files, benchmark(files, runs=_DRAFT_RUNS), strict=True
        ):
            try:
                placed = place(path, device, folder, with_compiler=False)
            except GateError:  # its compiler refuses this one
                placed = None
            with load_tflite(path) as loaded:
                nbytes = int(np.prod(loaded.output.shape)) * np.dtype(loaded.output.dtype).itemsize
            rows.append(
                {
                    "head": head,
                    "stride": stride,
                    "output_bytes": nbytes,
                    "median_ms": timed["median_ms"],
                    "ratio": timed["ratio"],
                    "off_device": placed["off_device"] if placed else None,
                }
            )
    return rows
