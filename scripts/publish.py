"""Puts a trained run into the package: weights, int8 file and record, all measured here.

    python scripts/publish.py RUN NAME --data camvid.yaml --size 360 480 \
        --command "kseg train ..." --licence "research only: ..." \
        [--final RUN --final-command "kseg train ... --with-val"]

The scores are those of RUN, which has not seen the validation images: one of its float16 weights,
one of its .tflite file. If there is a final run, its weights and its file go into the package, and
else those of RUN. If there are several, of which all went on from the same weights, the mean of
theirs does (Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482). The last part of NAME,
after "_", becomes the word to pass as `weights=`.
"""

import argparse
import hashlib
import json
import shlex
import shutil
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

import keras
import numpy as np

import kseg
from export import ExportOptions, ExportResult, convert, full_integer, quantization_aware
from kseg.data import check_data
from kseg.instances import tells_objects_apart
from kseg.losses import balanced_class_weights
from kseg.models import TRAINED
from kseg.models.trained import last_runs, load_weights_npz, save_weights_npz
from kseg.training.run import open_run, saw_val

_WEIGHTS = Path(kseg.__file__).parent / "weights"
_LARGEST_FILE = 8_000_000  # bytes
_FRACTION_BITS = 8, 6  # of dense kernels


def main() -> None:
    """Writes the weights, the file and the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True, metavar=("H", "W"))
    parser.add_argument("--command", action="append", required=True)
    parser.add_argument("--licence", required=True)
    parser.add_argument(
        "--final",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="run folder that went on with the validation images; several give their mean",
    )
    parser.add_argument(
        "--final-command",
        action="append",
        default=[],
        help="what made the final runs, in order; a run may have taken several",
    )
    parser.add_argument(
        "--native",
        action="store_true",
        help="the network works at the images' own size; --size is that of the .tflite file",
    )
    parser.add_argument(
        "--qat-epochs",
        type=int,
        default=0,
        metavar="N",
        help="epochs of quantization-aware training for the .tflite file; 0: none",
    )
    parser.add_argument(
        "--logit-adjustment",
        type=float,
        default=0.0,
        metavar="X",
        help="for runs with logit_adjustment=0: takes that out of the last biases",
    )
    arguments = parser.parse_args()
    if arguments.qat_epochs < 0:
        parser.error("--qat-epochs must be 0 or more")
    if len(arguments.final) != len(ends := last_runs(arguments.final_command)):
        parser.error(
            f"{len(arguments.final)} times --final, but the --final-command end in {len(ends)} "
            f"runs: {', '.join(ends)}"
        )
    for command in [*arguments.command, *arguments.final_command]:
        for name in TRAINED.keys() & shlex.split(command, comments=True):
            parser.error(f"{name} changes with every publication; name the run it came from")

    data, size = kseg.load_data(arguments.data), tuple(arguments.size)
    adjusted = bool(arguments.logit_adjustment)
    check_run(arguments.run, data, adjust=adjusted, scored=True)
    for run in arguments.final:
        check_run(run, data, adjust=adjusted)
    with tempfile.TemporaryDirectory() as folder:
        measure = partial(_measure, data=data, size=size, options=arguments)
        model, scores, result = final = measure([arguments.run], folder=Path(folder) / "run")
        if arguments.final:
            final = measure(arguments.final, folder=Path(folder) / "final", with_val=True)
        weights = shutil.copyfile(
            final[2].path.with_suffix(".npz"), _WEIGHTS / f"{arguments.name}.npz"
        )
        int8_file = shutil.copyfile(final[2].path, _WEIGHTS / f"{arguments.name}.tflite")
    record = {
        **model.kseg_spec,
        "data": arguments.name.rpartition("_")[2],
        "file": weights.name,
        "sha256": _digest(weights),
        "classes": asdict(data.classes),
        "input_range": "RGB, 0..255",
        "size": size,
        "mean_iou": round(scores.mean_iou, 4),
        "iou_per_class": {name: round(iou, 4) for name, iou in scores.iou_per_class.items()},
        "commands": arguments.command,
        "licence": arguments.licence,
        "final_commands": arguments.final_command,
        "logit_adjustment": arguments.logit_adjustment,
        "final_mean_iou": round(final[1].mean_iou, 4),
        "int8_file": int8_file.name,
        "int8_sha256": _digest(int8_file),
        "int8_mean_iou": round(result.mean_iou, 4),
        "final_int8_mean_iou": round(final[2].mean_iou, 4),
        "qat_epochs": arguments.qat_epochs,
        "native": arguments.native,
        **_objects(model, result),
    }
    path = _WEIGHTS / f"{arguments.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: mean IoU {record['mean_iou']} float, {record['int8_mean_iou']} int8")


def _objects(model: keras.Model, result: ExportResult) -> dict:
    """Returns the facts of a network that tells objects apart; {} of others."""
    if not tells_objects_apart(model):
        return {}
    objects = result.report["verification"]["objects"]
    scores = {"float": objects["float"], "int8": objects["file"]}
    return {
        "things": list(model.kseg_things),
        "instances": {**scores, "offset_error": objects["offset_error"]},
    }


def _measure(
    runs: list[Path],
    *,
    data: kseg.Data,
    size: tuple[int, int],
    folder: Path,
    options: argparse.Namespace,
    with_val: bool = False,
) -> tuple[keras.Model, kseg.Scores, ExportResult]:
    """Scores the mean of runs' weights as float16 and as an int8 file; leaves both in a folder."""
    folder.mkdir()
    model, *others = [kseg.load(run) for run in runs]
    model.kseg_size = None if options.native else size  # at which users will use it
    each = zip(*(network.get_weights() for network in (model, *others)), strict=True)
    model.set_weights([np.mean(values, axis=0) for values in each])
    if options.logit_adjustment:
        splits = ("train", "val") if with_val else ("train",)
        adjust(model, options.logit_adjustment * log_weights(data, splits))
    save_weights(model, folder / "model.npz")
    load_weights_npz(model, folder / "model.npz")
    if options.qat_epochs:
        rate = kseg.Recipe().learning_rate / 10  # as `kseg export` does
        recipe = kseg.Recipe(
            epochs=options.qat_epochs, size=size, learning_rate=rate, with_val=with_val
        )
        make = quantization_aware(model, data, recipe).convert
    else:
        make = partial(convert, model, full_integer(data.images("train", 100)))
    result = make(
        input_size=size,
        path=folder / "model.tflite",
        validation=data,
        options=ExportOptions(classes=data.classes, working_size=model.kseg_size),
    )
    return model, kseg.evaluate(model, data), result


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes weights as fine as fits into 8 MB, as int8 files lose by coarse ones."""
    for bits in _FRACTION_BITS:
        save_weights_npz(model, path, bits)
        if path.stat().st_size <= _LARGEST_FILE:
            break


def check_run(run: Path, data: kseg.Data, *, adjust: bool, scored: bool = False) -> None:
    """Refuses a run of other classes than those of the data, or of which a figure would be wrong.

    Args:
        run: The run folder.
        data: The data set.
        adjust: Whether its logits are to be adjusted.
        scored: Whether it is scored on the validation images.

    Raises:
        SystemExit: If it is such a run: its logits were adjusted already, class weights put
            nothing into them, or it saw the validation images that are to score it.
    """
    opened = open_run(run)
    names, expected = (", ".join(each.classes.names) for each in (opened, data))
    if names != expected:
        raise SystemExit(
            f"{run} has the classes {names}, and {data.source} has {expected}; take the data that "
            "it was trained on."
        )
    if scored and saw_val(opened):
        raise SystemExit(
            f"{run} has seen validation images, which would score it; name the run before it, and "
            "this one as --final."
        )
    asked = opened.record["asked"] or {}
    if adjust and asked.get("class_weights", "auto") != "auto":
        raise SystemExit(
            f"{run} was trained with class_weights={asked['class_weights']}, so class weights put "
            "nothing into its logits that could be taken out; leave --logit-adjustment out."
        )
    amount = asked.get("logit_adjustment", 0)
    if adjust and amount:
        raise SystemExit(
            f"{run} was trained with logit_adjustment={amount:g}, so its logits would be adjusted "
            "twice; take a run of a training with logit_adjustment=0."
        )


def log_weights(data: kseg.Data, splits: tuple[str, ...] = ("train",)) -> np.ndarray:
    """Returns the logarithm of each class's weight in a training on these splits."""
    pixels = check_data(data).pixels
    return np.log(balanced_class_weights(sum(pixels[split] for split in splits)))


def adjust(model: keras.Model, amounts: np.ndarray) -> None:
    """Subtracts from the logits of each class, in the bias of the last convolution that has one.

    What follows it, an enlargement or a sum, leaves constants as they are.
    """
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    last = [layer for layer in convolutions if layer.use_bias][-1]
    last.bias.assign(np.asarray(last.bias) - amounts)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
