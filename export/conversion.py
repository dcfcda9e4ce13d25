"""`convert`: a Keras 3 model and a recipe to a verified set of files.

For integer files the scaling is left out: calibration sees scaled images, 0 and 255 among them, so
that the input's quantization is the scaling, and an app hands over the camera's bytes.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from export.alternatives import alternatives
from export.errors import GateError
from export.graph.acceptance import heads_of
from export.graph.calibration import calibration, stand_ins
from export.graph.comparison import check_fixed
from export.graph.converter import to_tflite
from export.graph.fixed import Original, fix_model
from export.graph.rescue import CalibratedModel, fewest_in_float
from export.graph.rewrites import for_device
from export.options import ExportOptions, ExportResult
from export.proof.describing import Explanation, describe
from export.proof.judging import Candidate, judge, judged_on, put
from export.proof.preprocessing import check_preprocessing
from export.proof.verification import check_gate, check_model, verify
from export.proof.workshop import workshop
from export.proof.writing import write
from export.recipes import QuantizationRecipe
from export.refusals import check_options, check_request, sized_options, things_for
from export.targets import TARGETS
from export.tflite.runtime import load_tflite
from kseg.data import Data

_COMPARED_IMAGES = 2


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
        model: From images (N, H, W, channels), 0..255, to logits (N, H, W, num_classes); or to a
            dict of the three outputs of `kseg.build_panoptic_deeplab`, for a file with three.
        recipe: One of `export.recipes`.
        target: A name of `export.targets.TARGETS`.
        input_size: (height, width) of the file's input, in pixels.
        path: The .tflite file; X.json, X.html and X.labels.txt are written beside X.tflite.
        validation: Labelled images; on the split "val" model and file are scored, by mean IoU or,
            where objects are told apart, by panoptic quality, and the file must pass the gate.
            Without, both are compared on the recipe's or on random images.
        options: Head, stride, gate, overwriting and more.

    Returns:
        What was written.

    Raises:
        TypeError, ValueError: If an argument or a layer cannot be taken, or a file exists.
        GateError: If what is converted differs from the model, or the file has ops that the target
            does not take, or fails the gate. Nothing is written then, and what was there stays.
    """
    path = Path(path)
    model = check_request(model, recipe, target, input_size, path)
    size = (input_size[0], input_size[1])
    options = sized_options(options, model, size)
    check_options(model, recipe, target, size, path, validation, options)
    with workshop(path, room_for(model)) as folder:
        original = Original(model, size)
        fixed = fix_model(model, size, keep_scaling=recipe.keeps_scaling, stride=options.stride)
        check_fixed(model, fixed, compared_on(validation, recipe, original, options))
        if validation is not None:
            check_preprocessing(original, validation, options.working_size)
        images = partial(calibration, recipe.images, size, fixed.scaling, options.working_size)
        head, added = heads_of(model, options.head)
        asked = fixed.model, recipe, added, images
        calibrated = CalibratedModel(*asked) if recipe.activations == "int8" else None
        content = calibrated.content if calibrated else to_tflite(*asked)
        content = for_device(content, TARGETS[target])
        things, bits = things_for(model, validation, options), getattr(model, "kseg_bits", None)
        passes, kept = partial(_passes, original, validation, options, things), list[str]()
        if calibrated and options.rescue and not passes(content):
            content, kept = fewest_in_float(calibrated, passes)
        names = options.classes if validation is None else validation.classes
        made = (recipe, TARGETS[target], head, fixed.stride, fixed.scaling, names)
        candidate = Candidate(folder / path.name, *made, tuple(kept), things, bits)
        put(candidate, content, options.working_size)
        seen, advice = judged_on(validation, recipe, original), _advice(candidate)
        judgement = judge(candidate, original, seen, options, advice=advice)
        explanation = Explanation()
        if options.explain:
            noise = tuple(calibrated.layers) if calibrated else ()
            explanation = Explanation(alternatives(candidate, model, size, options), noise)
        report = describe(candidate, judgement, options, path.name, model, explanation)
        return write(report, path)


def room_for(model: keras.Model) -> int:
    """Returns how many bytes an export needs: the weights as saved, as converted, and the file."""
    return 3 * 4 * model.count_params()


def compared_on(
    validation: Data | None,
    recipe: QuantizationRecipe,
    model: Original,
    options: ExportOptions,
) -> Iterator[np.ndarray]:
    """Yields the images on which what is converted is compared with the model, of its size."""
    size = model.input_size
    if validation is not None:
        images = [validation.read(pair)[0] for pair in validation.files("val")[:_COMPARED_IMAGES]]
    else:
        images = list(recipe.images[:_COMPARED_IMAGES]) or stand_ins(
            size, model.channels, _COMPARED_IMAGES
        )
    return (image for (image,) in calibration(images, size, (1.0, 0.0), options.working_size))


def _advice(candidate: Candidate) -> str:
    if candidate.recipe.activations != "int8":
        return "Train longer."
    rescue = candidate.target.takes_float
    return "Calibrate with more images, train on with --qat-epochs" + (
        ", or let --rescue keep some layers in float." if rescue else "."
    )


def _passes(
    original: Original,
    validation: Data | None,
    options: ExportOptions,
    things: tuple[int, ...],
    content: bytes,
) -> bool:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.tflite"
        path.write_bytes(content)
        with load_tflite(path) as file:
            size = options.working_size
            result = verify(file, original, validation or (), size=size, things=things)
    check_model(result)
    try:
        check_gate(result, min_ratio=options.min_ratio, max_drop=options.max_drop)
    except GateError:
        return False
    return True
