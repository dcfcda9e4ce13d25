"""Quantization-aware training: a network learns to live with the rounding of its integer file.

The training runs in a process of its own (`export.compression.qat_training`), because importing
tensorflow-model-optimization changes what `tf.keras` is for the whole process.
"""

import contextlib
import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from tqdm import tqdm

from export.compression.bridge import read_graph
from export.compression.emulation import Emulation
from export.compression.qat_state import State, unpack
from export.conversion import compared_on, room_for
from export.errors import TrainingProcessError
from export.graph.acceptance import as_network, heads_of
from export.graph.comparison import check_fixed
from export.graph.converter import SIGNATURE, save_frozen, serving, telling_of_ops
from export.graph.fixed import Original, fix_model
from export.graph.rewrites import for_device
from export.options import ExportOptions, ExportResult
from export.proof.describing import Explanation, describe
from export.proof.judging import Candidate, judge, judged_on, put
from export.proof.preprocessing import check_preprocessing
from export.proof.verification import verify
from export.proof.workshop import workshop
from export.proof.writing import write
from export.recipes import INT8
from export.refusals import check_backend, check_qat_request, sized_options, things_for
from export.targets import TARGETS
from export.tflite.runtime import load_tflite
from kseg.data import Data, check_data
from kseg.seeing import working_size
from kseg.training import Recipe
from kseg.training.checks import check_arguments, check_logits, check_sizes, check_step
from kseg.training.images import crop_of
from kseg.training.scoring import score_of

KEPT = ("sparsity", "clusters")
_UNUSED = ("minutes", "freeze", "patience", "validate_images")


@dataclass(frozen=True)
class QuantizedModel:
    """A network after quantization-aware training.

    Attributes:
        model: The float network that it came from, unchanged.
        state: Trained weights and ranges.
        mean_iou_float: Mean IoU of the float network on the split "val"; None with `with_val`.
        pq_float: Its panoptic quality; None where no objects are told apart, or with `with_val`.
        history: A row for each epoch: "epoch", "loss", "seconds" of its steps and, where it was
            scored, "mean_iou" (and "pq") of the rounded network. Epoch 0 is before training, with
            calibrated ranges.
    """

    model: keras.Model
    state: State = field(repr=False)
    mean_iou_float: float | None
    history: list[dict[str, Any]] = field(repr=False)
    pq_float: float | None = None

    def at(self, input_size: tuple[int, int]) -> Emulation:
        """Returns the rounded network at a size, a callable for `kseg.evaluate` and `predict`.

        Args:
            input_size: (height, width) of the largest images it is to take; smaller ones are
                padded.
        """
        return Emulation(self.model, self.state, input_size)

    def convert(
        self,
        path: str | Path,
        *,
        target: str = "android",
        input_size: tuple[int, int],
        validation: Data | None = None,
        options: ExportOptions | None = None,
    ) -> ExportResult:
        """Converts to an int8 file and writes it, once it is verified.

        It takes the arguments of `export.convert`, gives its result and raises its errors: the
        file is held against the float network. Its report says how it compares with the rounded
        network, too.
        """
        path, size = Path(path), (input_size[0], input_size[1])
        options = sized_options(options, self.model, size)
        check_qat_request(self.model, target, size, path, validation, options)
        original = Original(self.model, size)
        if validation is not None:
            check_preprocessing(original, validation, options.working_size)
        recipe, emulation = replace(INT8, per_channel=self.state.per_channel), self.at(size)
        stride, network = options.stride, emulation.network
        if stride > 1:
            ended = fix_model(self.model, size, keep_scaling=True, stride=stride)
            check_fixed(self.model, ended, compared_on(validation, recipe, original, options))
            network = Emulation(ended.model, self.state, size).network
        head, added = heads_of(self.model, options.head)
        images = judged_on(validation, recipe, original)
        with workshop(path, room_for(self.model)) as folder:
            content = for_device(_to_tflite(network, added), TARGETS[target])
            candidate = Candidate(
                folder / path.name,
                recipe,
                TARGETS[target],
                head,
                max(stride, original.stride),
                emulation.scaling,
                validation.classes if validation is not None else options.classes,
                things=things_for(self.model, validation, options),
                bits=getattr(self.model, "kseg_bits", None),
            )
            put(candidate, content, options.working_size)
            advice = "Train for more epochs."
            judgement = judge(candidate, original, images, options, advice=advice)
            with load_tflite(candidate.path) as file:
                seen, things = options.working_size, candidate.things
                found = verify(file, emulation, images, size=seen, things=things)
            training = {
                "agreement": found.agreement,
                "history": self.history,
                "mean_iou_float": self.mean_iou_float,
            }
            if self.pq_float is not None:
                training["pq_float"] = self.pq_float
            explanation = Explanation(training=training)
            report = describe(candidate, judgement, options, path.name, self.model, explanation)
            return write(report, path)


