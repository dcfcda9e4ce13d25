"""What the verbs do. `export`, and TensorFlow with it, is imported only by those that need it."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from tabulate import tabulate

import kseg
from kseg.backbones import BACKBONES
from kseg.data import Data
from kseg.data.files import read_image
from kseg.label_map import LabelMap
from kseg.metrics import Scores
from kseg.models import MODELS, TRAINED, build
from kseg.training.run import open_run


def train(arguments: Namespace) -> None:
    """Trains a network into a run folder."""
    data = kseg.load_data(arguments.data)
    start = arguments.weights
    recipe = kseg.Recipe(
        backbone_rate=1.0 if start == "none" else kseg.Recipe.backbone_rate,
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        batch_size=arguments.batch_size,
        size=_pair(arguments.size),
        crop=_pair(arguments.crop),
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
        freeze=arguments.freeze,
        validate_every=arguments.validate_every,
    )
    keras.utils.set_random_seed(arguments.seed)
    network = {
        "num_classes": data.label_map.num_classes,
        "backbone": arguments.backbone,
        "weights": "imagenet" if start == "imagenet" else None,
    }
    model = build(arguments.model, network)
    if start not in ("imagenet", "none"):
        _copy_weights(kseg.load(start), model)
    run = kseg.fit(model, data, recipe, run_dir=arguments.out, resume=arguments.resume)
    scores = kseg.evaluate(model, data, size=recipe.size)
    _print_scores(scores)
    print(f"best weights are in {run.path}; next: kseg export {run.path} --data {arguments.data}")


def evaluate(arguments: Namespace) -> None:
    """Scores a model on a split."""
    data = kseg.load_data(arguments.data)
    model, _, size = _open_model(arguments.model)
    scores = kseg.evaluate(
        model,
        data,
        split=arguments.split,
        size=_pair(arguments.size) or size,
        pad_to=_pair(arguments.pad_to),
        crop_to=_pair(arguments.crop_to),
        progress=True,
    )
    if arguments.json:
        print(json.dumps(scores.to_json()))
    else:
        _print_scores(scores)


def predict(arguments: Namespace) -> None:
    """Writes a label map and an overlay for each photo."""
    stems = [path.stem for path in arguments.images]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise ValueError(
            f"Photos are written under their names without ending, and {sorted(twice)[0]!r} comes "
            "twice; predict them one after the other into different folders."
        )
    photos = []
    for path in arguments.images:  # a bad photo is found before the model is loaded
        try:
            photos.append(np.asarray(read_image(path)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None
    model, label_map, size = _open_model(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path, stem, photo in zip(arguments.images, stems, photos, strict=True):
        labels = kseg.predict(model, photo, size=_pair(arguments.size) or size)
        picture = Image.fromarray(labels, mode="P")
        picture.putpalette(label_map.palette())
        target, laid_over = (
            arguments.out / f"{stem}.{end}" for end in ("labels.png", "overlay.png")
        )
        picture.save(target)
        Image.fromarray(kseg.overlay(photo, labels, label_map)).save(laid_over)
        print(f"{path}: {_shares(labels, label_map)} -> {target}, {laid_over}")


def export(arguments: Namespace) -> None:
    """Makes a verified .tflite file."""
    if arguments.data is None and arguments.quantization == "int8":
        raise ValueError(
            "int8 needs photos to take ranges from: name a data set with --data, or pass "
            "--quantization float16."
        )
    data = kseg.load_data(arguments.data) if arguments.data else None
    model, label_map, size = _open_model(arguments.run)
    if not isinstance(model, keras.Model):
        raise ValueError(f"{arguments.run} is exported already; name the run folder it came from.")
    from export import ExportOptions, convert, dynamic_range, float16, float32, full_integer

    if arguments.quantization == "int8" and data is not None:
        recipe = full_integer(data.images("train", 100))
    else:
        made = {"float16": float16, "dynamic_range": dynamic_range, "none": float32}
        recipe = made[arguments.quantization]()
    input_size = _pair(arguments.size) or size or _photo_size(data)
    options = ExportOptions(
        head=arguments.head,
        overwrite=arguments.overwrite,
        label_map=label_map,
        working_size=input_size if size is not None else None,
    )
    result = convert(
        model,
        recipe,
        target=arguments.target,
        input_size=input_size,
        path=arguments.out,
        validation=data,
        options=options,
    )
    if arguments.json:
        print(json.dumps(result.report))
        return
    facts = result.report
    rows = [
        ["file", f"{result.path} ({facts['file']['bytes'] / 1e6:.2f} MB)"],
        ["input", _endpoint(facts["input"])],
        ["output", _endpoint(facts["output"])],
        ["ops", ", ".join(f"{count} {name}" for name, count in facts["ops"].items())],
        ["labels like the float model's", f"{100 * result.agreement:.2f} %"],
    ]
    if result.mean_iou is not None and result.mean_iou_float is not None:
        rows.append(["mean IoU, float", f"{result.mean_iou_float:.4f}"])
        rows.append(["mean IoU, file", f"{result.mean_iou:.4f}"])
    rows.append(["certified", "yes" if result.certified else "no: no labelled photos (--data)"])
    print(tabulate(rows, tablefmt="plain"))


def benchmark(arguments: Namespace) -> None:
    """Times .tflite files."""
    from export.benchmark import benchmark as measure

    results = measure(arguments.files, threads=arguments.threads, runs=arguments.runs)
    if arguments.json:
        print(json.dumps({"files": results}))
        return
    rows = [
        [
            r["file"],
            r["median_ms"],
            r["p90_ms"],
            r["min_ms"],
            r["ratio"],
            r["load_ms"],
            r["bytes"] / 1e6,
        ]
        for r in results
    ]
    headers = ["file", "median ms", "p90 ms", "min ms", "ratio", "load ms", "MB"]
    print(tabulate(rows, headers, floatfmt=".2f"))


def models(arguments: Namespace) -> None:
    """Lists networks, backbones and trained models."""
    trained = {
        name: {
            "network": record.builder,
            "data": record.data,
            "mean_iou": record.mean_iou,
            "size": list(record.size),
            "licence": record.licence,
        }
        for name, record in TRAINED.items()
    }
    if arguments.json:
        listing = {"networks": list(MODELS), "backbones": list(BACKBONES), "trained": trained}
        print(json.dumps(listing))
        return
    print(f"networks:  {', '.join(MODELS)}\nbackbones: {', '.join(BACKBONES)}")
    rows = [[name, *facts.values()] for name, facts in trained.items()]
    if rows:
        print(tabulate(rows, ["trained", "network", "data", "val mIoU", "size", "licence"]))


def demo(arguments: Namespace) -> None:
    """Goes the whole way on generated photos."""
    from kseg.demo import run_demo

    run_demo(arguments.out)


def _open_model(name: str):
    """Returns (model, label map, working size) of a run folder, a file or a trained model."""
    if name in TRAINED:
        record = TRAINED[name]
        return kseg.load(name), record.label_map, None
    if Path(name).suffix == ".tflite":
        from export import load_tflite

        model = load_tflite(name)
        return model, *_file_facts(Path(name), model.num_classes)
    if not Path(name).is_dir():
        known = f" Trained models: {', '.join(TRAINED)}." if TRAINED else ""
        raise ValueError(
            f"{name!r} is neither a run folder nor a .tflite file nor a trained model.{known}"
        )
    run = open_run(name)
    return kseg.load(run), run.label_map, run.size


def _file_facts(path: Path, num_classes: int) -> tuple[LabelMap, tuple[int, int] | None]:
    """Returns the classes and the working size of a .tflite file, from the report beside it."""
    try:
        report = json.loads(path.with_name(f"{path.stem}.json").read_text(encoding="utf-8"))
        names, colors = report["label_map"]["names"], report["label_map"]["colors"]
        label_map = LabelMap(tuple(names), tuple(tuple(color) for color in colors))
        return label_map, _pair(report["working_size"])
    except (OSError, ValueError, KeyError, TypeError):  # not a file that kseg wrote
        return LabelMap(tuple(f"class {index}" for index in range(num_classes))), None


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Sets every weight of target that source has under the same path and shape."""
    weights = {variable.path: variable for variable in source.weights}
    copied = 0
    for variable in target.weights:
        found = weights.get(variable.path)
        if found is not None and found.shape == variable.shape:
            variable.assign(found)
            copied += 1
    if not copied:
        raise ValueError("--weights names a network that shares no layer with the one to train.")
    print(f"{copied} of {len(target.weights)} weights taken over", file=sys.stderr)


