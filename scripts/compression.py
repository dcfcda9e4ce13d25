"""Compares a float network with its quantized and pruned versions, in one table.

    python scripts/compression.py camvid.yaml --trained runs/fcn8s --out runs/compression

Every row is scored on the validation images. Training for longer improves a network by itself, so
there is a control: it goes on in float for as many epochs as the quantization-aware row, with the
same recipe and with batch norms that do not change either.
"""

import argparse
import csv
import statistics
from pathlib import Path

import keras
from tabulate import tabulate

import kseg
from export import (
    ExportOptions,
    ExportResult,
    convert,
    full_integer,
    gzip_bytes,
    prune,
    quantization_aware,
    sparsity_report,
)


def main() -> None:
    """Trains, converts, scores and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--trained", required=True, help="a run folder or a trained model")
    parser.add_argument("--crop", type=int, nargs=2, default=(288, 384), metavar=("H", "W"))
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("H", "W"))
    parser.add_argument(
        "--epochs",
        type=int,
        default=3,
        help="epochs of quantization-aware training and of the control",
    )
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="learning rate of both")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for each kernel")
    parser.add_argument(
        "--pruning-epochs", type=int, default=12, help="epochs of pruning; 0 leaves it out"
    )
    parser.add_argument(
        "--sparsity", type=float, default=0.65, help="share of zeros in the pruned kernels"
    )
    parser.add_argument(
        "--exclude", nargs="*", default=[], help="layers that are not pruned, such as decoder*"
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder to make")
    arguments = parser.parse_args()

    data, size, out = kseg.load_data(arguments.data), tuple(arguments.size), arguments.out
    images, per_channel = data.images("train", 100), not arguments.per_tensor
    options = ExportOptions(min_ratio=0, max_drop=1, working_size=size)  # measured, not gated
    recipe = kseg.Recipe(
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        backbone_rate=1,  # as in quantization-aware training
        size=size,
        crop=tuple(arguments.crop),
        logit_adjustment=0.0,  # as runs/fcn8s was trained
    )
    out.mkdir(parents=True)
    rows = []

    def row(name: str, model_iou: float, result: ExportResult) -> None:
        sizes = result.path.stat().st_size, gzip_bytes(result.path)
        megabytes = [f"{size / 1e6:.2f}" for size in sizes]
        rows.append([name, f"{model_iou:.4f}", f"{result.mean_iou:.4f}", *megabytes])
        print(*rows[-1], sep=" | ", flush=True)

    def after_training(model: keras.Model, name: str, file: str) -> None:
        path, recipe = out / file, full_integer(images, per_channel=per_channel)
        result = convert(
            model, recipe, input_size=size, path=path, validation=data, options=options
        )
        row(name, result.mean_iou_float, result)

    def aware(model: keras.Model, name: str, file: str, keep: str | None = None) -> float:
        quantized = quantization_aware(model, data, recipe, keep=keep, per_channel=per_channel)
        best = max(epoch["mean_iou"] for epoch in quantized.history)
        result = quantized.convert(out / file, input_size=size, validation=data, options=options)
        row(name, best, result)
        return statistics.median(epoch["seconds"] for epoch in quantized.history[1:])

    keras.utils.set_random_seed(0)
    model = kseg.load(arguments.trained)
    after_training(model, "quantized after training", "ptq.tflite")
    aware_seconds = aware(model, "quantization-aware", "qat.tflite")

    control = kseg.load(arguments.trained)
    for layer in control.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    kseg.fit(control, data, recipe, run_dir=out / "control")
    after_training(control, "control: trained on in float, then quantized", "control.tflite")

    if arguments.pruning_epochs:
        pruned = kseg.load(arguments.trained)
        healing = kseg.Recipe(
            epochs=arguments.pruning_epochs, size=size, crop=recipe.crop, logit_adjustment=0.0
        )
        prune(
            pruned,
            data,
            healing,
            run_dir=out / "pruned",
            sparsity=arguments.sparsity,
            exclude=arguments.exclude,
        )
        zeros = f"pruned, {100 * sparsity_report(pruned)['total']:.0f} % zeros"
        after_training(pruned, f"{zeros}, then quantized", "pruned.tflite")
        aware(pruned, f"{zeros}, quantization-aware", "pruned_qat.tflite", keep="sparsity")

    headers = ["", "model's mIoU", "int8 file's mIoU", "MB", "MB gzipped"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    with (out / "control/history.csv").open() as file:
        seconds = statistics.median(float(epoch["seconds"]) for epoch in csv.DictReader(file))
    ratio = aware_seconds / seconds
    print(f"an epoch of quantization-aware training takes {ratio:.2f} of a float one")


if __name__ == "__main__":
    main()
