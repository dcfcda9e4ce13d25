"""Puts a trained run into the package: weights, int8 file and record, all measured here.

    python scripts/publish.py RUN NAME --data camvid.yaml --size 360 480 \
        --command "kseg train ..." --licence "research only: ..."

The scores are those of the float16 weights as they are stored, and of the .tflite file. The data
set's word for `weights=` is the last part of NAME, after "_".
"""

import argparse
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import kseg
from export import ExportOptions, convert, full_integer
from kseg.models.trained import load_weights_npz, save_weights_npz

_WEIGHTS = Path(kseg.__file__).parent / "weights"


def main() -> None:
    """Writes the weights, the file and the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True, metavar=("H", "W"))
    parser.add_argument("--command", action="append", required=True)
    parser.add_argument("--licence", required=True)
    arguments = parser.parse_args()

    data, size = kseg.load_data(arguments.data), tuple(arguments.size)
    model = kseg.load(arguments.run)
    weights = _WEIGHTS / f"{arguments.name}.npz"
    save_weights_npz(model, weights)
    load_weights_npz(model, weights)
    scores = kseg.evaluate(model, data)
    int8_file = _WEIGHTS / f"{arguments.name}.tflite"
    with tempfile.TemporaryDirectory() as folder:
        result = convert(
            model,
            full_integer(data.images("train", 100)),
            input_size=size,
            path=Path(folder) / int8_file.name,
            validation=data,
            options=ExportOptions(label_map=data.label_map),
        )
        shutil.copyfile(result.path, int8_file)
    record = {
        **model.kseg_spec,
        "data": arguments.name.rpartition("_")[2],
        "file": weights.name,
        "sha256": _digest(weights),
        "label_map": asdict(data.label_map),
        "size": size,
        "mean_iou": round(scores.mean_iou, 4),
        "iou_per_class": {name: round(iou, 4) for name, iou in scores.iou_per_class.items()},
        "commands": arguments.command,
        "licence": arguments.licence,
        "int8_file": int8_file.name,
        "int8_sha256": _digest(int8_file),
        "int8_mean_iou": round(result.mean_iou, 4),
    }
    path = _WEIGHTS / f"{arguments.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: mean IoU {record['mean_iou']} float, {record['int8_mean_iou']} int8")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
