"""`kseg demo`: builds, trains, evaluates, quantizes and verifies a network on drawn images."""

import sys
from pathlib import Path

import keras
import numpy as np
from tabulate import tabulate

import kseg
from kseg.data.synthetic import write_shapes
from kseg.visualize import comparison

_SIZE = 160
_SHOWN = 4  # validation images in the comparison
_RECIPE = kseg.Recipe(
    epochs=14,
    batch_size=8,
    freeze="c2",
    learning_rate=3e-3,
    backbone_rate=0.5,
    validate_every=7,
)


def run_demo(out: Path) -> None:
    """Takes a network all the way from drawn images to a verified file, in a few minutes.

    Args:
        out: Empty or new folder, in which the data set, the run, `shapes.tflite`, `demo.png` and
            `demo.md` are put.

    Raises:
        ValueError: If the folder is not empty.
        GateError: If the int8 file is less accurate than the gate allows.
    """
    from export import ExportOptions, convert, float32, full_integer, load_tflite
    from export.tflite.benchmark import benchmark

    if out.exists() and any(out.iterdir()):
        raise ValueError(f"The folder {out} is not empty; name a new one with --out.")
    _say("1/5 Drawing 184 images of shapes with their label maps")
    data = kseg.load_data(write_shapes(out / "data", size=_SIZE))
    _say("2/5 Training FCN-8s, whose backbone EfficientNet-Lite0 starts from ImageNet weights")
    keras.utils.set_random_seed(0)
    model = kseg.build_fcn8s(num_classes=data.classes.num_classes)
    untrained = kseg.evaluate(model, data)
    kseg.fit(model, data, _RECIPE, run_dir=out / "run")
    _say("3/5 Converting to an integer .tflite file and scoring it on the validation images")
    size = (_SIZE, _SIZE)
    result = convert(
        model,
        full_integer(data.images("train", 48)),
        input_size=size,
        path=out / "shapes.tflite",
        validation=data,
    )
    _say("4/5 Timing it beside a float32 file")
    convert(
        model,
        float32(),
        input_size=size,
        path=out / "shapes_float32.tflite",
        options=ExportOptions(classes=data.classes),
    )
    files = [out / "shapes_float32.tflite", result.path]
    times = benchmark(files)
    _say("5/5 Drawing the comparison")
    with load_tflite(result.path) as file:
        _draw_comparison(out / "demo.png", data, model, file)
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
        ["FCN-8s", "mean IoU, validation", "size, MB", "latency, ms", "relative to float32"],
        floatfmt=("", ".4f", ".2f", ".2f", ".2f"),
        tablefmt="github",
    )
    (out / "demo.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    print(
        f"The int8 file gives {100 * result.agreement:.2f} % of the pixels the same label as the "
        f"float model. See {out / 'demo.png'}. The file for the phone is {result.path}."
    )


def _draw_comparison(path: Path, data: kseg.Data, model: keras.Model, file) -> None:
    """Draws some validation images, their true labels, and what the model and the file predict."""
    pairs = data.files("val")
    rows = []
    for index in np.linspace(0, len(pairs) - 1, _SHOWN).astype(int):
        image, truth = data.read(pairs[index])
        labelled = [kseg.predict(m, image) for m in (model, file)]
        rows.append([image, truth, *labelled])
    titles = ("image", "true labels", "float model", "int8 file")
    comparison(rows, titles, data.classes, 240).save(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
