"""The verbs `export` and `benchmark`."""

import json
from argparse import Namespace
from dataclasses import replace
from functools import partial

import keras
from tabulate import tabulate

import kseg
from kseg.cli.opening import open_model, pair, warn_if_names_differ, warn_if_val_was_seen
from kseg.data import Data
from kseg.training.run import is_run, open_run


def export(arguments: Namespace) -> None:
    """Makes a verified .tflite file."""
    if arguments.data is None and arguments.quantization in ("int8", "int16x8"):
        raise ValueError(
            f"{arguments.quantization} needs images to take ranges from: name a data set with "
            "--data, or pass --quantization float16."
        )
    data = kseg.load_data(arguments.data) if arguments.data else None
    model, classes, size = open_model(arguments.run)
    if not isinstance(model, keras.Model):
        raise ValueError(f"{arguments.run} is exported already; name the run folder it came from.")
    if data is not None:
        warn_if_val_was_seen(arguments.run, data)
        warn_if_names_differ(arguments.run, classes, data)
    from export import ExportOptions, convert

    for flag in ("qat_epochs", "per_tensor"):
        if getattr(arguments, flag) and arguments.quantization != "int8":
            name = flag.replace("_", "-")
            raise ValueError(f"--{name} is for int8; got {arguments.quantization}.")
    input_size = pair(arguments.size) or size or _image_size(data)
    options = ExportOptions(
        head=arguments.head,
        stride=arguments.stride,
        overwrite=arguments.overwrite,
        rescue=arguments.rescue,
        explain=not arguments.quick and not arguments.qat_epochs,
        classes=classes,
        working_size=input_size if size is not None else None,
    )
    if arguments.qat_epochs and data is not None:
        from export.compression.qat import check_conversion

        check_conversion(model, arguments.target, input_size, arguments.out, data, options)
        make = _quantization_aware(arguments, model, data, input_size).convert
    else:
        make = partial(convert, model, _recipe(arguments, data))
    result = make(
        target=arguments.target,
        input_size=input_size,
        path=arguments.out,
        validation=data,
        options=options,
    )
    if arguments.json:
        print(json.dumps(result.report))
    else:
        _print_report(result.report)


def _quantization_aware(
    arguments: Namespace, model: keras.Model, data: Data, size: tuple[int, int]
):
    """Trains on as the run was trained (or as runs are), at a tenth of its rate.

    Images are of the file's size, whatever that of the run was.
    """
    from export import quantization_aware

    recipe = kseg.Recipe()
    if is_run(arguments.run):
        recipe = kseg.Recipe(**open_run(arguments.run).record["recipe"])
    rate, crop = recipe.learning_rate / 10, recipe.crop
    recipe = replace(
        recipe,
        size=size,
        crop=crop if crop and crop[0] <= size[0] and crop[1] <= size[1] else None,
        epochs=arguments.qat_epochs,
        learning_rate=rate,
        minutes=None,
        freeze=None,
        with_val=False,
    )
    return quantization_aware(model, data, recipe, per_channel=not arguments.per_tensor)


def _recipe(arguments: Namespace, data: Data | None):
    from export import dynamic_range, float16, float32, full_integer, int16x8

    plain = {"float16": float16, "dynamic_range": dynamic_range, "none": float32}
    if arguments.quantization in plain or data is None:
        return plain[arguments.quantization]()
    images = data.images("train", 100)
    if arguments.quantization == "int16x8":
        return int16x8(images)
    return full_integer(images, per_channel=not arguments.per_tensor)


def _print_report(report: dict) -> None:
    from export.proof.report import CHOICES, choice_rows, class_rows, noise_rows, op_rows, summary

    print(tabulate(summary(report), tablefmt="plain", disable_numparse=True))
    if rows := class_rows(report):
        _print_table("", rows, ("class", "IoU float", "IoU file", "change"))
    if rows := choice_rows(report):
        _print_table("What other heads and strides cost:", rows, CHOICES)
    if rows := noise_rows(report):
        _print_table("Layers that quantization harms most:", rows, ("layer", "signal to noise, dB"))
    # On a phone's CPU every op is alike; elsewhere those that stay behind matter.
    away = [row for row in op_rows(report) if row[4] in ("cpu", "uncertain", "dead")]
    if away:
        headers = ("", "op", "version", "output", "placement", "why", "advice")
        _print_table("Ops that the accelerator leaves or may leave:", away, headers)
    page = report["file"]["name"].removesuffix(".tflite") + ".html"
    print(f"\npictures and the table of ops are in {page} beside the file")


def _print_table(title: str, rows, headers) -> None:
    print(f"\n{title}" if title else "")
    print(tabulate(rows, headers, disable_numparse=True))


def benchmark(arguments: Namespace) -> None:
    """Times .tflite files."""
    from export.tflite.benchmark import benchmark as measure
    from export.tflite.benchmark import host_facts

    results = measure(
        arguments.files,
        threads=arguments.threads,
        runs=arguments.runs,
        delegate=arguments.delegate,
    )
    host = host_facts()
    if arguments.json:
        print(json.dumps({"files": results, "host": host}))
        return
    keys = ("file", "median_ms", "p90_ms", "min_ms", "ratio", "load_ms", "peak_mib")
    rows = [[*(r[key] for key in keys), r["bytes"] / 1e6] for r in results]
    headers = ["file", "median ms", "p90 ms", "min ms", "ratio", "load ms", "peak MiB", "MB"]
    print(tabulate(rows, headers, floatfmt=".2f"))
    print(
        f"{arguments.runs} runs, {arguments.threads} thread(s), {host['processor']}, "
        f"{host['cores']} cores, load {host['load_average']:.1f}, LiteRT {host['litert']}"
    )


def _image_size(data: Data | None) -> tuple[int, int]:
    if data is None:
        raise ValueError("The run has no working size; name the file's input with --size H W.")
    height, width = data.read(data.files("val")[0])[1].shape
    return height, width
