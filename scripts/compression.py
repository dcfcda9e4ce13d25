"""Float, after training, quantization-aware, pruned: one network, one data set, one table.

    python scripts/compression.py camvid.yaml --trained fcn8s_camvid --out runs/compression

Every row is scored on the validation photos. The control trains on in float for as many epochs as
the quantization-aware row, with the same recipe, because training longer is a gain of its own.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import keras
from tabulate import tabulate

import kseg
from export import (
    ExportOptions,
    convert,
    full_integer,
    gzip_bytes,
    prune,
    quantization_aware,
    sparsity_report,
)

_ANY = ExportOptions(min_ratio=0, max_drop=1)  # measured here, not gated


def main() -> None:
    """Trains, converts, scores and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--trained", required=True, help="a run folder or a trained model")
    parser.add_argument("--crop", type=int, nargs=2, default=(288, 384), metavar=("H", "W"))
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("H", "W"))
    parser.add_argument("--epochs", type=int, default=3, help="of QAT and of the control")
    parser.add_argument("--pruning-epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    arguments = parser.parse_args()

    data, size, out = kseg.load_data(arguments.data), tuple(arguments.size), arguments.out
    photos = data.images("train", 100)
    recipe = kseg.Recipe(
        epochs=arguments.epochs, learning_rate=arguments.learning_rate, crop=tuple(arguments.crop)
    )
    out.mkdir(parents=True)
    rows = []

    def row(name, model_iou, result):
        rows.append(
            [name, f"{model_iou:.4f}", f"{result.mean_iou:.4f}"]
            + [
                f"{size / 1e6:.2f}"
                for size in (result.path.stat().st_size, gzip_bytes(result.path))
            ]
        )
        print(*rows[-1], sep=" | ", flush=True)

    def after_training(model, name):
        return convert(
            model,
            full_integer(photos),
            input_size=size,
            path=out / f"{name}.tflite",
            validation=data,
            options=_ANY,
        )

    keras.utils.set_random_seed(0)
    model = kseg.load(arguments.trained)
    result = after_training(model, "ptq")
    row("after training", result.mean_iou_float, result)

    started = time.monotonic()
    quantized = quantization_aware(model, data, recipe)
    qat_seconds = time.monotonic() - started
    result = quantized.convert(out / "qat.tflite", input_size=size, validation=data, options=_ANY)
    row("quantization-aware", max(e["mean_iou"] for e in quantized.history), result)

    control = kseg.load(arguments.trained)
    started = time.monotonic()
    kseg.fit(control, data, recipe, run_dir=out / "control")
    seconds = time.monotonic() - started
    result = after_training(control, "control")
    row("control: trained on in float", result.mean_iou_float, result)

    pruned = kseg.load(arguments.trained)
    longer = replace(recipe, epochs=arguments.pruning_epochs)
    prune(pruned, data, longer, run_dir=out / "pruned", exclude=["score_*"])
    result = after_training(pruned, "pruned")
    zeros = sparsity_report(pruned)["total"]
    row(f"pruned, {100 * zeros:.0f} % zeros", result.mean_iou_float, result)

    headers = ["", "model's mIoU", "int8 file's mIoU", "MB", "MB gzipped"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print(f"quantization-aware training took {qat_seconds / seconds:.2f} of the control's time")


if __name__ == "__main__":
    main()
