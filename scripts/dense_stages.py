"""Says how much time an atrous FPN saves where first blocks of its backbone are dense.

    python scripts/dense_stages.py --rounds 3

A block of EfficientNet-Lite0 widens, filters each channel by itself and narrows. "Fused" makes the
first two one dense 3 x 3 convolution (EfficientNet-EdgeTPU's and EfficientNetV2's block); "plain"
is a single dense 3 x 3 convolution. The networks are not trained: the time of an int8 file does not
depend on its weights (`scripts/dense_training.py` trains them). All files are timed in turn on one
thread; read the ratios.
"""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
from keras import layers
from tabulate import tabulate

import export
import kseg
from export.graph.calibration import calibration
from export.graph.converter import draft
from export.graph.fixed import fix_model
from export.tflite.benchmark import benchmark
from kseg.analysis import describe
from kseg.backbones import efficientnet_lite as family
from kseg.layers import conv_norm_act, inverted_residual

SIZE = (360, 480)
# The block numbers by kind; those that are in neither stay as they are.
ROWS = {
    "as it is": ((), ()),
    "blocks 1 and 2 fused": ((1, 2), ()),
    "blocks 0 to 2 fused": ((0, 1, 2), ()),
    "blocks 0 to 2 plain": ((), (0, 1, 2)),
    "blocks 0 to 2 plain, 3 and 4 fused": ((3, 4), (0, 1, 2)),
    "blocks 0 to 4 plain": ((), (0, 1, 2, 3, 4)),
}


def main() -> None:
    """Builds, converts, times and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the tiny network's shape")
    parser.add_argument("--rounds", type=int, default=2, help="times that all files are timed")
    parser.add_argument("--reference", type=Path, help="a file that is timed in turn with them")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIZE, 3), "uint8") for _ in range(8)]
    with TemporaryDirectory() as folder:
        files, macs = [], []
        for name, (fused, plain) in ROWS.items():
            model = build(fused, plain, arguments.tiny)
            macs.append(describe(model, SIZE).macs)
            files.append(Path(folder) / f"{name}.tflite")
            files[-1].write_bytes(_convert(model, images))
        if arguments.reference:
            files.append(arguments.reference)
        rounds = [benchmark(files, runs=40) for _ in range(arguments.rounds)]
    ratios = [[timed["ratio"] for timed in each] for each in zip(*rounds, strict=True)]
    rows = [
        (name, f"{count / 1e9:.2f} G", ", ".join(f"{ratio:.2f}" for ratio in ratio_of))
        for name, count, ratio_of in zip(ROWS, macs, ratios, strict=False)
    ]
    if arguments.reference:
        rows.append((arguments.reference.name, "", ", ".join(f"{r:.2f}" for r in ratios[-1])))
    print(tabulate(rows, ["", "MACs", "time, each round"], tablefmt="github"))


def build(
    fused: tuple[int, ...], plain: tuple[int, ...], tiny: bool, weights: str | None = None
) -> keras.Model:
    """Builds the network with some blocks in place of others."""

    def block(x, filters, kernel_size, *, expansion, strides, dilation_rate, name):
        number = int(name.removeprefix("block"))
        if number not in (*fused, *plain):
            more = {"strides": strides, "dilation_rate": dilation_rate, "name": name}
            return inverted_residual(x, filters, kernel_size, expansion=expansion, **more)
        shortcut = x
        if number in fused and expansion > 1:
            x = conv_norm_act(x, x.shape[-1] * expansion, 3, strides=strides, name=f"{name}_fused")
            x = conv_norm_act(x, filters, 1, activation=False, name=f"{name}_project")
        else:
            bent = number in plain[:-1]  # the features that are handed on are linear, as Lite's
            x = conv_norm_act(x, filters, 3, strides=strides, activation=bent, name=name)
        if strides == 1 and shortcut.shape[-1] == filters:
            x = layers.Add(name=f"{name}_add")([x, shortcut])
        return x, shortcut  # there are no wide features before the step of a dense convolution

    own, family.inverted_residual = family.inverted_residual, block
    try:
        cut = {"backbone": "efficientnet_lite0_cut", "output_stride": 16, "filters": 64}
        return kseg.build_atrous_fpn(num_classes=11, weights=weights, **(cut if tiny else {}))
    finally:
        family.inverted_residual = own


def _convert(model: keras.Model, images: list[np.ndarray]) -> bytes:
    fixed = fix_model(model, SIZE, keep_scaling=False)
    ranges = partial(calibration, images, SIZE, fixed.scaling, None)
    return draft(fixed.model, export.full_integer(images), "logits", ranges)


if __name__ == "__main__":
    main()
