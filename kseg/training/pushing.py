"""What of a run goes to a hub: its record, its best weights, and a model card."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kseg.training.checkpoints import read_checkpoint, write_checkpoint
from kseg.training.run import Run, open_run, saw_val

_CARD = "README.md"
_PICTURES = ("preview.png", "curves.png", "history.csv")
_ADDED = ("step", "sha256", "format", "checksum")  # of a manifest; they are made anew


def gather(
    run: str | Path, folder: Path, address: str, *, licence: str, files: Sequence[Path] = ()
) -> None:
    """Fills a folder with what is pushed; it is a run folder too, without what resuming needs.

    Args:
        run: The run folder.
        folder: An empty folder.
        address: Where it will be, for the card.
        licence: As the hub names them.
        files: Files to put beside it.

    Raises:
        ImportError: If huggingface_hub, which writes the card's head, is not installed.
        ValueError: If it is not a run, has no whole checkpoint, or a file is missing.
    """
    opened = open_run(run)
    step, manifest, groups = read_checkpoint(opened.path, "best")
    facts = {name: value for name, value in manifest.items() if name not in _ADDED}
    write_checkpoint(folder, step, {"average": groups["average"]}, facts)
    shutil.copy(opened.path / "run.json", folder)
    for name in _PICTURES:
        if (opened.path / name).is_file():
            shutil.copy(opened.path / name, folder)
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: there is no such file.")
        if (folder / file.name).exists() or file.name == _CARD:
            raise ValueError(
                f"{file} has the name of another file that is pushed; give it another name."
            )
        shutil.copy(file, folder)
    card = _card(opened, manifest, address, licence)
    (folder / _CARD).write_text(card, encoding="utf-8")


def _card(run: Run, manifest: dict[str, Any], address: str, licence: str) -> str:
    """Returns the model card: the head that the Hub's pages read, and a text."""
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ImportError as error:
        raise ImportError("kseg push needs huggingface_hub: pip install 'kseg[hub]'.") from error

    spec, data = run.record["spec"], (run.record["data"] or {}).get("source", "unknown")
    name = address.rsplit("/", 1)[-1]
    scored = manifest["mean_iou"]
    results = None
    part = run.record["recipe"].get("validate_images")  # how many there are, a run does not say
    on = f"on at most {part} images of val" if part else "val"
    if saw_val(run):
        on += ", on whose images it was trained"
    elif scored is not None and not part:
        results = [
            EvalResult(
                task_type="image-segmentation",
                dataset_type="custom",
                dataset_name=data,
                dataset_split="val",
                metric_type="mean_iou",
                metric_value=round(scored, 4),
            )
        ]
    head = ModelCardData(
        license=licence,
        library_name="keras",
        pipeline_tag="image-segmentation",
        tags=["kseg", "semantic-segmentation"],
        model_name=name,
        eval_results=results,
    )
    row: dict[str, Any] = next(
        (r for r in manifest["history"] if r["mean_iou"] == scored and scored), {}
    )
    lines = [
        f"# {name}",
        "",
        _what(run, spec, data),
        "",
        *_usage(address),
        "",
        "| | |",
        "|---|---|",
    ]
    size = f"{run.size[0]} x {run.size[1]}" if run.size else "the images' own"
    facts = {"input": _input(spec), "working size": size, "steps": manifest["step"]}
    facts |= {f"mean IoU, {on}": "not scored" if scored is None else f"{scored:.4f}"}
    facts |= {"made with": ", ".join(f"{k} {v}" for k, v in run.record["versions"].items())}
    lines += [f"| {key} | {value} |" for key, value in facts.items()]
    lines += ["", f"| class | IoU, {on} |", "|---|---|"]
    for label in run.classes.names:
        iou = row.get(f"iou {label}")
        shown = "-" if iou is None else f"{iou:.4f}"
        lines.append(f"| {label.replace('|', ' ')} | {shown} |")
    if (run.path / "preview.png").is_file():
        lines += ["", "Validation images, their labels, and what the model says:", ""]
        lines += ["![preview](preview.png)"]
    return f"---\n{head.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n"


def _what(run: Run, spec: dict[str, Any] | None, data: str) -> str:
    if spec is None:
        network = "A network of its author's own"
    else:
        given = ", ".join(f"{k}={v!r}" for k, v in spec["arguments"].items())
        network = f"`{spec['builder']}({given})`"
    return f"{network}, trained by kseg on {data}: {run.classes.num_classes} classes."


def _input(spec: dict[str, Any] | None) -> str:
    if spec is None:
        return "0..255, of its author's size and channels"
    *_, channels = spec["arguments"].get("input_shape", (3,))
    kind = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
    return f"{kind}, 0..255, any size"


def _usage(address: str) -> list[str]:
    return [
        "```python",
        "import kseg",
        "",
        f'model = kseg.load("{address}")',
        'labels = kseg.predict(model, "image.jpg")',
        "```",
    ]