def _to_tflite(network: tf_keras.Model, head: str) -> bytes:
    """Converts a rounded network; the file has a signature with readable names."""
    with tempfile.TemporaryDirectory() as folder:
        # Saving the network itself would trace each of its layers, which takes ten times as long.
        save_frozen(serving(network, head), folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        with telling_of_ops():
            return converter.convert()


def quantization_aware(
    model: keras.Model,
    data: Data,
    recipe: Recipe,
    *,
    keep: str | None = None,
    per_channel: bool = True,
) -> QuantizedModel:
    """Trains a trained network on while its numbers are rounded as in an int8 file.

    Batch norms are folded first and stay as they are. Ranges are calibrated before the first
    step. The epoch with the best mean IoU on "val" is kept, or the best panoptic quality where
    objects are told apart, the calibrated start included. Images that the network was trained on
    cannot judge that: where "val" was among them, take the recipe's `with_val`. It trains on "val"
    too, scores nothing and keeps the last epoch.

    Args:
        model: A trained functional model from images (N, H, W, channels), 0..255, to logits, or
            to the three outputs of `kseg.build_panoptic_deeplab`, of layers that
            `export.compression.bridge_layers` knows.
        data: Has the splits "train" and "val".
        recipe: How to train, as `kseg.fit` takes it; a tenth of the learning rate of the
            training, or less, is right. All layers learn at `learning_rate`; `backbone_rate`,
            `norm_momentum` and `freeze_norms` do not apply. A size of None is that which the model
            carries, `model.kseg_size`.
        keep: "sparsity" keeps weights that are 0 at 0, "clusters" the shared values.
        per_channel: Whether each output channel of a kernel has a scale of its own; transposed
            convolutions always have them.

    Returns:
        The quantized network; its `convert` makes the file.

    Raises:
        ValueError: If an argument is wrong, or a layer is unknown; it is named.
        TrainingDivergedError: If the loss is no longer a number.
        TrainingProcessError: If the training process was killed or crashed.
    """
    if keep is not None and keep not in KEPT:
        raise ValueError(f"keep must be None or one of {', '.join(KEPT)}; got {keep!r}.")
    for name in _UNUSED:
        if getattr(recipe, name):
            raise ValueError(
                f"quantization_aware has no use for the recipe's {name}; leave it out."
            )
    check_backend("quantization_aware")
    recipe = replace(recipe, size=recipe.size or working_size(model))
    check_arguments(model, data, None)
    check_step(model, "in place of which quantization_aware has another; train it further by that")
    check_logits(model)
    # For an error before any image is read; at the size of a stride where the model has none.
    height, width = (side or 64 for side in model.inputs[0].shape[1:3])
    as_network(model, (height, width))  # what `QuantizedModel.convert` would refuse afterwards
    read_graph(model, (height, width))
    check_sizes(model, data, crop_of(recipe, data), recipe.size)
    pixels = check_data(data).pixels["train"]
    with tempfile.TemporaryDirectory(prefix="kseg-qat-") as folder:
        model.save(Path(folder) / "model.keras")
        job = {
            "data": data,
            "recipe": recipe,
            "pixels": pixels,
            "keep": keep,
            "per_channel": per_channel,
        }
        (Path(folder) / "job.pickle").write_bytes(pickle.dumps(job))
        before, history = _run(Path(folder))
        with np.load(Path(folder) / "result.npz") as arrays:
            state = unpack(arrays)
    return QuantizedModel(model, state, before["mean_iou"], history, before.get("pq"))


def _run(folder: Path) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
    """Runs the training process; returns the float network's scores and the history."""
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    before: dict[str, float | None] = {"mean_iou": None}
    history: list[dict[str, Any]] = []
    with tempfile.TemporaryFile() as errors, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-m", "export.compression.qat_training", str(folder)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"},
            text=True,
        )
        stack.callback(_stop, process)
        bar = stack.enter_context(
            tqdm(unit="step", mininterval=0.2 if sys.stderr.isatty() else 60, disable=None)
        )
        for line in process.stdout or ():
            news = json.loads(line)
            if "error" in news:
                raise _error(**news["error"])
            before = news.get("float", before)
            if "row" in news:
                history.append(news["row"])
            bar.total = news.get("steps", bar.total)
            bar.set_postfix_str(_summary(news, history), refresh=False)
            bar.update(news.get("step", bar.n) - bar.n)
        code = process.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    if code:
        why = f"signal {-code}" if code < 0 else (said[-1] if said else f"exit code {code}")
        raise TrainingProcessError(
            f"The process of the quantization-aware training ended before its time ({why}); "
            "nothing was written. If it was out of memory, take a smaller batch_size or crop."
        )
    return before, history


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _error(home: str, kind: str, text: str) -> Exception:
    """Returns the error that was raised in the training process."""
    # Only kseg's own and Python's, which take one sentence; what else it was is in its text.
    if home.split(".")[0] in ("builtins", "kseg", "export"):
        return getattr(importlib.import_module(home), kind)(text)
    return RuntimeError(f"{kind}: {text}")


def _summary(news, history) -> str:
    scored = [score for row in history if (score := score_of(row)) is not None]
    text = f"loss {news['loss']:.3f}" if "loss" in news else ""
    what = "PQ" if any("pq" in row for row in history) else "mIoU"
    return text + (f", val {what} {scored[-1]:.4f}, best {max(scored):.4f}" if scored else "")
