"""`kseg demo`: build, train, evaluate, quantize and verify, on generated images."""

import sys
from pathlib import Path

import keras
import numpy as np
from tabulate import tabulate

import kseg
from kseg.data.synthetic import write_shapes
from kseg.visualize import colorize, overlay, panel

_SIZE = 160
_SHOWN = 4
_RECIPE = kseg.Recipe(
    epochs=14,
    batch_size=8,
    freeze="c2",
    learning_rate=3e-3,
    backbone_rate=0.5,
    validate_every=7,
)


def run_demo(out: Path) -> None:
    """Goes the whole way and leaves files and a picture.

    Args:
        out: Folder for the data set, the run, `shapes.tflite` and `demo.png`.

    Raises:
        ValueError: If the folder is not empty.
        GateError: If the int8 file is worse than the gate allows.
    """
    from export import ExportOptions, convert, float32, full_integer, load_tflite
    from export.tflite.benchmark import benchmark

    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name another folder with --out.")
    _say("1/5 drawing 184 images of shapes")
    data = kseg.load_data(write_shapes(out / "data", size=_SIZE))
    _say("2/5 fine-tuning FCN-8s on EfficientNet-Lite0 with ImageNet weights")
    keras.utils.set_random_seed(0)
    model = kseg.build_fcn8s(num_classes=data.classes.num_classes)
    untrained = kseg.evaluate(model, data)
    kseg.fit(model, data, _RECIPE, run_dir=out / "run")
    _say("3/5 converting to a full-integer .tflite and scoring it on the same images")
    size = (_SIZE, _SIZE)
    result = convert(
        model,
        full_integer(data.images("train", 48)),
        input_size=size,
        path=out / "shapes.tflite",
        validation=data,
    )
    _say("4/5 timing it beside a float32 file")
    convert(
        model,
        float32(),
        input_size=size,
        path=out / "shapes_float32.tflite",
        options=ExportOptions(classes=data.classes),
    )
    files = [out / "shapes_float32.tflite", result.path]
    times = benchmark(files)
    _say("5/5 drawing the picture")
    with load_tflite(result.path) as file:
        _draw(out / "demo.png", data, model, file)
    rows = [
        ["untrained", untrained.mean_iou, None, None, None],
        ["float32", result.mean_iou_float, times[0]["bytes"] / 1e6, times[0]["median_ms"], 1.0],
        [
            "int8",
            result.mean_iou,
            times[1]["bytes"] / 1e6,
            times[1]["median_ms"],
            times[1]["ratio"],
        ],
    ]
    table = tabulate(
        rows,
        ["FCN-8s", "val mIoU", "MB", "ms", "time"],
        floatfmt=("", ".4f", ".2f", ".2f", ".2f"),
        tablefmt="github",
    )
    (out / "demo.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    print(
        f"int8 labels {100 * result.agreement:.2f} % of the pixels like float. "
        f"See {out / 'demo.png'}; the file for the phone is {result.path}."
    )


def _draw(path: Path, data: kseg.Data, model: keras.Model, file) -> None:
    pairs = data.files("val")
    rows = []
    for index in np.linspace(0, len(pairs) - 1, _SHOWN).astype(int):
        image, truth = data.read(pairs[index])
        labelled = [kseg.predict(m, image) for m in (model, file)]
        overlays = [overlay(image, labels, data.classes) for labels in labelled]
        rows.append([image, colorize(truth, data.classes), *overlays])
    panel(rows, ("image", "truth", "float", "int8"), 240).save(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
