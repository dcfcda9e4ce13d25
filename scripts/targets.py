"""Writes the table of targets in docs/export.md: size, latency, agreement, ops off the Edge TPU.

    python scripts/targets.py camvid.yaml --reference deeplabv3_mnv2_pascal_quant.tflite

The reference is Coral's own DeepLab (google-coral/test_data) at its size of 513 x 513. All files
are timed in turn on one thread. Agreement is the share of pixels that a file labels like the float
model: integer files on 16 training images, float files on 4 images of noise.
"""

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import keras
from keeping import keep_to
from tabulate import tabulate
from zoo import off_tpu

import kseg
from export import ExportOptions, convert, float16, float32, full_integer
from export.tflite.benchmark import benchmark
from kseg.models import TRAINED

_MARKS = ("<!-- scripts/targets.py -->", "<!-- /scripts/targets.py -->")
_TRAINED = ("atrous_fpn_camvid", "fcn8s_camvid")
_STRIDES = {"fcn8s": 8}  # the other ends at stride 4
_KINDS = (
    # target, quantization, head, whether it ends at the decoder's stride
    ("android", "none", "logits", False),
    ("android", "float16", "logits", False),
    ("android", "int8", "logits", False),
    ("android", "int8", "argmax", False),
    ("edgetpu", "int8", "logits", False),
    ("edgetpu", "int8", "logits", True),
    ("ethos-u55-128", "int8", "logits", True),
)


def main() -> None:
    """Converts, times and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument(
        "--files", type=Path, help="folder to keep the files in; files found there are reused"
    )
    arguments = parser.parse_args()

    images = kseg.load_data(arguments.data).images("train", 100)
    rows = [["Coral's DeepLab v3", "", "513 x 513", "", arguments.reference, ""]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.files or Path(temporary)
        keep_to(
            folder / "settings.json",
            any(folder.glob("*.tflite")),
            data=arguments.data,
            kseg=version("kseg"),
        )

        def add(name, model, size, target, quantization, head, stride):
            recipe = {
                "none": float32,
                "float16": float16,
                "int8": lambda: full_integer(images),
            }[quantization]()
            path = folder / f"{len(rows)}.tflite"
            options = ExportOptions(head=head, stride=stride)
            if not path.exists():
                convert(model, recipe, target=target, input_size=size, path=path, options=options)
            report = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            kind = " ".join([quantization, *([head] if head != "logits" else [])])
            kind += f", stride {stride}" if stride > 1 else ""
            agreement = f"{100 * report['verification']['agreement']:.1f} %"
            text = f"{size[0]} x {size[1]}"
            rows.append([name, f"{target}, {kind}", text, agreement, path, ""])
            print(*rows[-1][:4], sep=" | ", flush=True)

        keras.utils.set_random_seed(0)
        network = kseg.build_fcn8s(num_classes=21)
        for size in ((360, 480), (512, 512)):
            for quantization in ("none", "int8"):
                add("fcn8s, 21 classes", network, size, "android", quantization, "logits", 1)
        for row in rows[1:]:
            row[3] = ""  # its last layers are not trained: there is nothing to agree on
        for name in _TRAINED:
            model, record = kseg.load(name), TRAINED[name]
            for target, quantization, head, ends in _KINDS:
                stride = _STRIDES.get(record.builder, 4) if ends else 1
                add(name, model, record.size, target, quantization, head, stride)
        timed = benchmark([row[4] for row in rows], threads=1, runs=arguments.runs)
        for row, times in zip(rows, timed, strict=True):
            row[5] = "" if "none" in row[1] or "float16" in row[1] else off_tpu(row[4])
            row[4] = f"{times['bytes'] / 1e6:.2f} MB"
            row[3:3] = [f"{times['ratio']:.2f}"]
    headers = ["model", "target, file", "input", "latency", "agreement", "size", "ops off the TPU"]
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    page = Path(__file__).parent.parent / "docs/export.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    text = f"{before}{_MARKS[0]}\n{table}\n{_MARKS[1]}{after}"
    page.write_text(text, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