def _photo_size(data: Data | None) -> tuple[int, int]:
    if data is None:
        raise ValueError("The run has no working size; name the file's input with --size H W.")
    height, width = data.read(data.files("val")[0])[1].shape
    return height, width


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    if size is not None and min(size) < 1:
        raise ValueError(f"sizes must be above 0; got {size[0]} {size[1]}.")
    return None if size is None else (size[0], size[1])


def _endpoint(facts: dict) -> str:
    text = f"{facts['dtype']} {' x '.join(map(str, facts['shape']))}"
    if facts["scale"]:
        text += f", scale {facts['scale']:.6g}, zero point {facts['zero_point']}"
    return text


def _shares(labels: np.ndarray, label_map: LabelMap) -> str:
    shares = np.bincount(labels.ravel(), minlength=label_map.num_classes) / labels.size
    top = np.argsort(-shares)[:3]
    return ", ".join(f"{label_map.names[i]} {100 * shares[i]:.0f} %" for i in top if shares[i])


def _print_scores(scores: Scores) -> None:
    rows = [
        [name, "n/a" if iou is None else f"{iou:.4f}"] for name, iou in scores.iou_per_class.items()
    ]
    rows += [["mean IoU", f"{scores.mean_iou:.4f}"]]
    rows += [["pixel accuracy", f"{scores.pixel_accuracy:.4f}"]]
    print(tabulate(rows, ["class", f"IoU ({scores.images} photos)"], disable_numparse=True))


__all__ = ["benchmark", "demo", "evaluate", "export", "models", "predict", "train"]
